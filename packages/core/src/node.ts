// The door of @bcachefs-ts/core to the files and disks of the machine, `@bcachefs-ts/core/node`. What core itself needs of Node comes by
// `#platform` and `#open-device` of package.json, without this door.

export * from './device/file-device.ts';
