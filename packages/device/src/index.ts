// The public door of @bcachefs-ts/device: the members of filesystems.

export { deviceAddCommand } from './add.ts';
export { deviceEvacuateCommand } from './evacuate.ts';
export { deviceListCommand } from './list.ts';
export { deviceRemoveCommand } from './remove.ts';
