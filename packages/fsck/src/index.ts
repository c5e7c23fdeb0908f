// The public door of @bcachefs-ts/fsck: the commands that check and repair.

export { fsckCommand } from './command.ts';
export { scrubCommand } from './scrub-command.ts';
export { upgradeCommand } from './upgrade-command.ts';
