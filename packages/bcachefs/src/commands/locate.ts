// A part of the bundle by itself, loaded when the command is run.

export { locateCommand as command } from '@bcachefs-ts/dump';
