/**
 * Drains the servers of a program that says nothing of it: `node --import exodos/register app.js` loads this where
 * `@exodos/web` is installed.
 *
 * @packageDocumentation
 */
import { drainEveryServer } from './index.js'

drainEveryServer()
