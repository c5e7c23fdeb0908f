// The public door of @bcachefs-ts/files: files of a filesystem without mounting it, read and changed.

export { catCommand } from './cat/command.ts';
export { pathCompletion } from './complete-path/command.ts';
export { damageClearCommand } from './damage/clear.ts';
export { damageLsCommand } from './damage/ls.ts';
export { getFileOptionCommand } from './file-option/get.ts';
export { setFileOptionCommand } from './file-option/set.ts';
export { getCommand } from './get/command.ts';
export { lsCommand } from './ls/command.ts';
export { mkdirCommand } from './mkdir/command.ts';
export { mvCommand } from './mv/command.ts';
export { putCommand } from './put/command.ts';
export { restoreCommand } from './restore/command.ts';
export { rmCommand } from './rm/command.ts';
export { statCommand } from './stat/command.ts';
export { subvolumeCreateCommand } from './subvolume/create.ts';
export { subvolumeDeleteCommand } from './subvolume/delete.ts';
export { subvolumeListCommand } from './subvolume/list.ts';
export { subvolumeListSnapshotsCommand } from './subvolume/list-snapshots.ts';
export { subvolumeSnapshotCommand } from './subvolume/snapshot.ts';
export { tarCommand } from './tar/command.ts';
export { treeCommand } from './tree/command.ts';
