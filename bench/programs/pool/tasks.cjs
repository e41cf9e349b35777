// What every pool is asked to do.
exports.noop = () => 1
exports.echo = (value) => value

/** Work that takes as long as it takes, whoever else is on the processor: `times` rounds. */
exports.spin = (times) => {
  let state = 1
  for (let n = 0; n < times; n++) state = (Math.imul(state, 1664525) + 1013904223) | 0
  return state
}
