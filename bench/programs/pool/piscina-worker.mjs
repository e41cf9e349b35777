import { move as moved } from 'piscina'

export * from './tasks.cjs'
export const move = (bytes) => moved(bytes)
