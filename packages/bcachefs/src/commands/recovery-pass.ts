// A part of the bundle by itself, loaded when the command is run.

export { recoveryPassCommand as command } from '@bcachefs-ts/show-super';
