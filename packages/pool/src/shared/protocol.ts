/** Between a pool and its workers. Messages are arrays that begin with what they are: many are sent. */
export const ToWorker = {
  /**
   * Then the number of the first; how many results are to be sent together; and for each run of tasks of the same name that name,
   * whether the pool has to know when one begins, how many there are, and their inputs.
   */
  tasks: 0,
  /** Then `seq, reason`, which is packed. */
  abort: 1,
  /** Tasks that have not been started are wanted back. */
  takeBack: 2,
  /** Then why. */
  leave: 3,
} as const

export const ToPool = {
  /**
   * Then the number of the first; how long each has taken, in microseconds; whether it has failed, which is told of one alone;
   * and their values, of one that has failed the packed error.
   */
  results: 0,
  /** Then the names of its tasks. */
  ready: 1,
  /** It can't be one: then the packed error. */
  failed: 2,
  /** Then `seq, value`. */
  progress: 3,
  /** Then `seq` of each task that was not started. */
  returned: 4,
  /**
   * It has begun to leave: then why, in words; whether what runs is given the time to finish; the number of the first task not
   * begun; and the packed error, if it is one.
   */
  leaving: 5,
  /** It has given back what it owned: then the packed error, or null. */
  disposed: 6,
  /** Then bytes of its heap that are in use. */
  heap: 7,
  /** Then the number of its receipts. */
  receipts: 8,
  /** It has left, where there is no thread or process that ends. */
  left: 9,
} as const

export type Message = [kind: number, ...rest: unknown[]]

/** What a worker is told when it starts. */
export interface Birth {
  /** Begins each message of a process: what runs in it may send some of its own. */
  readonly key: string
  readonly url: string
  /** As reports call it. */
  readonly name: string
  /** Its number in the pool: 1, 2, 3… Never used twice. */
  readonly worker: number
  readonly data: unknown
  /** Milliseconds. */
  readonly disposeTimeout: number
  readonly measuresHeap: boolean
}

/** Where a worker's definition says how it is served: of whatever copy of this package. */
export const SERVE = Symbol.for('exodos.pool.serve')

/** The word in shared memory that holds the `seq` of the task that is started next. Read and changed by both sides. */
export const NEXT = 0

/** Numbers of tasks are 32 bits wide, as that word is, and begin anew after the last. */
export const following = (seq: number): number => (seq + 1) | 0
export const isBefore = (seq: number, other: number): boolean => ((seq - other) | 0) < 0

/** How the side of a worker speaks to its pool. */
export interface Link {
  /** Throws when it can't be cloned. */
  post(message: Message, transfer?: readonly Transferable[]): void
  /** What has come before is given at once. */
  listen(hear: (message: Message) => void): void
  /** Is the pool gone already? Asked once exodos would notice. */
  isCut?(): boolean
  /** Resolves when all that was posted has been written, where that takes time. */
  written?(): Promise<void>
  /** The next message, if it has come already; where that can be told. */
  more?(): Message | undefined
  /** Shared with the pool, where that is possible. */
  readonly words?: Int32Array | undefined
  readonly birth: Birth
}

/** Serves a pool. One inside the pool's thread doesn't end that, and has its receipts in what the pool gives it. */
export type Serve = (link: Link, receipts?: import('exodos').Scope) => Served

export interface Served {
  /** Disposes of what it owns where nothing can be waited for. */
  disposeSync(reason: string): void
}

/** What can be handed over instead of being copied. */
export type Transferable = import('node:worker_threads').TransferListItem
