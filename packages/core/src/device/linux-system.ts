// What Linux reports about block devices through /proc and /sys, without an external program. The three questions that
// everything here asks of the machine are an interface, so that tests can describe a machine in plain text.
// On other systems every answer is "nothing".

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { splitDeviceNumber } from './device-numbers.ts';

/** `8:1`, as in /sys/dev/block. */
export type DeviceNumber = string;

/** What a path leads to, links followed: a block device by its number, a regular file by the device and inode it lives on. */
export type Identity = { readonly block: DeviceNumber } | { readonly file: string };

export interface LinuxSystem {
  /** The text of a small file, or undefined when there is none or it may not be read. */
  text(path: string): string | undefined;
  /** Names in a directory; none when there is none. */
  names(path: string): readonly string[];
  identify(path: string): Identity | undefined;
}

/** Of a machine of the platform: elsewhere than on Linux, what happens to lie at such a path means nothing. */
export const systemOn = (platform: string): LinuxSystem => ({
  text(path) {
    if (platform !== 'linux') return undefined;
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  },
  names(path) {
    if (platform !== 'linux') return [];
    try {
      return readdirSync(path);
    } catch {
      return [];
    }
  },
  identify(path) {
    try {
      return identityOf(statSync(path, { bigint: true }));
    } catch {
      return undefined;
    }
  },
});

/** This machine. */
export const thisSystem = systemOn(process.platform);

interface StatLike {
  isBlockDevice(): boolean;
  isFile(): boolean;
  readonly rdev: bigint;
  readonly dev: bigint;
  readonly ino: bigint;
}

function identityOf(stat: StatLike): Identity | undefined {
  if (stat.isBlockDevice()) return { block: deviceNumber(stat.rdev) };
  if (stat.isFile()) return { file: `${deviceNumber(stat.dev)}:${stat.ino}` };
  return undefined;
}

export function sameIdentity(a: Identity | undefined, b: Identity | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return 'block' in a ? 'block' in b && a.block === b.block : 'file' in b && a.file === b.file;
}

export function deviceNumber(rdev: bigint): DeviceNumber {
  const { major, minor } = splitDeviceNumber(rdev);
  return `${major}:${minor}`;
}

/** What the kernel says of a block device's shape. */
export interface BlockFacts {
  readonly sizeBytes: number | undefined;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean | undefined;
}

export function blockFacts(system: LinuxSystem, device: DeviceNumber): BlockFacts {
  const directory = `/sys/dev/block/${device}`;
  // A partition has no queue of its own. The path goes through a symlink, so the kernel must resolve `..`, not we.
  const queue = isPartition(system, device) ? `${directory}/../queue` : `${directory}/queue`;
  const sectors = number(system.text(`${directory}/size`)); // always in 512-byte sectors
  const rotational = number(system.text(`${queue}/rotational`));
  return {
    sizeBytes: sectors === undefined ? undefined : sectors * 512,
    logicalSectorBytes: number(system.text(`${queue}/logical_block_size`)) ?? 512,
    physicalSectorBytes: number(system.text(`${queue}/physical_block_size`)) ?? 0,
    rotational: rotational === undefined ? undefined : rotational !== 0,
  };
}

function isPartition(system: LinuxSystem, device: DeviceNumber): boolean {
  return system.text(`/sys/dev/block/${device}/partition`) !== undefined;
}

/** The numbers of a disk's partitions. */
export function partitionsOf(system: LinuxSystem, device: DeviceNumber): DeviceNumber[] {
  const directory = `/sys/dev/block/${device}`;
  return system
    .names(directory)
    .filter(name => system.text(`${directory}/${name}/partition`) !== undefined)
    .map(name => system.text(`${directory}/${name}/dev`)?.trim())
    .filter(found => found !== undefined);
}

/** The disk that a partition is a part of. */
export function diskOf(system: LinuxSystem, device: DeviceNumber): DeviceNumber | undefined {
  if (!isPartition(system, device)) return undefined;
  return system.text(`/sys/dev/block/${device}/../dev`)?.trim();
}

/** `/dev/sda1` for `8:1`. */
export function devicePath(system: LinuxSystem, device: DeviceNumber): string {
  const name = /^DEVNAME=(.*)$/m.exec(system.text(`/sys/dev/block/${device}/uevent`) ?? '')?.[1];
  return name === undefined ? `block device ${device}` : `/dev/${name}`;
}

/** One line of /proc/self/mountinfo (proc(5)), as far as we need it. */
export interface Mount {
  readonly device: DeviceNumber;
  readonly mountPoint: string;
  readonly fsType: string;
  readonly source: string;
}

/** Lines that are not as expected are left out: they cannot name a device. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    // 36 35 98:0 /root /mount/point options [optional fields] - type source super-options
    const [before, after] = splitOnce(line, ' - ');
    const [, , device, , mountPoint] = before.split(' ');
    const [fsType, source] = after.split(' ');
    if (device === undefined || mountPoint === undefined || fsType === undefined || fsType === '') continue;
    mounts.push({ device, mountPoint: unescapeOctal(mountPoint), fsType, source: unescapeOctal(source ?? '') });
  }
  return mounts;
}

/** Paths of active swap devices and files from /proc/swaps. */
export function parseSwaps(text: string): string[] {
  return text
    .split('\n')
    .slice(1)
    .map(line => line.split(/\s/, 1)[0] ?? '')
    .filter(path => path.startsWith('/'))
    .map(unescapeOctal);
}

/** One line of /proc/locks. */
export interface FileLock {
  /** `POSIX`, `OFDLCK`, `FLOCK`, `LEASE`, … */
  readonly kind: string;
  /** undefined for locks that belong to an open file rather than a process. */
  readonly pid: number | undefined;
  /** As in Identity: `8:1:1234`. */
  readonly file: string;
}

export function parseLocks(text: string): FileLock[] {
  const locks: FileLock[] = [];
  // 1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF; a waiting one has `->` after the number.
  for (const match of text.matchAll(/^\d+: (?:-> )?(\w+)\s+\w+\s+\w+\s+(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /gm)) {
    const [, kind = '', pid = '', major = '', minor = '', inode = ''] = match;
    const file = `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}:${inode}`;
    locks.push({ kind, pid: Number(pid) > 0 ? Number(pid) : undefined, file });
  }
  return locks;
}

function number(text: string | undefined): number | undefined {
  const value = text === undefined ? Number.NaN : Number.parseInt(text, 10);
  return Number.isSafeInteger(value) ? value : undefined;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** The kernel writes blanks and backslashes in paths as `\040`. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
