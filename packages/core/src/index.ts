// The everyday door of @bcachefs-ts/core: a filesystem whose files are read by path. The internals, from superblocks and keys to the
// transactions of the write engine, are at the second door, engine.ts. Nothing else is imported from outside.

export type { FileChunk } from './data/file-read.ts';
export type { FileFinding, FindingKind } from './data/finding.ts';
export type { BlockDevice } from './device/block-device.ts';
export { MemoryDevice, type MemoryDeviceOptions } from './device/memory-device.ts';
export * from './everyday/bcachefs.ts';
export type { FilesystemSummary, MemberSummary, SpaceUsage } from './everyday/summary.ts';
export { FileError, type FileErrorCode } from './fs/file-error.ts';
export type { FileStat } from './fs/file-stat.ts';
export {
  CorruptError,
  DeviceError,
  type DeviceErrorKind,
  IncompatibleError,
  InvariantError,
  type Location,
  UsageError,
} from './ondisk/errors.ts';
export type { FaultName } from './ondisk/faults.ts';
export type { FileTypeName } from './ondisk/inode-tables.ts';
export type { Damage } from './report/finding.ts';
export type { SubvolumeEntry } from './snapshots/snapshot-table.ts';
