import type { Duplex } from 'node:stream'

/** Follows what is written to a WebSocket: a close frame of ours must not get into the middle of another frame. */
export interface Frames {
  /** The next byte begins a frame. */
  readonly isBetween: boolean
}

/** As long as nobody is known to have the socket who can be asked to close it. `hasHead`: a response of HTTP/1 comes first. */
export function followFrames(stream: Duplex, hasHead: boolean): Frames {
  const follower = new Follower(hasHead)
  const before = Object.getOwnPropertyDescriptor(stream, 'write')
  const { write } = stream
  const own = function (this: Duplex, chunk: unknown, ...rest: [never, never]): boolean {
    if (libraryOf(stream)) {
      if (stream.write === own && before) Object.defineProperty(stream, 'write', before)
      else if (stream.write === own) delete (stream as { write?: unknown }).write
    } else if (typeof chunk === 'string') {
      follower.follow(Buffer.from(chunk, typeof rest[0] === 'string' ? rest[0] : 'utf8'))
    } else if (chunk instanceof Uint8Array) {
      follower.follow(chunk)
    }
    return write.call(this, chunk, ...rest)
  }
  stream.write = own as Duplex['write']
  return follower
}

/** `ws` leaves a mark on the streams that it has. */
export function libraryOf(stream: Duplex): { close(code: number): void } | undefined {
  const key = Object.getOwnPropertySymbols(stream).find(({ description }) => description === 'websocket')
  const library = key && (stream as unknown as Record<symbol, { close?: unknown } | undefined>)[key]
  return typeof library?.close === 'function' ? (library as { close(code: number): void }) : undefined
}

const END_OF_HEAD = '\r\n\r\n'

class Follower implements Frames {
  /** Of the end of the head, so many bytes have been seen; undefined behind it. */
  private head: number | undefined
  private header: number[] = []
  /** Bytes of the payload that are still to come. */
  private payload = 0

  constructor(hasHead: boolean) {
    this.head = hasHead ? 0 : undefined
  }

  get isBetween(): boolean {
    return this.head === undefined && this.header.length === 0 && this.payload === 0
  }

  follow(chunk: Uint8Array): void {
    let at = this.head === undefined ? 0 : this.skipHead(chunk)
    while (at < chunk.length) {
      const skipped = Math.min(this.payload, chunk.length - at)
      this.payload -= skipped
      at += skipped
      if (at < chunk.length) this.readHeader(chunk[at++] as number)
    }
  }

  /** RFC 6455, 5.2. */
  private readHeader(byte: number): void {
    const { header } = this
    header.push(byte)
    const [, second = 0] = header
    const length = second & 0x7f
    const extended = length === 126 ? 2 : length === 127 ? 8 : 0
    if (header.length < 2 || header.length < 2 + extended + (second & 0x80 ? 4 : 0)) return
    this.payload = extended === 0 ? length : header.slice(2, 2 + extended).reduce((sum, each) => sum * 256 + each, 0)
    this.header = []
  }

  private skipHead(chunk: Uint8Array): number {
    for (let at = 0; at < chunk.length; at++) {
      const seen: number = this.head ?? 0
      const expected = END_OF_HEAD.charCodeAt(seen)
      this.head = chunk[at] === expected ? seen + 1 : chunk[at] === END_OF_HEAD.charCodeAt(0) ? 1 : 0
      if (this.head === END_OF_HEAD.length) {
        this.head = undefined
        return at + 1
      }
    }
    return chunk.length
  }
}
