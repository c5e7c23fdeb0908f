// The public door of @bcachefs-ts/show-super: the superblock commands.

export {
  removePassphraseCommand,
  setPassphraseCommand,
  unlockCommand,
  unlockCommandOn,
} from './passphrase-commands.ts';
export { recoverSuperCommand } from './recover-super.ts';
export { recoveryPassCommand } from './recovery-pass.ts';
export { resetCountersCommand } from './reset-counters.ts';
export { setFsOptionCommand } from './set-fs-option.ts';
export { type Shown, showSuperCommand } from './show-super/command.ts';
export { stripAllocCommand } from './strip-alloc.ts';
export { undoCommand } from './undo.ts';
