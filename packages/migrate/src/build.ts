// The new filesystem gets what ext4 has: every name, inode and attribute is made anew, and the data stays where it is. Its blocks are
// adopted: they get keys, and are not written.
//
// Copied, into free buckets, is what cannot stay: what lies in bucket 0, where the sectors are that lead to the filesystem, or after the last whole
// bucket; what another file has adopted already; a last block with something other than zeroes after the end of the file; and what lies in an
// inode. All that ext4 uses and no file has adopted belongs to one file, IMAGE_PATH, in which each block has the place that it has on the
// device. So nothing that ext4 uses is free to bcachefs, and that file is what rollback is made of. Bucket 0 is not a bucket of the new filesystem
// (`first_bucket`), so that nothing is ever put there, whatever becomes of that file; it holds a copy of what ext4 has there.

import {
  type BatchedEdit,
  type BlockDevice,
  bytesToSectors,
  FileError,
  type FileRef,
  printableBytes,
  readBytes,
  withPath,
} from '@bcachefs-ts/core/engine';
import type { Ext4, Ext4BlockMap, Ext4Extent, Ext4Inode, Ext4InodeFlags, Ext4Name } from '@bcachefs-ts/ext4';

/** In the root directory. */
export const IMAGE_DIRECTORY = '.migrated';
const IMAGE_NAME = 'ext4';
export const IMAGE_PATH = `${IMAGE_DIRECTORY}/${IMAGE_NAME}`;

/** What is adopted in one go: a commit must not hold more of one file than of many. */
const RUN_BYTES = 64 * 2 ** 20;
const COPY_BYTES = 2 ** 20;

export interface BuildRequest {
  readonly ext4: Ext4;
  readonly map: Ext4BlockMap;
  readonly device: BlockDevice;
  /** Of the new filesystem. */
  readonly blockBytes: number;
  readonly bucketBytes: number;
  readonly tailStart: number;
  readonly nowNs: bigint;
  /** Attributes that are too large for a key are left out. */
  readonly dropsLargeXattrs: boolean;
  onAdopted?(bytes: number): void;
}

export interface BuildCounts {
  files: number;
  directories: number;
  symlinks: number;
  others: number;
  /** Further names of files. */
  links: number;
  adoptedBytes: number;
  copiedBytes: number;
  /** Of the file that owns all else of ext4. */
  imageBytes: number;
  droppedXattrs: number;
}

const encoder = new TextEncoder();
const TYPE_BITS = {
  dir: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  chr: 0o020000,
  blk: 0o060000,
  fifo: 0o010000,
  sock: 0o140000,
};

/** A step is a name or a part of a file. @throws NoSpaceError, InputError, DeviceError, FileError with the path */
export function* buildFiles(batches: BatchedEdit, request: BuildRequest): Generator<void, BuildCounts, void> {
  const builder = new Builder(batches, request);
  for (const name of request.ext4.tree()) {
    yield* builder.put(name);
    batches.step();
    yield;
  }
  yield* builder.finish();
  return builder.counts;
}

interface OpenDirectory {
  readonly file: FileRef;
  readonly inode: Ext4Inode;
  readonly path: Uint8Array;
}

class Builder {
  readonly counts: BuildCounts = {
    files: 0,
    directories: 0,
    symlinks: 0,
    others: 0,
    links: 0,
    adoptedBytes: 0,
    copiedBytes: 0,
    imageBytes: 0,
    droppedXattrs: 0,
  };
  readonly #batches: BatchedEdit;
  readonly #request: BuildRequest;
  /** Of the new filesystem; those of ext4 may be larger, and all numbers of blocks here are of the smaller ones. */
  readonly #blockBytes: number;
  readonly #ratio: number;
  /** A bit for each block that a file has adopted. */
  readonly #adopted: Uint32Array;
  readonly #open: OpenDirectory[] = [];
  /** Files with several names, by inode number. */
  readonly #linked = new Map<number, FileRef>();

  constructor(batches: BatchedEdit, request: BuildRequest) {
    this.#batches = batches;
    this.#request = request;
    this.#blockBytes = request.blockBytes;
    this.#ratio = request.ext4.facts.blockBytes / request.blockBytes;
    this.#adopted = new Uint32Array(Math.ceil((request.map.blocks * this.#ratio) / 32));
  }

  *put(entry: Ext4Name): Generator<void> {
    while (this.#open.length > entry.depth) this.#leave();
    try {
      if (entry.isFurtherName) this.#link(entry);
      else if (entry.inode.kind === 'dir') this.#enter(entry);
      else yield* this.#file(entry);
    } catch (thrown) {
      throw withPath(thrown, printableBytes(entry.path) || '/');
    }
  }

  *finish(): Generator<void> {
    while (this.#open.length > 1) this.#leave();
    yield* this.#image();
    while (this.#open.length > 0) this.#leave();
  }

  get #directory(): FileRef {
    return this.#open.at(-1)!.file; // the root comes first
  }

  #enter({ name, depth, inode, path }: Ext4Name): void {
    const { files } = this.#batches.edit;
    if (depth === 0) {
      this.#open.push({ file: files.root(), inode, path });
      return;
    }
    // lost+found is there from the beginning.
    const known = depth === 1 ? files.lookup(this.#directory, name) : undefined;
    const file = known ?? files.create(this.#directory, name, { mode: TYPE_BITS.dir | 0o700, inheritsAcl: false });
    this.#open.push({ file, inode, path });
    this.counts.directories++;
  }

  #leave(): void {
    const { file, inode, path } = this.#open.pop()!; // callers look first
    try {
      this.#attributes(file, inode);
    } catch (thrown) {
      throw withPath(thrown, printableBytes(path) || '/');
    }
  }

  #link({ name, inode }: Ext4Name): void {
    const { files } = this.#batches.edit;
    const file = this.#linked.get(inode.number)!; // its first name came before
    files.link(this.#directory, name, file);
    // A new name is a change.
    files.setAttributes(file, timesOf(inode));
    this.counts.links++;
  }

  *#file({ name, inode }: Ext4Name): Generator<void> {
    const { kind, mode, rdev, uid, gid } = inode;
    const type = TYPE_BITS[kind as keyof typeof TYPE_BITS];
    const { files } = this.#batches.edit;
    const file = files.create(this.#directory, name, {
      mode: type | (mode & 0o7777),
      inheritsAcl: false,
      uid,
      gid,
      ...(rdev === undefined ? {} : { rdev }),
    });
    if (kind === 'symlink') {
      this.#batches.edit.content.write(file, 0, this.#request.ext4.symlinkTarget(inode));
      this.counts.symlinks++;
    } else if (kind === 'file') {
      yield* this.#contents(file, inode);
      this.counts.files++;
    } else this.counts.others++;
    this.#attributes(file, inode);
    if (inode.nlink > 1) this.#linked.set(inode.number, file);
  }

  *#contents(file: FileRef, inode: Ext4Inode): Generator<void> {
    const { ext4 } = this.#request;
    const inline = ext4.inlineData(inode);
    if (inline !== undefined) this.#write(file, 0, inline.subarray(0, inode.sizeBytes));
    else for (const extent of ext4.extents(inode)) yield* this.#extent(file, inode, extent);
    const { files, content } = this.#batches.edit;
    if (Number(files.inode(file).bi_size) < inode.sizeBytes) content.truncate(file, inode.sizeBytes);
  }

  *#extent(file: FileRef, inode: Ext4Inode, extent: Ext4Extent): Generator<void> {
    if (extent.unwritten) return;
    const [fileBlock, block, blocks] = [extent.fileBlock, extent.block, extent.blocks].map(
      number => number * this.#ratio,
    ) as [number, number, number];
    const endBlock = Math.ceil(inode.sizeBytes / this.#blockBytes);
    const lastWhole = Math.floor(inode.sizeBytes / this.#blockBytes);
    const end = Math.min(fileBlock + blocks, endBlock);
    const most = Math.max(1, RUN_BYTES / this.#blockBytes);
    for (let at = fileBlock; at < end; ) {
      const onDevice = block + at - fileBlock;
      const stays = this.#stays(onDevice) && !(at === lastWhole && this.#hasRest(inode, onDevice));
      let next = at + 1;
      while (
        next < end &&
        next - at < most &&
        (next === lastWhole ? stays && !this.#hasRest(inode, block + next - fileBlock) : true) &&
        this.#stays(block + next - fileBlock) === stays
      )
        next++;
      if (stays) this.#adopt(file, at, onDevice, next - at);
      else this.#copy(file, inode, at * this.#blockBytes, onDevice * this.#blockBytes, (next - at) * this.#blockBytes);
      at = next;
      this.#batches.step();
      yield;
    }
  }

  /** Whether a block can become a file's where it is. */
  #stays(block: number): boolean {
    const { bucketBytes, tailStart } = this.#request;
    const start = block * this.#blockBytes;
    if (start < bucketBytes || start + this.#blockBytes > tailStart) return false;
    return ((this.#adopted[block >>> 5]! >>> (block & 31)) & 1) === 0;
  }

  /** Whether something follows the end of a file in its last block: what bcachefs shows when the file grows. */
  #hasRest({ sizeBytes }: Ext4Inode, block: number): boolean {
    const inside = sizeBytes % this.#blockBytes;
    const rest = readBytes(this.#request.device, block * this.#blockBytes + inside, this.#blockBytes - inside);
    return rest.some(byte => byte !== 0);
  }

  #adopt(file: FileRef, fileBlock: number, block: number, blocks: number): void {
    const size = this.#blockBytes;
    this.#batches.edit.content.adopt(file, fileBlock * size, {
      dev: 0,
      sector: bytesToSectors(block * size),
      sectors: bytesToSectors(blocks * size),
      gen: 0,
    });
    for (let at = block; at < block + blocks; at++) this.#adopted[at >>> 5]! |= 1 << (at & 31);
    this.counts.adoptedBytes += blocks * size;
    this.#request.onAdopted?.(blocks * size);
  }

  #copy(file: FileRef, { sizeBytes }: Ext4Inode, offset: number, from: number, length: number): void {
    const end = Math.min(length, sizeBytes - offset);
    for (let at = 0; at < end; at += COPY_BYTES) {
      const bytes = readBytes(this.#request.device, from + at, Math.min(COPY_BYTES, end - at));
      this.#write(file, offset + at, bytes);
    }
  }

  #write(file: FileRef, offset: number, bytes: Uint8Array): void {
    this.#batches.edit.content.write(file, offset, bytes);
    this.counts.copiedBytes += bytes.length;
  }

  #attributes(file: FileRef, inode: Ext4Inode): void {
    const { files } = this.#batches.edit;
    for (const { name, value } of this.#request.ext4.xattrs(inode)) {
      try {
        files.setXattr(file, name, value);
      } catch (thrown) {
        const isTooLarge = thrown instanceof FileError && thrown.code === 'ERANGE';
        if (!isTooLarge || !this.#request.dropsLargeXattrs) throw thrown;
        this.counts.droppedXattrs++;
      }
    }
    if (inode.projectId !== 0) files.setOption(file, 'project', inode.projectId);
    const { mode, uid, gid } = inode;
    files.setAttributes(file, { mode: mode & 0o7777, uid, gid, flags: flagsOf(inode.flags), ...timesOf(inode) });
  }

  /** All that ext4 uses and no file has. */
  *#image(): Generator<void> {
    const { map, device, tailStart, nowNs } = this.#request;
    const { files } = this.#batches.edit;
    const times = { atimeNs: nowNs, mtimeNs: nowNs, ctimeNs: nowNs, btimeNs: nowNs };
    const directory = files.create(this.#directory, encoder.encode(IMAGE_DIRECTORY), {
      mode: TYPE_BITS.dir | 0o700,
      inheritsAcl: false,
      uid: 0,
      gid: 0,
    });
    const image = files.create(directory, encoder.encode(IMAGE_NAME), { mode: TYPE_BITS.file | 0o400, uid: 0, gid: 0 });
    // ext4 has checksums of its own.
    files.setOption(image, 'data_checksum', 0);
    const size = this.#blockBytes;
    const adopt = (start: number, end: number) => {
      this.#batches.edit.content.adopt(image, start, {
        dev: 0,
        sector: bytesToSectors(start),
        sectors: bytesToSectors(end - start),
        gen: 0,
      });
      this.counts.imageBytes += end - start;
    };
    yield* this.#copyStart(image, map);
    for (const { start, end } of this.#unowned(map)) {
      for (let at = start; at < end; at += RUN_BYTES) {
        const part = Math.min(end, at + RUN_BYTES);
        if (at < tailStart) adopt(at, Math.min(part, tailStart));
        this.#batches.step();
        yield;
      }
    }
    // After the last whole bucket nothing can be owned, and nothing is ever written.
    const sizeBytes = map.blocks * this.#ratio * size;
    const tail = readBytes(device, tailStart, Math.max(0, sizeBytes - tailStart));
    if (tail.length > 0) this.#batches.edit.content.write(image, tailStart, tail);
    if (Number(this.#batches.edit.files.inode(image).bi_size) < sizeBytes)
      this.#batches.edit.content.truncate(image, sizeBytes);
    this.#batches.edit.files.setAttributes(image, { ...times, flags: ['immutable'] });
    this.#batches.edit.files.setAttributes(directory, times);
  }

  /** What ext4 has in bucket 0. */
  *#copyStart(image: FileRef, map: Ext4BlockMap): Generator<void> {
    const { device, bucketBytes } = this.#request;
    const size = this.#blockBytes * this.#ratio;
    for (const { block, blocks } of map.usedRuns(0, Math.ceil(bucketBytes / size))) {
      const end = Math.min(bucketBytes, (block + blocks) * size);
      for (let at = block * size; at < end; at += COPY_BYTES)
        this.#write(image, at, readBytes(device, at, Math.min(COPY_BYTES, end - at)));
      this.#batches.step();
      yield;
    }
  }

  /** In bytes, from the end of bucket 0 on. */
  *#unowned(map: Ext4BlockMap): Generator<{ readonly start: number; readonly end: number }> {
    const { bucketBytes } = this.#request;
    const size = this.#blockBytes;
    const isAdopted = (block: number) => ((this.#adopted[block >>> 5]! >>> (block & 31)) & 1) === 1;
    for (const { block, blocks } of map.usedRuns()) {
      const end = (block + blocks) * this.#ratio;
      for (let at = block * this.#ratio; at < end; ) {
        if (isAdopted(at)) {
          at++;
          continue;
        }
        let next = at + 1;
        while (next < end && !isAdopted(next)) next++;
        const start = Math.max(bucketBytes, at * size);
        if (start < next * size) yield { start, end: next * size };
        at = next;
      }
    }
  }
}

/** As bcachefs keeps them: the last moment is in 2262, and kernels take it for what lies after it. */
const TIME_MAX = 2n ** 63n - 1n;
const TIME_MIN = -(2n ** 63n);
export const keptTime = (ns: bigint): bigint => (ns > TIME_MAX ? TIME_MAX : ns < TIME_MIN ? TIME_MIN : ns);

const timesOf = ({ atimeNs, mtimeNs, ctimeNs, crtimeNs }: Ext4Inode) => ({
  atimeNs: keptTime(atimeNs),
  mtimeNs: keptTime(mtimeNs),
  ctimeNs: keptTime(ctimeNs),
  btimeNs: keptTime(crtimeNs ?? ctimeNs),
});

const KEPT_FLAGS = ['sync', 'immutable', 'append', 'nodump', 'noatime'] as const;
export const flagsOf = (flags: Ext4InodeFlags) => KEPT_FLAGS.filter(name => flags[name]);
