// A part of the bundle by itself, loaded when the command is run.

export { getCommand as command } from '@bcachefs-ts/files';
