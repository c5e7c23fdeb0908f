// The manifest of a filesystem as our library reads it: every path with all that stat, getxattr, readlink and read say, in the form that
// the kernel machine writes it, so that both can be compared line by line.

import { createHash } from 'node:crypto';
import {
  DataReader,
  type FileFinding,
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
}

type DataSegments = ManifestEntry['data'];

/** Above this the kernel's side hashes data segments only. */
const HASH_WHOLE_UP_TO_BYTES = 4 * 2 ** 30;
const ZEROES = new Uint8Array(2 ** 20);

/**
 * @param dataOf where the kernel says that a file has data, by its path as `entryKey` gives it: of the largest files only that is read.
 *   That the rest is empty is what reading it as holes says, since everything outside is checked to be one.
 */
export function treeManifest(filesystem: Filesystem, dataOf: (key: string) => DataSegments): TreeManifest {
  const complaints: string[] = [];
  const tree = FileTree.open(filesystem, { onDamage: ({ message }) => complaints.push(message) });
  const reader = new DataReader(filesystem, { onDamage: ({ message }) => complaints.push(message) });
  const files = { tree, reader, reflinks: new IndirectExtents(filesystem), complaints, dataOf };
  const entries = [...tree.walk()].flatMap(item => {
    if (item.node !== undefined) return [entryOf(files, item)];
    complaints.push(`${Buffer.from(item.path)}: lost`);
    return [];
  });
  return { entries, complaints };
}

interface Files {
  readonly tree: FileTree;
  readonly reader: DataReader;
  readonly reflinks: IndirectExtents;
  readonly complaints: string[];
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
    ...(stat.type === 'lnk' ? textOrBase64('target', tree.linkTarget(node, { path })) : {}),
    ...(stat.type === 'reg' ? contentHash(files, path, node, Number(stat.sizeBytes)) : {}),
    ...(Object.keys(xattrs).length === 0 ? {} : { xattrs }),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

function contentHash(
  { reader, tree, reflinks, complaints, dataOf }: Files,
  path: Uint8Array,
  { inum, snapshot }: { readonly inum: bigint; readonly snapshot: number },
  sizeBytes: number,
): Pick<ManifestEntry, 'sha256' | 'sha256_data'> {
  const key = keyOf(path);
  const onFinding = ({ kind, damage, offset, length }: FileFinding) =>
    complaints.push(`${key}: ${kind} ${offset}+${length}: ${damage.message}`);
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
    for (const { kind, offset, length } of fileChunks(reader, tree.table, file, options)) {
      const isInside = segments.some(([start, size]) => start <= offset && offset + length <= start + size);
      if (kind === 'data' && !isInside) complaints.push(`${key}: data ${offset}+${length}, where the kernel has none`);
    }
    return { sha256_data: hash.digest('hex') };
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
  return { sha256: hash.digest('hex') };
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
