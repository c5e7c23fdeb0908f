// The public door of @bcachefs-ts/device: the members of filesystems.

export { deviceListCommand } from './list.ts';
