/** A connection to the inspector of a thread, whatever it goes over. */
export interface Inspector {
  post(method: string, params?: object): Promise<unknown>
  on(event: string, listener: (params: never) => void): void
}

interface Script {
  readonly scriptId: string
  readonly url: string
}

interface Frame {
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

/**
 * Looks where a thread is stuck: asks it to pause, reads the stack and lets it go on. Gives up after `patience`
 * milliseconds, because what waits in native code doesn't pause.
 */
export async function lookWhere(inspector: Inspector, patience: number): Promise<Stuck> {
  let told: (frames: Frame[]) => void = () => {}
  const paused = new Promise<Frame[]>((resolve) => {
    told = resolve
  })
  const urls = new Map<string, string>()
  inspector.on('Debugger.scriptParsed', ({ scriptId, url }: Script) => urls.set(scriptId, url))
  inspector.on('Debugger.paused', ({ callFrames }: { callFrames: Frame[] }) => told(callFrames))
  const inTime = <T>(promise: Promise<T>): Promise<T | undefined> => Promise.race([promise, elapsed(patience)])
  let where: Stuck['where'] = 'native'
  let stack: string[] = []
  try {
    // Somebody else's pause is told at once, before ours is asked for.
    const enabled = await inTime(inspector.post('Debugger.enable').then(() => true))
    if (enabled && (await Promise.race([paused, Promise.resolve()]))) where = 'debugger'
    else if (enabled) {
      inspector.post('Debugger.pause').catch(() => {})
      const frames = await inTime(paused)
      if (frames) {
        where = 'javascript'
        const all = frames.map((frame) => line(frame, urls))
        const theirs = all.filter((text) => !text.includes('node:'))
        stack = (theirs.length > 0 ? theirs : all).slice(0, MOST_FRAMES)
      }
    }
  } finally {
    // Lets go on what is paused for us alone, and takes back a pause that hasn't come.
    inspector.post('Debugger.disable').catch(() => {})
  }
  return { where, stack }
}

function line({ functionName, location }: Frame, urls: Map<string, string>): string {
  const file = (urls.get(location.scriptId) ?? '').replace(/^file:\/\//, '')
  const place = `${file}:${location.lineNumber + 1}:${location.columnNumber + 1}`
  return functionName ? `at ${functionName} (${place})` : `at ${place}`
}

function elapsed(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined))
}
