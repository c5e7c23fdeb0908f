// `--source=DIR|TAR|EXT4|-`: a directory, an archive, an archive on standard input, or an ext2, ext3 or ext4 filesystem.

import { type BigIntStats, statSync } from 'node:fs';
import { hostIdentity } from '@bcachefs-ts/command';
import { type BlockDevice, DeviceError, openDevice, UsageError } from '@bcachefs-ts/core/engine';
import { looksLikeExt4 } from '@bcachefs-ts/ext4';
import { type DirectoryOptions, openDirectory } from './directory.ts';
import { openExt4Source } from './ext4.ts';
import type { SourceTree } from './source.ts';
import { openTar, type TarOptions } from './tar.ts';

/** @throws DeviceError when it is not there; as openDirectory, openTar and openExt4Source do */
export async function openSource(path: string, options: DirectoryOptions & TarOptions = {}): Promise<SourceTree> {
  if (path === '-') return openTar(path, options);
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) {
    throw new DeviceError(
      'missing',
      path,
      'there is no such directory, archive or filesystem; check the path of --source',
    );
  }
  if (stat.isDirectory()) return openDirectory(path, options);
  if (isOneOf(stat, options.omit ?? [])) throw new UsageError(`${path} is what is written to as well`, '--source');
  const device = stat.isFile() || stat.isBlockDevice() ? ext4Device(path) : undefined;
  return device === undefined ? openTar(path, options) : openExt4Source(device, options);
}

const HEAD_BYTES = 2048;

/** The device, where an ext4 filesystem and no archive begins; else undefined. */
function ext4Device(path: string): BlockDevice | undefined {
  const device = openDevice(path, { write: false });
  let isExt4 = false;
  try {
    if (device.sizeBytes >= HEAD_BYTES) {
      const head = new Uint8Array(HEAD_BYTES);
      device.read(0, head);
      isExt4 = looksLikeExt4(head) && !isTarHeader(head);
    }
  } finally {
    if (!isExt4) device.close();
  }
  return isExt4 ? device : undefined;
}

/** Where ustar and GNU tar have their magic. */
const isTarHeader = (head: Uint8Array): boolean =>
  [0x75, 0x73, 0x74, 0x61, 0x72].every((byte, i) => head[257 + i] === byte);

function isOneOf(stat: BigIntStats, paths: readonly string[]): boolean {
  const identity = identityOf(stat);
  return paths.some(path => {
    const other = statSync(path, { bigint: true, throwIfNoEntry: false });
    return other !== undefined && identityOf(other) === identity;
  });
}

const identityOf = (stat: BigIntStats): string =>
  stat.isBlockDevice() ? `block ${stat.rdev}` : `file ${hostIdentity(stat)}`;
