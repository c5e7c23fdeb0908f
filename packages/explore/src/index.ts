// The public door of @bcachefs-ts/explore: pictures of filesystems.

export { duCommand } from './du/command.ts';
export { mapCommand } from './map/command.ts';
