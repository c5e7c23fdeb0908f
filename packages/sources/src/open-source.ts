// `--source=DIR|TAR|-`: a directory, an archive, or an archive on standard input.

import { statSync } from 'node:fs';
import { DeviceError } from '@bcachefs-ts/core/engine';
import { type DirectoryOptions, openDirectory } from './directory.ts';
import type { SourceTree } from './source.ts';
import { openTar, type TarOptions } from './tar.ts';

/** @throws DeviceError when it is not there; as openDirectory and openTar do */
export async function openSource(path: string, options: DirectoryOptions & TarOptions = {}): Promise<SourceTree> {
  if (path === '-') return openTar(path, options);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw new DeviceError('missing', path, 'there is no such directory or archive; check the path of --source');
  }
  return stat.isDirectory() ? openDirectory(path, options) : openTar(path, options);
}
