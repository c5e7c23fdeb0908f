// What ls, tree and stat say about a file in the same words: its type as a letter and a colour, its mode, its times, and its JSON.

import type { Palette } from '@bcachefs-ts/command';
import { type FileNode, type FileStat, type FileTree, type FileTypeName, fileTypes } from '@bcachefs-ts/core/engine';

/** The first letter of `ls -l`. */
const typeLetters: Readonly<Record<FileTypeName, string>> = {
  reg: '-',
  dir: 'd',
  subvol: 'd',
  lnk: 'l',
  fifo: 'p',
  sock: 's',
  chr: 'c',
  blk: 'b',
  whiteout: 'w',
  unknown: '?',
};

/** What `stat` calls types. */
export const typeWords: Readonly<Record<FileTypeName, string>> = {
  reg: 'regular file',
  dir: 'directory',
  subvol: 'directory',
  lnk: 'symbolic link',
  fifo: 'fifo',
  sock: 'socket',
  chr: 'character special file',
  blk: 'block special file',
  whiteout: 'whiteout',
  unknown: 'unknown type',
};

/** The type that a dirent or a mode says. */
export const typeOf = (id: number): FileTypeName => fileTypes.byId(id)?.name ?? 'unknown';

/** `-rwsr-xr-x` */
export function modeText(type: FileTypeName, mode: number): string {
  const triplet = (shift: number, special: boolean, letter: string): string => {
    const bits = (mode >>> shift) & 7;
    const execute = (bits & 1) !== 0;
    const last = special ? (execute ? letter : letter.toUpperCase()) : execute ? 'x' : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${last}`;
  };
  const owner = triplet(6, (mode & 0o4000) !== 0, 's');
  const group = triplet(3, (mode & 0o2000) !== 0, 's');
  return `${typeLetters[type]}${owner}${group}${triplet(0, (mode & 0o1000) !== 0, 't')}`;
}

/** A name in the colour of its type, as ls has them. */
export function coloredName(text: string, type: FileTypeName, mode: number | undefined, color: Palette): string {
  switch (type) {
    case 'dir':
    case 'subvol':
      return color.bold(color.blue(text));
    case 'lnk':
      return color.bold(color.cyan(text));
    case 'sock':
      return color.bold(color.magenta(text));
    case 'chr':
    case 'blk':
      return color.bold(color.yellow(text));
    case 'fifo':
      return color.yellow(text);
    case 'reg':
      return mode !== undefined && (mode & 0o111) !== 0 ? color.bold(color.green(text)) : text;
    default:
      return color.red(text);
  }
}

/**
 * In local time, as ls(1) has it, with the zone: `2024-01-01 12:00:00.123456789 +0100`. Years outside of 0000 to 9999, which only damage has,
 * are given in seconds: `@-99999999999.0`.
 */
export function timeText(ns: bigint, { fraction = true }: { readonly fraction?: boolean } = {}): string {
  const nanoseconds = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const seconds = (ns - nanoseconds) / 1_000_000_000n;
  const part = fraction ? `.${`${nanoseconds}`.padStart(9, '0')}` : '';
  const date = new Date(Number(seconds) * 1000);
  const year = date.getFullYear();
  if (!(year >= 0 && year <= 9999)) return `@${seconds}${part}`;
  const two = (number: number): string => `${number}`.padStart(2, '0');
  const day = `${`${year}`.padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const eastMinutes = Math.round(-date.getTimezoneOffset());
  const zone = `${eastMinutes < 0 ? '-' : '+'}${two(Math.trunc(Math.abs(eastMinutes) / 60))}${two(Math.abs(eastMinutes) % 60)}`;
  return `${day} ${time}${part} ${zone}`;
}

/** What JSON says about a file in each of the commands. Sizes in bytes; times in nanoseconds since 1970. */
export function statJson(stat: FileStat): object {
  return {
    type: stat.type,
    inode: stat.ino,
    subvolume: stat.subvolume,
    mode: stat.mode.toString(8).padStart(4, '0'),
    nlink: stat.nlink,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.sizeBytes,
    blocks: stat.blocks,
    ...(stat.rdev === undefined ? {} : { rdev: [stat.rdev.major, stat.rdev.minor] }),
    atime_ns: `${stat.atimeNs}`,
    mtime_ns: `${stat.mtimeNs}`,
    ctime_ns: `${stat.ctimeNs}`,
    btime_ns: `${stat.btimeNs}`,
  };
}

/** Where a symlink leads; undefined for other files. */
export function targetOf(tree: FileTree, node: FileNode, stat: FileStat, path: Uint8Array): Uint8Array | undefined {
  return stat.type === 'lnk' ? tree.linkTarget(node, { path }) : undefined;
}
