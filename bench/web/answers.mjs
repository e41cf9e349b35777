/** Parses the answers on one HTTP/1.1 connection, as far as they are framed by themselves: by length, or chunked. */
export class AnswerParser {
  #rest = Buffer.alloc(0)
  /** The answer that has begun: `{ status, headers, close, body: Buffer[] }`. */
  #answer
  /** Bytes of body that are still to come; in a chunked answer, of the chunk. */
  #left = 0
  #onAnswer
  #onHead

  /** `onHead` is told of each head, `onAnswer` of each whole answer; either may say `false`: the bytes after it are no HTTP. */
  constructor(onHead, onAnswer) {
    this.#onHead = onHead
    this.#onAnswer = onAnswer
  }

  /** Bytes of an answer that isn't whole. */
  get begun() {
    return this.#rest.length + (this.#answer ? 1 : 0)
  }

  /** Takes bytes; returns those that are no HTTP any more, after an upgrade. */
  push(bytes) {
    this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, bytes]) : bytes
    while (this.#rest.length > 0) {
      const went = this.#answer ? this.#body() : this.#head()
      if (went === 'upgraded') return this.#take(this.#rest.length)
      if (!went) return undefined
    }
    return undefined
  }

  #take(count) {
    const taken = this.#rest.subarray(0, count)
    this.#rest = this.#rest.subarray(count)
    return taken
  }

  #line() {
    const at = this.#rest.indexOf('\r\n')
    return at < 0 ? undefined : this.#take(at + 2).toString('latin1', 0, at)
  }

  #head() {
    const at = this.#rest.indexOf('\r\n\r\n')
    if (at < 0) return false
    const [first, ...lines] = this.#take(at + 4)
      .toString('latin1', 0, at)
      .split('\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3})\b/.exec(first)?.[1])
    if (!status) throw new Error(`no status line: ${first}`)
    const headers = Object.fromEntries(
      lines.map((line) => line.split(/:\s*/, 2)).map(([name, value]) => [name.toLowerCase(), value]),
    )
    const chunked = headers['transfer-encoding'] === 'chunked'
    this.#answer = { status, headers, chunked, close: headers.connection === 'close', body: [] }
    this.#left = chunked ? 0 : Number(headers['content-length'] ?? 0)
    this.#onHead(this.#answer)
    if (status === 101) return this.#whole('upgraded')
    return !chunked && this.#left === 0 ? this.#whole(true) : true
  }

  #body() {
    if (this.#left > 0) {
      const part = this.#take(Math.min(this.#left, this.#rest.length))
      this.#left -= part.length
      this.#answer.body.push(part)
      if (this.#left > 0) return false
      return this.#answer.chunked ? true : this.#whole(true)
    }
    // Between chunks: the empty line after the last one, then the size of the next, then at 0 the empty line of the end.
    const line = this.#line()
    if (line === undefined) return false
    if (line === '') return this.#answer.ended ? this.#whole(true) : true
    this.#left = Number.parseInt(line, 16)
    this.#answer.ended = this.#left === 0
    return true
  }

  #whole(result) {
    const answer = this.#answer
    this.#answer = undefined
    this.#onAnswer(answer)
    return result
  }
}
