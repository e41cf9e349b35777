/** A module as the source of a script: bundled when exodos is built, see build.mjs. */
declare module '*?source' {
  export const source: string
  /** Sixteen digits that differ for each source. */
  export const hash: string
}
