// The codec's work: it keeps a core busy, so it is done in a thread.
import jpeg from 'jpeg-js'

/** A JPEG in, a JPEG out: each pixel is the mean of those it stands for. */
export function thumbnail(bytes, width) {
  const { data, width: from, height } = jpeg.decode(bytes, { useTArray: true })
  const scale = from / width
  const to = { width, height: Math.round(height / scale), data: Buffer.alloc(width * Math.round(height / scale) * 4, 255) }
  for (let y = 0; y < to.height; y++)
    for (let x = 0; x < width; x++) {
      const sums = [0, 0, 0]
      let count = 0
      for (let v = Math.floor(y * scale); v < Math.min(height, (y + 1) * scale); v++)
        for (let u = Math.floor(x * scale); u < Math.min(from, (x + 1) * scale); u++, count++)
          for (const c of [0, 1, 2]) sums[c] += data[(v * from + u) * 4 + c]
      for (const c of [0, 1, 2]) to.data[(y * width + x) * 4 + c] = sums[c] / count
    }
  return { bytes: jpeg.encode(to, 80).data, size: `${to.width} × ${to.height}` }
}

/** Some files drive some codecs into a loop that never ends. */
export function isEndless(path) {
  return path.endsWith('endless.jpg')
}
