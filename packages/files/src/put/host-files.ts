// The files of the host that put takes, as they stand there: nothing is followed, names are bytes, directories are read in the order of
// these bytes, so that the result does not depend on the order in which the host lists them.

import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { CommandFailed } from '@bcachefs-ts/command';
import { type FileTypeName, printableBytes } from '@bcachefs-ts/core';

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

/** One file for all of its names. */
export const identityOf = ({ stat }: { readonly stat: BigIntStats }): string => `${stat.dev}:${stat.ino}`;

/** dev_t as the C libraries of Linux have it (gnu_dev_major, gnu_dev_minor). */
export function deviceNumbers({ rdev }: BigIntStats): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n)),
    minor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n)),
  };
}

/**
 * The contents of a regular file in parts that begin at multiples of `into`'s length; a part is good until the next one is asked for.
 * @throws CommandFailed when it is not the file that it was, or is changed while it is read
 */
export function* hostContents(file: HostFile, into: Uint8Array): Generator<Uint8Array> {
  const changed = () => new CommandFailed(`${printableBytes(file.path)}: was changed while it was read`);
  const fd = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (identityOf({ stat: fstatSync(fd, { bigint: true }) }) !== identityOf(file)) throw changed();
    let at = 0;
    for (;;) {
      let filled = 0;
      while (filled < into.length) {
        const read = readSync(fd, into, filled, into.length - filled, at + filled);
        if (read === 0) break;
        filled += read;
      }
      if (filled > 0) yield into.subarray(0, filled);
      at += filled;
      if (filled < into.length) break;
    }
    const { mtimeNs } = fstatSync(fd, { bigint: true });
    if (BigInt(at) !== file.stat.size || mtimeNs !== file.stat.mtimeNs) throw changed();
  } finally {
    closeSync(fd);
  }
}
