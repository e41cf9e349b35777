/** Keeps the books of a run. Times are milliseconds relative to SIGTERM: negative ones were before it. */
export class Tally {
  /** Lost requests, one by one. */
  losses = []
  early = []
  counts = { refused: 0, unestablished: 0, handshakesCut: 0, unsent: 0, retried: 0, unexpected: 0 }
  kinds = {}
  /** What is long-lived and met the shutdown: how many, and how many were ended as they should be. */
  closed = { ws: { all: 0, well: 0, how: {} }, sse: { all: 0, well: 0, how: {} }, upgrade: { all: 0, well: 0, how: {} } }
  leaving = false
  ended = false
  stopping = false
  killed = false
  answers = 0
  #left = 0
  #losers = new Set()

  clock() {
    return performance.now()
  }

  /** SIGTERM is sent now. */
  leave() {
    this.leaving = true
    this.answersBefore = this.answers
    this.#left = this.clock()
  }

  of(user) {
    this.kinds[user.kind] ??= { users: 0, requests: 0, answers: 0, lost: 0, usersWithLoss: 0 }
    return this.kinds[user.kind]
  }

  count(what) {
    this.counts[what]++
  }

  sent(user) {
    this.of(user).requests++
  }

  answered(user) {
    this.of(user).answers++
    this.answers++
  }

  lost(user, loss) {
    const kind = this.of(user)
    kind.lost++
    if (!this.#losers.has(user)) kind.usersWithLoss++
    this.#losers.add(user)
    this.losses.push({ user: user.id, kind: user.kind, ...loss })
  }

  /** Two answers to one request, or one without any: a server's or the driver's own mistake. */
  unexpected(user, answer) {
    this.counts.unexpected++
    this.losses.push({ user: user.id, kind: user.kind, how: `an answer to nothing: ${answer.status}`, lostAt: this.clock() })
    this.#losers.add(user)
  }

  failedEarly(user, error) {
    this.early.push(`${user.kind}: ${error.code ?? error.message}`)
  }

  /** A long-lived connection has come to its end. */
  over(kind, well, how) {
    const closed = this.closed[kind]
    closed.all++
    if (this.killed) how = 'killed'
    else if (well) return closed.well++
    closed.how[how] = (closed.how[how] ?? 0) + 1
  }

  result() {
    const sum = (key) => Object.values(this.kinds).reduce((total, kind) => total + kind[key], 0)
    return {
      users: sum('users'),
      requests: sum('requests'),
      answers: this.answers,
      answersBefore: this.answersBefore,
      usersWithLoss: this.#losers.size,
      lost: this.losses.length,
      truncated: this.losses.filter((loss) => loss.truncated).length,
      ...this.counts,
      closed: this.closed,
      kinds: this.kinds,
      early: this.early,
      losses: this.losses.map((loss) => this.#relative(loss)),
    }
  }

  #relative(loss) {
    const times = ['connectedAt', 'sentAt', 'lostAt'].filter((key) => key in loss)
    return { ...loss, ...Object.fromEntries(times.map((key) => [key, Math.round(loss[key] - this.#left)])) }
  }
}
