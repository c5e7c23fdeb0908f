// The public door of @bcachefs-ts/files: files of a filesystem without mounting it.

export { catCommand } from './cat/command.ts';
export { lsCommand } from './ls/command.ts';
export { restoreCommand } from './restore/command.ts';
export { statCommand } from './stat/command.ts';
export { tarCommand } from './tar/command.ts';
export { treeCommand } from './tree/command.ts';
