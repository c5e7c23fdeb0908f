// The public door of @bcachefs-ts/explore: pictures of filesystems, and a shell to look around in one.

export { diffCommand } from './diff/command.ts';
export { duCommand } from './du/command.ts';
export { exploreOf } from './explorer/command.ts';
export { mapCommand } from './map/command.ts';
export { journalRewindInfoCommand } from './rewind/command.ts';
export { shellOf } from './shell/command.ts';
