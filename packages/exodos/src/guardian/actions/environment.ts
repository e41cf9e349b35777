/**
 * What programs need to be found, and to find what is their user's; nothing that was meant for the owner alone, as
 * NODE_OPTIONS.
 */
const PASSED = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'TMP',
  'TEMP',
  'XDG_RUNTIME_DIR',
  'XDG_STATE_HOME',
  'EXODOS_STATE_DIR',
  'ELECTRON_RUN_AS_NODE',
  'SystemRoot',
  'Path',
]

export function environment(): Record<string, string> {
  return Object.fromEntries(
    PASSED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name] as string]])),
  )
}
