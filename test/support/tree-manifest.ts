// The manifest of a filesystem as our library reads it: every path with all that stat, getxattr, readlink and read say, in the form that
// the kernel machine writes it, so that both can be compared line by line.

import { createHash } from 'node:crypto';
import {
  type Damage,
  DataReader,
  type FileFinding,
  type FileNode,
  type Filesystem,
  FileTree,
  fileChunks,
  fileSize,
  IndirectExtents,
  readFile,
  type WalkItem,
} from '@bcachefs-ts/core/engine';
import type { ManifestEntry } from '../kernel/vm/manifest.ts';

export interface TreeManifest {
  readonly entries: readonly ManifestEntry[];
  /** Everything that was lost, contradicted itself, or had to be read from another copy. */
  readonly complaints: readonly string[];
  /**
   * What a repair gave up, and left keys of type `error` for: the ranges, and what the rest of the file is. Entries of these files have
   * `read_errno` and no hash, as the kernel's.
   */
  readonly unreadable: readonly string[];
}

type DataSegments = ManifestEntry['data'];

/** Above this the kernel's side hashes data segments only. */
const HASH_WHOLE_UP_TO_BYTES = 4 * 2 ** 30;
const ZEROES = new Uint8Array(2 ** 20);
const EIO = 5;

/** It was lost before, and a key says so: nothing is wrong with the filesystem. */
const isGivenUp = ({ error }: Damage): boolean => error === 'key_type_error';

/**
 * @param dataOf where the kernel says that a file has data, by its path as `entryKey` gives it: of the largest files only that is read.
 *   That the rest is empty is what reading it as holes says, since everything outside is checked to be one.
 */
export function treeManifest(filesystem: Filesystem, dataOf: (key: string) => DataSegments): TreeManifest {
  const complaints: string[] = [];
  const unreadable: string[] = [];
  const damages: Damage[] = [];
  const tree = FileTree.open(filesystem, { onDamage: damage => damages.push(damage) });
  const reader = new DataReader(filesystem, { onDamage: ({ message }) => complaints.push(message) });
  const reflinks = new IndirectExtents(filesystem);
  const files = { tree, reader, reflinks, damages, complaints, unreadable, dataOf };
  const entries = [...tree.walk()].flatMap(item => {
    if (item.node !== undefined) return [entryOf(files, item)];
    complaints.push(`${Buffer.from(item.path)}: lost`);
    return [];
  });
  return { entries, complaints: [...complaints, ...damages.map(({ message }) => message)], unreadable };
}

interface Files {
  readonly tree: FileTree;
  readonly reader: DataReader;
  readonly reflinks: IndirectExtents;
  /** What the tree comes upon. */
  readonly damages: Damage[];
  readonly complaints: string[];
  readonly unreadable: string[];
  dataOf(key: string): DataSegments;
}

function entryOf(files: Files, { path, node }: WalkItem): ManifestEntry {
  const { tree } = files;
  if (node === undefined) throw new Error('a walk item without a node');
  const stat = tree.stat(node);
  const name = path.length === 0 ? { path: '.' } : textOrBase64('path', path);
  const xattrs: Record<string, string> = {};
  for (const { name, value } of tree.xattrs(node, { path })) xattrs[Buffer.from(name).toString()] = base64(value);
  const options: Record<string, string> = {};
  for (const { name, text, isOwn } of tree.options(node)) {
    if (isOwn) options[`bcachefs.${name}`] = text;
    options[`bcachefs_effective.${name}`] = text;
  }
  return {
    ...name,
    type: stat.type as ManifestEntry['type'],
    ino: `${stat.ino}`,
    mode: stat.mode.toString(8).padStart(4, '0'),
    uid: stat.uid,
    gid: stat.gid,
    size: fileSize(stat.sizeBytes, 'an inode'),
    nlink: stat.nlink,
    blocks: Number(stat.blocks),
    mtime_ns: `${stat.mtimeNs}`,
    ctime_ns: `${stat.ctimeNs}`,
    btime_ns: `${stat.btimeNs}`,
    subvol: stat.subvolume,
    ...(stat.projectId === 0 ? {} : { projid: stat.projectId }),
    ...(stat.flags === 0 ? {} : { flags: stat.flags }),
    ...(stat.rdev === undefined ? {} : { rdev: [stat.rdev.major, stat.rdev.minor] as const }),
    ...(stat.type === 'lnk' ? linkTarget(files, path, node) : {}),
    ...(stat.type === 'reg' ? contentHash(files, path, node, Number(stat.sizeBytes)) : {}),
    ...(Object.keys(xattrs).length === 0 ? {} : { xattrs }),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

function linkTarget(
  { tree, damages, unreadable }: Files,
  path: Uint8Array,
  node: FileNode,
): Pick<ManifestEntry, 'target' | 'target_b64' | 'read_errno'> {
  const before = damages.length;
  const target = tree.linkTarget(node, { path });
  const found = damages.slice(before);
  if (found.length === 0 || !found.every(isGivenUp)) return textOrBase64('target', target);
  damages.length = before;
  unreadable.push(`${keyOf(path)}: its target`);
  return { read_errno: EIO };
}

function contentHash(
  { reader, tree, reflinks, complaints, unreadable, dataOf }: Files,
  path: Uint8Array,
  { inum, snapshot }: { readonly inum: bigint; readonly snapshot: number },
  sizeBytes: number,
): Pick<ManifestEntry, 'sha256' | 'sha256_data' | 'read_errno'> {
  const key = keyOf(path);
  const givenUp: string[] = [];
  const onFinding = ({ kind, damage, offset, length }: FileFinding) => {
    if (kind === 'lost' && isGivenUp(damage)) givenUp.push(`${offset}+${length}`);
    else complaints.push(`${key}: ${kind} ${offset}+${length}: ${damage.message}`);
  };
  const file = { inum, snapshot, sizeBytes };
  const hash = createHash('sha256');
  const options = { onFinding, reflinks };
  if (sizeBytes > HASH_WHOLE_UP_TO_BYTES) {
    const segments = dataOf(key) ?? [];
    for (const [offset, length] of segments) {
      const bytes = new Uint8Array(length);
      readFile(reader, tree.table, file, offset, bytes, options);
      hash.update(new BigUint64Array([BigInt(offset), BigInt(length)])).update(bytes);
    }
    // For the kernel what was given up is a hole there: it does not read it, so that nothing fails.
    const isUnreadable = givenUp.length > 0;
    for (const { kind, offset, length } of fileChunks(reader, tree.table, file, options)) {
      const isInside = segments.some(([start, size]) => start <= offset && offset + length <= start + size);
      if (kind === 'data' && !isInside) complaints.push(`${key}: data ${offset}+${length}, where the kernel has none`);
    }
    const digest = hash.digest('hex');
    if (givenUp.length > 0) unreadable.push(`${key}: ${givenUp.join(', ')}, the rest is ${digest}`);
    return isUnreadable ? { read_errno: EIO } : { sha256_data: digest };
  }
  let end = 0;
  for (const chunk of fileChunks(reader, tree.table, file, options)) {
    if (chunk.offset !== end) complaints.push(`${key}: a gap from ${end} to ${chunk.offset}`);
    end = chunk.offset + chunk.length;
    if (chunk.kind === 'data') hash.update(chunk.bytes);
    else {
      for (let left = chunk.length; left > 0; left -= ZEROES.length) hash.update(ZEROES.subarray(0, left));
    }
  }
  if (end !== sizeBytes) complaints.push(`${key}: ${end} bytes of ${sizeBytes}`);
  const sha256 = hash.digest('hex');
  if (givenUp.length === 0) return { sha256 };
  unreadable.push(`${key}: ${givenUp.join(', ')}, the rest is ${sha256}`);
  return { read_errno: EIO };
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

function utf8(bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes).toString('utf8');
  return Buffer.from(text).equals(Buffer.from(bytes)) ? text : undefined;
}

function textOrBase64<Name extends 'path' | 'target'>(name: Name, bytes: Uint8Array): Partial<ManifestEntry> {
  const text = utf8(bytes);
  return text === undefined ? { [`${name}_b64`]: base64(bytes) } : { [name]: text };
}

/** As entryKey of a manifest's entry. */
const keyOf = (path: Uint8Array): string => (path.length === 0 ? '.' : (utf8(path) ?? `base64:${base64(path)}`));
