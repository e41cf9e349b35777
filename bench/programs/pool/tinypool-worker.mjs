import { Tinypool } from 'tinypool'

export * from './tasks.cjs'
export const move = (bytes) => Tinypool.move(bytes)
