// A part of the bundle by itself, loaded when the command is run.

export { listCommand as command } from '@bcachefs-ts/dump';
