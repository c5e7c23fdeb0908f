// The files of the host that put takes, as they stand there: nothing is followed, names are bytes, directories are read in the order of
// these bytes, so that the result does not depend on the order in which the host lists them.

import { type BigIntStats, lstatSync, readdirSync } from 'node:fs';
import { SteadyFile } from '@bcachefs-ts/command';
import { type FileTypeName, printableBytes } from '@bcachefs-ts/core/engine';

const S_IFMT = 0o170000;
const SLASH = Buffer.from('/');

const types: ReadonlyMap<number, FileTypeName> = new Map([
  [0o010000, 'fifo'],
  [0o020000, 'chr'],
  [0o040000, 'dir'],
  [0o060000, 'blk'],
  [0o100000, 'reg'],
  [0o120000, 'lnk'],
  [0o140000, 'sock'],
]);

export interface HostFile {
  readonly path: Buffer;
  readonly type: FileTypeName;
  readonly stat: BigIntStats;
}

/** @throws the system's error */
export function hostFile(path: Buffer): HostFile {
  const stat = lstatSync(path, { bigint: true });
  return { path, type: types.get(Number(stat.mode) & S_IFMT) ?? 'unknown', stat };
}

/** The names in a directory, in the order of their bytes. */
export function hostNames({ path }: HostFile): readonly Buffer[] {
  return readdirSync(path, { encoding: 'buffer' }).toSorted(Buffer.compare);
}

export const insideOf = ({ path }: HostFile, name: Buffer): Buffer => Buffer.concat([path, SLASH, name]);

/** A file and all below it, each directory before what is in it. */
export function* hostWalk(file: HostFile): Generator<HostFile> {
  yield file;
  if (file.type !== 'dir') return;
  for (const name of hostNames(file)) yield* hostWalk(hostFile(insideOf(file, name)));
}

/**
 * The contents of a regular file in parts that begin at multiples of `into`'s length; a part is good until the next one is asked for.
 * @throws DeviceError when it is not the file that it was, or is changed while it is read; the system's errors
 */
export function* hostContents({ path, stat }: HostFile, into: Uint8Array): Generator<Uint8Array> {
  const file = new SteadyFile(path, stat, printableBytes(path));
  try {
    const sizeBytes = Number(stat.size);
    for (let at = 0; at < sizeBytes; at += into.length) {
      const part = into.subarray(0, Math.min(into.length, sizeBytes - at));
      file.read(at, part);
      yield part;
    }
    file.check();
  } finally {
    file.close();
  }
}
