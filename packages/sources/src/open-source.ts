// `--source=DIR|TAR|-`: a directory, an archive, or an archive on standard input.

import { statSync } from 'node:fs';
import { type DirectoryOptions, openDirectory } from './directory.ts';
import type { SourceTree } from './source.ts';
import { openTar, type TarOptions } from './tar.ts';

/** @throws as openDirectory and openTar do */
export async function openSource(path: string, options: DirectoryOptions & TarOptions = {}): Promise<SourceTree> {
  const isDirectory = path !== '-' && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  return isDirectory ? openDirectory(path, options) : openTar(path, options);
}
