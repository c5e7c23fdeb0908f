// A part of the bundle by itself, loaded when the command is run.

export { undumpCommand as command } from '@bcachefs-ts/dump';
