// Pictures to work on, so that none have to be downloaded: rings, each of another colour.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import jpeg from 'jpeg-js'

const [WIDTH, HEIGHT, COUNT] = [96, 72, 6]

/** The JPEGs in a directory, which are made if there are none. */
export function samplesIn(directory) {
  mkdirSync(directory, { recursive: true })
  const found = () => readdirSync(directory).filter((name) => name.endsWith('.jpg'))
  if (found().length === 0) for (let n = 1; n <= COUNT; n++) writeFileSync(join(directory, nameOf(n)), draw(n))
  return found()
    .sort()
    .map((name) => join(directory, name))
}

const nameOf = (n) => `rings-${String(n).padStart(2, '0')}.jpg`

function draw(n) {
  const data = Buffer.alloc(WIDTH * HEIGHT * 4, 255)
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) {
      const light = 128 + 127 * Math.sin(Math.hypot(x - WIDTH / 2, y - HEIGHT / 2) / (n + 2))
      data.set([light, (light * n) / COUNT, 255 - light], (y * WIDTH + x) * 4)
    }
  return jpeg.encode({ data, width: WIDTH, height: HEIGHT }, 85).data
}
