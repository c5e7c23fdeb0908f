// Whether the new filesystem has what ext4 has, read back from the device as a kernel would read it: every node, with all that follows from the
// keys; every name, inode and attribute; and for every file where its bytes lie. What was adopted has to be the same place on the device, what was
// copied the same bytes. With `data`, all bytes are read through the new filesystem, checksums included, and compared.

import {
  type BlockDevice,
  checkInvariants,
  DataReader,
  decodeExtentEntries,
  type FileNode,
  type Filesystem,
  FileTree,
  fileSegments,
  filesystemOf,
  findingText,
  IndirectExtents,
  isDirectory,
  type Key,
  openMembers,
  printableBytes,
  readFile,
  readXattrs,
  sectorsToBytes,
  statOf,
} from '@bcachefs-ts/core/engine';
import type { Ext4, Ext4Inode, Ext4Name } from '@bcachefs-ts/ext4';
import { flagsOf, IMAGE_DIRECTORY, keptTime } from './build.ts';

export interface VerifyRequest {
  readonly ext4: Ext4;
  /** The device as it will be after the commit: see MigratedView. */
  readonly migrated: BlockDevice;
  readonly data: boolean;
  readonly dropsLargeXattrs: boolean;
  readonly key?: Uint8Array | undefined;
}

/** So many differences are reported. */
const PROBLEMS_MAX = 20;
const COMPARED_BYTES = 2 ** 20;

/** A step is a file. @returns what is not as it should be, a line each; empty when all is well */
export function* verifySteps(request: VerifyRequest): Generator<void, readonly string[], void> {
  const filesystem = filesystemOf(openMembers([request.migrated]));
  const { findings } = checkInvariants(filesystem);
  yield;
  if (findings.length > 0) return findings.slice(0, PROBLEMS_MAX).map(findingText);
  const verifier = new Verifier(filesystem, request);
  for (const name of request.ext4.tree()) {
    verifier.compare(name);
    if (verifier.problems.length >= PROBLEMS_MAX) break;
    yield;
  }
  if (verifier.problems.length === 0) verifier.compareCounts();
  return verifier.problems;
}

class Verifier {
  readonly problems: string[] = [];
  readonly #filesystem: Filesystem;
  readonly #tree: FileTree;
  readonly #request: VerifyRequest;
  readonly #data: DataReader;
  readonly #reflinks: IndirectExtents;
  readonly #xattrs;
  /** From the root down to the directory that is being looked at. */
  readonly #open: { readonly node: FileNode; names: number; readonly path: string }[] = [];
  readonly #theirs = new Uint8Array(COMPARED_BYTES);
  readonly #ours = new Uint8Array(COMPARED_BYTES);

  constructor(filesystem: Filesystem, request: VerifyRequest) {
    this.#filesystem = filesystem;
    this.#request = request;
    this.#tree = FileTree.open(filesystem);
    this.#data = new DataReader(filesystem);
    this.#reflinks = new IndirectExtents(filesystem);
    this.#xattrs = filesystem.btree('xattrs');
  }

  compare({ path, name, depth, inode }: Ext4Name): void {
    while (this.#open.length > depth) this.#leave();
    const text = printableBytes(path) || '/';
    const node = depth === 0 ? this.#tree.root() : this.#lookup(name, text);
    if (node === undefined) return;
    if (isDirectory(node.inode)) this.#open.push({ node, names: 0, path: text });
    this.#attributes(node, inode, text);
    if (inode.kind === 'file') this.#contents(node, inode, text);
    if (inode.kind === 'symlink') this.#target(node, inode, text);
  }

  compareCounts(): void {
    while (this.#open.length > 0) this.#leave();
  }

  #wrong(path: string, what: string): void {
    this.problems.push(`${path}: ${what}`);
  }

  #lookup(name: Uint8Array, path: string): FileNode | undefined {
    const above = this.#open.at(-1);
    if (above === undefined) {
      this.#wrong(path, 'its directory is not a directory');
      return undefined;
    }
    above.names++;
    const entry = this.#tree.find(above.node, name);
    const node = entry === undefined ? undefined : this.#tree.open(entry);
    if (node === undefined) this.#wrong(path, 'is missing');
    return node;
  }

  /** A directory has no more names than it should; the root has one more. */
  #leave(): void {
    const { node, names, path } = this.#open.pop()!; // callers look first
    let found = 0;
    for (const { name } of this.#tree.entries(node))
      if (path !== '/' || printableBytes(name) !== IMAGE_DIRECTORY) found++;
    // lost+found is made with the filesystem.
    const isMore = path === '/' && found === names + 1 && this.#request.ext4.inode(2) !== undefined;
    if (found !== names && !isMore) this.#wrong(path, `has ${found} names, expected ${names}`);
  }

  #attributes(node: FileNode, inode: Ext4Inode, path: string): void {
    const stat = statOf(node, this.#filesystem.sb, false);
    const expect = (what: string, found: unknown, expected: unknown) => {
      if (found !== expected) this.#wrong(path, `${what} ${found}, expected ${expected}`);
    };
    expect('mode', stat.mode, inode.mode & 0o7777);
    expect('type', node.inode.bi_mode & 0o170000, inode.mode & 0o170000);
    expect('uid', stat.uid, inode.uid);
    expect('gid', stat.gid, inode.gid);
    expect('mtime', stat.mtimeNs, keptTime(inode.mtimeNs));
    expect('atime', stat.atimeNs, keptTime(inode.atimeNs));
    expect('ctime', stat.ctimeNs, keptTime(inode.ctimeNs));
    expect('birth time', stat.btimeNs, keptTime(inode.crtimeNs ?? inode.ctimeNs));
    expect('project', stat.projectId, inode.projectId);
    expect(
      'flags',
      stat.flags,
      flagsOf(inode.flags).reduce((bits, flag) => bits | FLAG_BITS[flag], 0),
    );
    expect('device', rdevText(stat.rdev), rdevText(inode.rdev));
    if (inode.kind !== 'dir') expect('links', stat.nlink, inode.nlink);
    if (inode.kind === 'file') expect('size', Number(stat.sizeBytes), inode.sizeBytes);
    this.#compareXattrs(node, inode, path);
  }

  #compareXattrs(node: FileNode, inode: Ext4Inode, path: string): void {
    const found = new Map<string, Uint8Array>();
    for (const { name, value } of readXattrs(this.#xattrs, this.#tree.table, node.snapshot, node.inum))
      found.set(printableBytes(name), value);
    for (const { name, value } of this.#request.ext4.xattrs(inode)) {
      const key = printableBytes(name);
      const ours = found.get(key);
      found.delete(key);
      if (ours === undefined && (this.#request.dropsLargeXattrs || key === ACCESS_ACL)) continue;
      if (ours === undefined) this.#wrong(path, `attribute ${key} is missing`);
      else if (Buffer.compare(ours, value) !== 0) this.#wrong(path, `attribute ${key} has another value`);
    }
    for (const key of found.keys()) this.#wrong(path, `has an attribute ${key} that ext4 has not`);
  }

  #target(node: FileNode, inode: Ext4Inode, path: string): void {
    const target = this.#request.ext4.symlinkTarget(inode);
    const ours = new Uint8Array(target.length);
    readFile(this.#data, this.#tree.table, { ...node, sizeBytes: Number(node.inode.bi_size) }, 0, ours);
    if (Number(node.inode.bi_size) !== target.length || Buffer.compare(ours, target) !== 0)
      this.#wrong(path, 'leads elsewhere');
  }

  #contents(node: FileNode, inode: Ext4Inode, path: string): void {
    const { ext4, data } = this.#request;
    const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes: inode.sizeBytes };
    const theirs = placesOf(ext4, inode);
    let at = 0;
    for (const segment of fileSegments(this.#filesystem, this.#tree.table, file, { reflinks: this.#reflinks })) {
      const { kind, offset, length } = segment;
      const end = offset + length;
      while (at < theirs.length && theirs[at]!.end <= offset) at++;
      const place = theirs[at];
      if (kind === 'hole') {
        if (place === undefined || place.start >= end) continue;
      } else if (kind === 'data' && !data && place !== undefined && place.start <= offset && end <= place.end) {
        const found = this.#deviceOffset(segment.key, segment.keyOffset);
        if (found === place.device + offset - place.start) continue;
      }
      if (!this.#areBytesEqual(file, inode, offset, end)) this.#wrong(path, `other bytes from ${offset} to ${end}`);
    }
  }

  /** Where the bytes of an extent are, if they are nowhere else and as they are. */
  #deviceOffset(key: Pick<Key, 'value'>, keyOffset: number): number | undefined {
    const entries = decodeExtentEntries(key.value);
    const pointers = entries.filter(({ type }) => type === 'ptr');
    const [pointer] = pointers;
    if (pointers.length !== 1 || pointer?.type !== 'ptr' || pointer.gen !== 0) return undefined;
    for (const entry of entries)
      if ((entry.type === 'crc32' || entry.type === 'crc64') && (entry.offset !== 0 || entry.compression_type !== 0))
        return undefined;
    return sectorsToBytes(pointer.offset) + keyOffset;
  }

  #areBytesEqual(file: Parameters<typeof readFile>[2], inode: Ext4Inode, from: number, to: number): boolean {
    for (let at = from; at < to; at += COMPARED_BYTES) {
      const length = Math.min(COMPARED_BYTES, to - at);
      const [ours, theirs] = [this.#ours.subarray(0, length), this.#theirs.subarray(0, length)];
      readFile(this.#data, this.#tree.table, file, at, ours);
      this.#request.ext4.read(inode, at, theirs);
      if (Buffer.compare(ours, theirs) !== 0) return false;
    }
    return true;
  }
}

const ACCESS_ACL = 'system.posix_acl_access';
const FLAG_BITS = { sync: 0x08, immutable: 0x10, append: 0x20, nodump: 0x40, noatime: 0x80 } as const;
const rdevText = (rdev: { readonly major: number; readonly minor: number } | undefined): string =>
  rdev === undefined ? 'none' : `${rdev.major}:${rdev.minor}`;

/** Runs of a file by its bytes, with where they are on the device; unwritten ones left out. */
function placesOf(
  ext4: Ext4,
  inode: Ext4Inode,
): { readonly start: number; readonly end: number; readonly device: number }[] {
  if (ext4.inlineData(inode) !== undefined) return [];
  const size = ext4.facts.blockBytes;
  const places: { start: number; end: number; device: number }[] = [];
  for (const { fileBlock, block, blocks, unwritten } of ext4.extents(inode)) {
    if (unwritten || fileBlock * size >= inode.sizeBytes) continue;
    places.push({ start: fileBlock * size, end: (fileBlock + blocks) * size, device: block * size });
  }
  return places;
}
