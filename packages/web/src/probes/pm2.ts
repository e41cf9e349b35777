/** PM2 with `wait_ready` sends requests to a new process, and ends the old one, when it is told so. */
export function tellPm2(): void {
  if (process.env.pm_id === undefined || !process.send) return
  // It may be gone. Without a callback that would be an 'error' event of the process.
  process.send('ready', undefined, undefined, () => {})
}
