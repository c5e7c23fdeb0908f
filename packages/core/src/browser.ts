// The door of @bcachefs-ts/core to the devices of a browser, `@bcachefs-ts/core/browser`: for `Bcachefs.openDevices`, in a worker. What core
// itself needs of a browser comes by `#platform` and `#open-device` of package.json, without this door.

export * from './device/blob-device.ts';
export * from './device/http-device.ts';
export { throughQcow2 } from './device/qcow2-device.ts';
