// The public door of @bcachefs-ts/sources.

export { openDirectory } from './directory.ts';
export { HOLE_BYTES } from './file-chunks.ts';
export { openSource } from './open-source.ts';
export { exclusion, ownerMapper, parseSubvolumes, SubvolumeFinder } from './owner-map.ts';
export { type PopulateOptions, populate } from './populate.ts';
export type { SourceEntry, SourceFile, SourceTree } from './source.ts';
export { openTar } from './tar.ts';
export { type UpdateOptions, type UpdateReport, type UpdateSession, updateFiles } from './update.ts';
