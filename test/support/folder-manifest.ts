// Compares a restored folder with what the kernel, or the tool that made an image, says is in it.

import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { loadNativeCalls, type NativeCalls } from '@bcachefs-ts/command';
import { fileSha256 } from './fixtures.ts';

export interface ManifestEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly type: 'reg' | 'dir' | 'lnk' | 'fifo' | 'sock' | 'chr' | 'blk';
  readonly ino?: string;
  readonly subvol?: number;
  readonly dev_minor?: number;
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink?: number;
  readonly mtime_ns: string;
  readonly sha256?: string;
  readonly sha256_data?: string;
  readonly data?: readonly (readonly [number, number])[];
  readonly data_segments?: readonly { readonly offset: number; readonly length: number; readonly sha256: string }[];
  readonly target?: string;
  readonly target_b64?: string;
  readonly rdev?: readonly [number, number];
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly read_errno?: number;
}

const S_IFMT = 0o170000n;
const typeBits: Readonly<Record<ManifestEntry['type'], bigint>> = {
  fifo: 0o010000n, chr: 0o020000n, dir: 0o040000n, blk: 0o060000n, reg: 0o100000n, lnk: 0o120000n, sock: 0o140000n,
}; // biome-ignore format: a table

const bytesOf = (text: string | undefined, base64: string | undefined): Buffer =>
  base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64');

export const entryPath = (entry: ManifestEntry): Buffer => bytesOf(entry.path, entry.path_b64);
const isRoot = process.geteuid?.() === 0;

/** Memory where there is some: quicker, and it takes more extended attributes than a disk's filesystem. */
export const scratchFolder: string = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export interface CompareOptions {
  /** Paths (latin1) that need not be there. */
  readonly absent?: ReadonlySet<string>;
  /** Paths (latin1) whose contents differ. */
  readonly damaged?: ReadonlySet<string>;
  /** Paths, as they are printed, of which the host did not keep all attributes. */
  readonly unkept?: ReadonlySet<string>;
}

/** All differences, in words; empty when the folder is what the manifest says. */
export function differences(folder: string, entries: readonly ManifestEntry[], options: CompareOptions = {}): string[] {
  const { absent = new Set(), damaged = new Set(), unkept = new Set() } = options;
  const found: string[] = [];
  const linkedTo = new Map<string, bigint>();
  const expectedPaths = new Set<string>();
  for (const entry of entries) {
    const bytes = entryPath(entry);
    const path = bytes.toString('latin1');
    expectedPaths.add(path);
    const at = Buffer.concat([Buffer.from(`${folder}/`), bytes]);
    const stat = lstatSync(at, { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) {
      if (!absent.has(path)) found.push(`${path}: absent`);
      continue;
    }
    const say = (what: string, is: unknown, expected: unknown) => {
      if (String(is) !== String(expected)) found.push(`${path}: ${what} ${is}, expected ${expected}`);
    };
    say('type', stat.mode & S_IFMT, typeBits[entry.type]);
    if (entry.type !== 'lnk')
      say('mode', (stat.mode & 0o7777n).toString(8), Number.parseInt(entry.mode, 8).toString(8));
    if (isRoot) say('owner', `${stat.uid}:${stat.gid}`, `${entry.uid}:${entry.gid}`);
    say('mtime', stat.mtimeNs, entry.mtime_ns);
    if (entry.type === 'reg') {
      say('size', stat.size, entry.size);
      if (!damaged.has(path)) found.push(...contentDifferences(at, path, stat, entry));
    }
    if (entry.type === 'lnk') {
      say('target', readlinkSync(at, 'latin1'), bytesOf(entry.target, entry.target_b64).toString('latin1'));
    }
    if (entry.rdev !== undefined) {
      const [major, minor] = entry.rdev.map(BigInt) as [bigint, bigint];
      const rdev = ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n);
      say('rdev', stat.rdev, rdev);
    }
    if (entry.type !== 'dir' && (entry.nlink ?? 1) > 1) {
      const id = `${entry.subvol}:${entry.dev_minor}:${entry.ino}`;
      const other = linkedTo.get(id);
      if (other !== undefined) say('inode', stat.ino, other);
      linkedTo.set(id, stat.ino);
      say('links', stat.nlink, entry.nlink);
    }
    for (const [name, value] of Object.entries(entry.xattrs ?? {})) {
      if (name.startsWith('bcachefs') || unkept.has(path)) continue;
      say(`xattr ${name}`, readXattr(at, name), value);
    }
  }
  for (const path of allPaths(folder)) if (!expectedPaths.has(path)) found.push(`${path}: not in the manifest`);
  return found;
}

function contentDifferences(at: Buffer, path: string, stat: BigIntStats, entry: ManifestEntry): string[] {
  const found: string[] = [];
  if (entry.data !== undefined) {
    const data = entry.data.reduce((sum, [, length]) => sum + Math.ceil(length / 4096) * 4096, 0);
    // Blocks of the host's own bookkeeping are counted as well.
    if (stat.blocks * 512n > BigInt(data) + 65536n)
      found.push(`${path}: ${stat.blocks} blocks, expected ${data / 512} at most`);
  }
  if (entry.data_segments !== undefined) {
    for (const { offset, length, sha256 } of entry.data_segments) {
      const is = createHash('sha256')
        .update(readRange(at, offset, length))
        .digest('hex');
      if (is !== sha256) found.push(`${path}: SHA-256 of ${length} bytes from ${offset}: ${is}, expected ${sha256}`);
    }
  } else if (entry.sha256_data !== undefined) {
    const hash = createHash('sha256');
    for (const [offset, length] of entry.data ?? []) {
      hash.update(new BigUint64Array([BigInt(offset), BigInt(length)])).update(readRange(at, offset, length));
    }
    const is = hash.digest('hex');
    if (is !== entry.sha256_data) found.push(`${path}: SHA-256 of the data ${is}, expected ${entry.sha256_data}`);
  } else if (entry.sha256 !== undefined) {
    const is = fileSha256(at as unknown as string); // Node takes bytes for a path as well.
    if (is !== entry.sha256) found.push(`${path}: SHA-256 ${is}, expected ${entry.sha256}`);
  }
  return found;
}

function readRange(at: Buffer, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(at, 'r');
  try {
    for (let done = 0; done < length; ) {
      const count = readSync(fd, bytes, done, length - done, offset + done);
      if (count === 0) return bytes.subarray(0, done);
      done += count;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** Everything in a folder, itself as `.`; latin1. */
export function allPaths(folder: string): string[] {
  const found = ['.'];
  const visit = (path: string) => {
    const at = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(path, 'latin1')]);
    for (const entry of readdirSync(at, { encoding: 'latin1', withFileTypes: true })) {
      const inner = path === '' ? entry.name : `${path}/${entry.name}`;
      found.push(inner);
      if (entry.isDirectory()) visit(inner);
    }
  };
  visit('');
  return found;
}

let native: NativeCalls | undefined;

/** An extended attribute of a file of the host, in base64; undefined when there is none. */
function readXattr(at: Uint8Array, name: string): string | undefined {
  native ??= loadNativeCalls();
  if (native === undefined) throw new Error('the package koffi is needed to compare attributes');
  const value = native.xattr(at, Buffer.from(name));
  return value && Buffer.from(value).toString('base64');
}
