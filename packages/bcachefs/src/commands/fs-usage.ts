// A part of the bundle by itself, loaded when the command is run.

export { fsUsageCommand as command } from '@bcachefs-ts/dump';
