/**
 * Adopts a program without a change to it: `node --import exodos/register app.js`, also with `--require` and in
 * `NODE_OPTIONS`. The process becomes the host: all hooks, those of libraries too, get the full run.
 *
 * @packageDocumentation
 */
import { configure } from './index.js'

// No option is set, so the application's own `configure` finds everything open.
configure({})
