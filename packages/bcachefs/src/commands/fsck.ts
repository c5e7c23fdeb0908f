// A part of the bundle by itself, loaded when the command is run.

export { fsckCommand as command } from '@bcachefs-ts/fsck';
