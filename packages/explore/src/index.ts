// The public door of @bcachefs-ts/explore: pictures of filesystems.

export { mapCommand } from './map/command.ts';
