/** A connection to the inspector of a thread, whatever it goes over. */
export interface Inspector {
  post(method: string, params?: object): Promise<unknown>
  on(event: string, listener: (params: never) => void): void
}

export interface Frame {
  readonly callFrameId: string
  readonly functionName: string
  readonly location: { readonly scriptId: string; readonly lineNumber: number; readonly columnNumber: number }
}

/** How a thread was found whose event loop doesn't turn. */
export interface Stuck {
  /** `debugger`: it stands at somebody's breakpoint. `native`: it doesn't come back to JavaScript: execSync, a blocking read. */
  readonly where: 'javascript' | 'native' | 'debugger'
  /** Lines as in the `stack` of an error, innermost first. */
  readonly stack: readonly string[]
}

const MOST_FRAMES = 8
const MOST_STEPS = 200

/**
 * Looks where a thread is stuck: asks it to pause, reads the stack and lets it go on. Gives up after `patience`
 * milliseconds, because what waits in native code doesn't pause. `whilePaused` may do something before it goes on, and is
 * given the frames of Node itself. Frames of the file `ours` are left out, as Node's are.
 */
export async function lookWhere(
  inspector: Inspector,
  patience: number,
  whilePaused: (stuck: Stuck, nodes: readonly Frame[]) => Promise<void> | void = () => {},
  ours?: string,
): Promise<Stuck> {
  const urls = new Map<string, string>()
  let told: (frames: Frame[]) => void = () => {}
  const nextPause = () =>
    new Promise<Frame[]>((resolve) => {
      told = resolve
    })
  inspector.on('Debugger.scriptParsed', ({ scriptId, url }: { scriptId: string; url: string }) => urls.set(scriptId, url))
  inspector.on('Debugger.paused', ({ callFrames }: { callFrames: Frame[] }) => told(callFrames))
  const inTime = <T>(promise: Promise<T>) => Promise.race([promise, elapsed(patience)])
  const lines = (frames: Frame[]) => frames.map((frame) => line(frame, urls))
  try {
    // Somebody else's pause is told at once, before ours is asked for.
    let paused = nextPause()
    const isEnabled = await inTime(inspector.post('Debugger.enable').then(() => true))
    if (!isEnabled) return inNativeCode
    if (await Promise.race([paused, undefined])) return { where: 'debugger', stack: [] }
    inspector.post('Debugger.pause').catch(() => {})
    let frames = await inTime(paused)
    if (!frames) return inNativeCode
    // Between two microtasks there is nothing of the program: it is let go on until there is.
    await inspector.post('Debugger.setBlackboxPatterns', { patterns: ['^node:'] }).catch(() => {})
    for (let steps = 0; steps < MOST_STEPS && !lines(frames).some(isTheirs); steps++) {
      paused = nextPause()
      inspector.post('Debugger.stepInto').catch(() => {})
      const next = await inTime(paused)
      if (!next) break
      frames = next
    }
    const theirs = lines(frames).filter((text) => isTheirs(text) && !(ours && text.includes(ours)))
    const stack = (theirs.length > 0 ? theirs : lines(frames)).slice(0, MOST_FRAMES)
    await whilePaused(
      { where: 'javascript', stack },
      frames.filter((frame) => !isTheirs(line(frame, urls))),
    )
    return { where: 'javascript', stack }
  } finally {
    // Lets go on what is paused for us alone, and takes back a pause that hasn't come.
    inspector.post('Debugger.disable').catch(() => {})
  }
}

export const inNativeCode: Stuck = { where: 'native', stack: [] }

/** Has somebody else paused the thread? It isn't paused for that. */
export async function isPausedByOthers(inspector: Inspector): Promise<boolean> {
  let isPaused = false
  inspector.on('Debugger.paused', () => {
    isPaused = true
  })
  await inspector.post('Debugger.enable')
  await inspector.post('Debugger.disable')
  return isPaused
}

const isTheirs = (text: string): boolean => !text.includes('node:')

function line({ functionName, location }: Frame, urls: Map<string, string>): string {
  const file = (urls.get(location.scriptId) ?? '').replace(/^file:\/\//, '')
  const place = `${file}:${location.lineNumber + 1}:${location.columnNumber + 1}`
  return functionName ? `at ${functionName} (${place})` : `at ${place}`
}

function elapsed(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined))
}
