// A part of the bundle by itself, loaded when the command is run.

export { imageUpdateCommand as command } from '@bcachefs-ts/format';
