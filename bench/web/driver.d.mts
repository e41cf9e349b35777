export type Kind =
  | 'keep-alive'
  | 'slow'
  | 'stream'
  | 'upload'
  | 'pipeline'
  | 'half head'
  | 'fresh'
  | 'preconnect'
  | 'https'
  | 'h2c'
  | 'h2'
  | 'ws'
  | 'sse'
  | 'upgrade'

export interface Load {
  stack: string
  connections?: number
  mix?: Partial<Record<Kind, number>>
  seed?: number
  answersBefore?: number
  think?: number
  grace?: number
  streamChunk?: number
  ramp?: number
  node?: string
  nodeOptions?: string[]
  env?: Record<string, string>
}

export interface Loss {
  user: number
  kind: Kind
  how: string
  request?: string
  truncated?: boolean
  nth?: number
  listener?: string
  /** Milliseconds relative to SIGTERM, as the others. */
  connectedAt?: number
  sentAt?: number
  lostAt: number
}

export interface Closed {
  all: number
  well: number
  how: Record<string, number>
}

export interface Result {
  stack: string
  connections: number
  seed: number
  users: number
  requests: number
  answers: number
  answersBefore: number
  usersWithLoss: number
  lost: number
  truncated: number
  refused: number
  unestablished: number
  handshakesCut: number
  unsent: number
  retried: number
  unexpected: number
  closed: Record<'ws' | 'sse' | 'upgrade', Closed>
  kinds: Record<Kind, { users: number; requests: number; answers: number; lost: number; usersWithLoss: number }>
  early: string[]
  losses: Loss[]
  exitMs: number
  exit: string
  stuck: number
  released: { open: number } | undefined
  stderr: string
  driverDelay: { p99: number; max: number }
}

export const MIX: Record<Kind, number>
export const STACKS: string[]
export function drive(load: Load): Promise<Result>
