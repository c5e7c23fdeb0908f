// An ext2, ext3 or ext4 filesystem as a source: an image, or a device that is not mounted. Every inode is looked at before the first entry is
// given, and compared with the filesystem's own accounts: half of one that is damaged is not copied.
//
// What bcachefs has no place for is left out, and reported. What cannot be read without a key is refused.

import {
  assertNotMounted,
  type BlockDevice,
  IncompatibleError,
  isStorableXattr,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { type Ext4, type Ext4Inode, isXattrTooLarge, openExt4 } from '@bcachefs-ts/ext4';
import { fileChunks, type Region } from './file-chunks.ts';
import {
  type EntryAttributes,
  NoticeBoard,
  PATH_BYTES_MAX,
  type SourceChunk,
  type SourceEntry,
  type SourceFlag,
  type SourceOptions,
  type SourceTree,
} from './source.ts';

/**
 * @param device closed with the source, or when this throws
 * @throws UsageError when it is mounted; InputError, IncompatibleError as openExt4 and its usage do; DeviceError
 */
export function openExt4Source(device: BlockDevice, options: SourceOptions = {}): SourceTree {
  try {
    assertNotMounted(device.name);
    const fs = openExt4(device);
    const { losses } = fs.usage();
    if (losses.encrypted.count > 0)
      throw new IncompatibleError(
        'ext4_refused',
        { device: device.name },
        `${losses.encrypted.count} of its files are encrypted, such as inode ${losses.encrypted.inodes[0]}; mount it, unlock them, and take the mount as the source`,
      );
    return new Ext4Source(device, fs, options);
  } catch (thrown) {
    device.close();
    throw thrown;
  }
}

/** What kernels make of later times: the last whole second of signed 64-bit nanoseconds. */
const TIME_MAX_NS = 9_223_372_036_000_000_000n;

const flagNames: readonly SourceFlag[] = ['sync', 'immutable', 'append', 'nodump', 'noatime'];

/** Flags that say something, and that bcachefs does not have. */
const lostFlags: readonly (readonly [bit: number, letter: string])[] = [
  [0x1, 's'],
  [0x2, 'u'],
  [0x4, 'c'],
  [0x4000, 'j'],
  [0x8000, 't'],
  [0x1_0000, 'D'],
  [0x2_0000, 'T'],
  [0x80_0000, 'C'],
  [0x200_0000, 'x'],
];

class Ext4Source implements SourceTree {
  readonly name: string;
  readonly #device: BlockDevice;
  readonly #fs: Ext4;
  readonly #options: SourceOptions;
  readonly #notices: NoticeBoard;

  constructor(device: BlockDevice, fs: Ext4, options: SourceOptions) {
    this.name = device.name;
    this.#device = device;
    this.#fs = fs;
    this.#options = options;
    this.#notices = new NoticeBoard(options);
  }

  *entries(): Generator<SourceEntry> {
    const { isExcluded } = this.#options;
    if (this.#fs.facts.features.includes('quota'))
      this.#notices.report('quota', new Uint8Array(0), 'limits of quotas are not kept; usage is counted anew');
    /** Inodes of several names that were given under one of them. */
    const given = new Set<number>();
    /** Directories deeper than this one are left out. */
    let excludedDepth = Number.POSITIVE_INFINITY;
    for (const { path, name, depth, inode } of this.#fs.tree()) {
      if (depth > excludedDepth) continue;
      excludedDepth = Number.POSITIVE_INFINITY;
      if (depth > 0 && isExcluded?.(path) === true) {
        excludedDepth = depth;
        continue;
      }
      if (path.length > PATH_BYTES_MAX)
        throw new UsageError(
          `${this.name}: a path of ${path.length} bytes is longer than any system call takes`,
          '--source',
        );
      const place = { path, name, depth };
      if (inode.kind !== 'dir' && inode.nlink > 1) {
        if (given.has(inode.number)) {
          yield { ...place, type: 'link', linkId: inode.number };
          continue;
        }
        given.add(inode.number);
      }
      yield this.#entry(place, inode);
    }
  }

  close(): void {
    this.#device.close();
  }

  #entry(place: { path: Uint8Array; name: Uint8Array; depth: number }, inode: Ext4Inode): SourceEntry {
    const attributes = this.#attributes(place.path, inode);
    if (inode.kind === 'dir') {
      if (inode.flags.casefold)
        this.#notices.report('casefold', place.path, 'upper and lower case will count in names of the directory');
      return { ...place, ...attributes, type: 'dir' };
    }
    const common = { ...place, ...attributes, linkId: inode.nlink > 1 ? inode.number : undefined };
    switch (inode.kind) {
      case 'file': {
        const { sizeBytes } = inode;
        if (inode.flags.verity)
          this.#notices.report('verity', place.path, 'contents are kept, and are no longer protected by fs-verity');
        return { ...common, type: 'file', sizeBytes, chunks: () => this.#chunks(inode) };
      }
      case 'symlink':
        return { ...common, type: 'symlink', target: this.#fs.symlinkTarget(inode) };
      case 'chr':
      case 'blk':
        return { ...common, type: inode.kind, rdev: inode.rdev ?? { major: 0, minor: 0 } };
      case 'fifo':
      case 'sock':
        return { ...common, type: inode.kind };
      default:
        throw new UsageError(`${this.name}: inode ${inode.number} has a name, and is not a file`, '--source');
    }
  }

  #attributes(path: Uint8Array, inode: Ext4Inode): EntryAttributes {
    const time = (ns: bigint) => {
      if (ns < TIME_MAX_NS) return ns;
      this.#notices.report('time', path, 'times after 2262-04-11 become that day');
      return TIME_MAX_NS;
    };
    const lost = lostFlags.filter(([bit]) => (inode.flagBits & bit) !== 0).map(([, letter]) => letter);
    if (lost.length > 0)
      this.#notices.report('flags', path, `flags such as ${lost.join('')} (of chattr) are not kept: bcachefs has none`);
    const { flags, crtimeNs } = inode;
    return {
      mode: inode.mode & 0o7777,
      uid: inode.uid,
      gid: inode.gid,
      mtimeNs: time(inode.mtimeNs),
      atimeNs: time(inode.atimeNs),
      ctimeNs: time(inode.ctimeNs),
      btimeNs: crtimeNs === undefined ? undefined : time(crtimeNs),
      xattrs: this.#xattrs(path, inode),
      flags: flagNames.filter(name => flags[name]),
      projectId: inode.projectId,
    };
  }

  #xattrs(path: Uint8Array, inode: Ext4Inode) {
    return this.#fs.xattrs(inode).filter(xattr => {
      const shown = printableBytes(xattr.name);
      if (!isStorableXattr(xattr.name)) {
        const text = `attributes such as ${shown} are not kept: bcachefs has no place for them`;
        this.#notices.report(`xattr ${shown.split('.', 1)[0]}`, path, text);
        return false;
      }
      if (isXattrTooLarge(xattr)) {
        const text = `attributes such as ${shown}, of ${xattr.value.length} bytes, are not kept: name and value have room for 1990`;
        this.#notices.report('large xattr', path, text);
        return false;
      }
      return true;
    });
  }

  #chunks(inode: Ext4Inode): Iterable<SourceChunk> {
    return fileChunks({
      sizeBytes: inode.sizeBytes,
      regions: () => this.#regions(inode),
      read: (offset, into) => this.#fs.read(inode, offset, into),
    });
  }

  /** What was written, up to the end of the file. */
  *#regions(inode: Ext4Inode): Generator<Region> {
    const { blockBytes } = this.#fs.facts;
    const { sizeBytes } = inode;
    if (inode.flags.inlineData) {
      yield { offset: 0, length: sizeBytes };
      return;
    }
    for (const { fileBlock, blocks, unwritten } of this.#fs.extents(inode)) {
      const offset = fileBlock * blockBytes;
      if (offset >= sizeBytes) return;
      if (!unwritten) yield { offset, length: Math.min(blocks * blockBytes, sizeBytes - offset) };
    }
  }
}
