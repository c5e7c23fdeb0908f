// The public door of @bcachefs-ts/core. Nothing else is imported from outside.

export * from './device/block-device.ts';
export * from './ondisk/errors.ts';
