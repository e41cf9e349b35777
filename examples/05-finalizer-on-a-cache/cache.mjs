import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { finalize } from 'exodos'

/** What belongs to a page beside the heap: a file. Called with names alone, never with the page. */
function forget(pages, key, path) {
  // Somebody may have opened the page anew since.
  if (!pages.get(key)?.deref()) pages.delete(key)
  rmSync(path, { force: true })
}

class Page {
  #finalizer

  constructor(pages, key, path) {
    this.path = path
    writeFileSync(path, `the page ${key}`)
    this.#finalizer = finalize(this, forget, { args: [pages, key, path], name: `page ${key}` })
  }

  /** Sooner than the garbage collector. */
  close() {
    this.#finalizer.call()
  }
}

/** Shares pages for as long as somebody uses them. Nobody has to close one. */
export class PageCache {
  #pages = new Map()
  #count = 0

  constructor(dir) {
    this.dir = dir
  }

  open(key) {
    const known = this.#pages.get(key)?.deref()
    if (known) return known
    const page = new Page(this.#pages, key, join(this.dir, `${key}.${++this.#count}`))
    this.#pages.set(key, new WeakRef(page))
    return page
  }
}
