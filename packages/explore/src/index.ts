// The public door of @bcachefs-ts/explore: pictures of filesystems.

export { diffCommand } from './diff/command.ts';
export { duCommand } from './du/command.ts';
export { mapCommand } from './map/command.ts';
export { journalRewindInfoCommand } from './rewind/command.ts';
