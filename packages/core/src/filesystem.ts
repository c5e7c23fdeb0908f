// Filesystem: the members, the superblock and the btrees of one filesystem, joined for reading. Nothing is written. A clean filesystem's
// roots stand in the superblock's clean section; those of one that was not unmounted, and keys over its btrees, come from the journal.
//
//   const fs = openFilesystem(['a.img:b.img']);
//   try {
//     for (const key of fs.btree('dirents').keys()) …
//   } finally {
//     fs.close();
//   }

import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BtreeView } from './btree/iterate.ts';
import { NodeReader } from './btree/node-read.ts';
import type { FilesystemSource } from './btree/source.ts';
import type { BlockDevice } from './device/block-device.ts';
import { openDevice } from './device/file-device.ts';
import { type ReplayState, readReplayState } from './journal/replay.ts';
import { getBits } from './ondisk/bits.ts';
import { btreeNodeMagic } from './ondisk/btree-node.ts';
import { type BtreeName, btrees } from './ondisk/btrees.ts';
import { DeviceError, UsageError } from './ondisk/errors.ts';
import type { KeyTextContext, KeyValidateContext } from './ondisk/keys/kind.ts';
import { viewOf } from './ondisk/layout.ts';
import { releaseForVersion } from './ondisk/releases.ts';
import { sbBits } from './ondisk/sb-bits.ts';
import { textDevices } from './ondisk/sb-fields/devices.ts';
import { members } from './ondisk/sb-fields/members.ts';
import { hasSuperblockMagic, SB_SECTOR, type Superblock } from './ondisk/superblock.ts';
import { type MemberSet, openMembers } from './superblock/member-set.ts';
import { encryptionOf, masterKey } from './superblock/passphrase.ts';
import { SECTOR_BYTES } from './util/sizes.ts';
import { dateTimeText } from './util/time.ts';

export interface OpenFilesystemOptions {
  /** For an encrypted filesystem; asked for only when it is needed. */
  readonly passphrase?: Uint8Array | undefined;
  /** Open although members are missing: what is only on them cannot be read. */
  readonly degraded?: boolean;
  /** Leave values unjudged: every key is given as it stands. */
  readonly unvalidated?: boolean;
}

export class Filesystem implements FilesystemSource {
  readonly #devices: readonly BlockDevice[];
  readonly #byIndex: ReadonlyMap<number, BlockDevice>;
  readonly #reader: NodeReader;

  /** @param key the master key of an encrypted filesystem */
  constructor(
    readonly set: MemberSet,
    /** Where it stands: clean, or what the journal says. */
    readonly replay: ReplayState,
    readonly key: Uint8Array | undefined,
    { unvalidated = false }: Pick<OpenFilesystemOptions, 'unvalidated'> = {},
  ) {
    this.#devices = set.members.map(member => member.device);
    this.#byIndex = new Map(set.members.map(member => [member.sb.dev_idx, member.device]));
    const { sb } = this;
    this.#reader = new NodeReader({
      magic: btreeNodeMagic(sb.uuid),
      nodeSectors: nodeSectorsOf(sb),
      blockSectors: sb.block_size,
      version: sb.version,
      versionMin: sb.version_min,
      key,
      device: index => this.#byIndex.get(index),
      isBlacklisted: seq => replay.blacklist.has(seq),
      values: unvalidated ? undefined : validateContext(sb),
    });
  }

  /** The newest superblock. */
  get sb(): Superblock {
    return this.set.newest.sb;
  }

  get reader(): NodeReader {
    return this.#reader;
  }

  /** A member, if it is there. */
  device(index: number): BlockDevice | undefined {
    return this.#byIndex.get(index);
  }

  /** A btree by its name or its number. One that the filesystem does not have is empty. */
  btree(which: BtreeName | number): BtreeView {
    const id = typeof which === 'number' ? which : btrees.idOf(which);
    return new BtreeView(id, this.replay.roots.get(id), this.#reader, this.replay.overlay);
  }

  /** What the text of its keys needs: members are called by their files' names. */
  textContext(options: { readonly dateTime?: (seconds: number | bigint) => string } = {}): KeyTextContext {
    const { sb } = this;
    const style = releaseForVersion(sb.version) === '1.39' ? '1.39' : '1.36';
    const dateTime = options.dateTime ?? dateTimeText;
    const context = textDevices({
      sb,
      style,
      memberName: index => this.#byIndex.get(index)?.name,
      dateTime,
    });
    const known = new Map<number, ReturnType<typeof context.device>>();
    return {
      label: group => context.label(group),
      device(index) {
        if (!known.has(index)) known.set(index, context.device(index));
        return known.get(index);
      },
      version: sb.version,
      extentBpShift: getBits(sb.flags, sbBits.EXTENT_BP_SHIFT),
      style,
      dateTime,
      shardInodeNumbersBits: getBits(sb.flags, sbBits.SHARD_INUMS_NBITS),
    };
  }

  close(): void {
    for (const device of this.#devices) device.close();
  }
}

/**
 * Opens a filesystem for reading.
 * @param words paths of its members in any order: devices, images, several joined by `:`, or a directory of images
 * @throws UsageError when the members do not belong together, one is missing (see `degraded`), or the passphrase is missing or wrong
 * @throws DeviceError, CorruptError, IncompatibleError when it cannot be opened
 */
export function openFilesystem(words: readonly string[], options: OpenFilesystemOptions = {}): Filesystem {
  const opened: BlockDevice[] = [];
  try {
    for (const path of memberPaths(words)) opened.push(openDevice(path, { write: false }));
    return filesystemOf(openMembers(opened), options);
  } catch (thrown) {
    for (const device of opened) device.close();
    throw thrown;
  }
}

/** The same with members that are open already; closing the filesystem closes them. */
export function filesystemOf(set: MemberSet, options: OpenFilesystemOptions = {}): Filesystem {
  const { sb } = set.newest;
  if (set.missing.length > 0 && !options.degraded) throw new UsageError(missingText(set));
  const key = keyOf(sb, options.passphrase);
  return new Filesystem(set, readReplayState(set, key), key, options);
}

/** Which members are missing, for people. */
export function missingText({ newest, missing }: MemberSet): string {
  const known = members(newest.sb);
  const names = missing.map(index => `member ${index} (${known[index]?.uuid ?? 'unknown'})`).join(', ');
  return `the filesystem has ${newest.sb.nr_devices} members: ${names} missing`;
}

function keyOf(sb: Superblock, passphrase: Uint8Array | undefined): Uint8Array | undefined {
  const encryption = encryptionOf(sb);
  if (encryption === 'none') return undefined;
  if (encryption === 'passphrase' && passphrase === undefined) {
    throw new UsageError('the filesystem is encrypted: its passphrase is needed');
  }
  const key = masterKey(sb, passphrase);
  if (key === undefined) throw new UsageError('wrong passphrase');
  return key;
}

/** A node is a power of two of sectors, up to what 16 bits hold; the superblock was verified. */
function nodeSectorsOf(sb: Superblock): number {
  return getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
}

function validateContext(sb: Superblock): KeyValidateContext {
  const known = members(sb);
  const devices = known.map(member => ({
    bucketSizeSectors: member.bucket_size,
    firstBucket: member.first_bucket,
    bucketCount: member.nbuckets,
  }));
  return {
    version: sb.version,
    extentBpShift: getBits(sb.flags, sbBits.EXTENT_BP_SHIFT),
    device: index => devices[index],
    btreeNodeSectors: nodeSectorsOf(sb),
    encodedExtentMaxSectors: 2 ** getBits(sb.flags, sbBits.ENCODED_EXTENT_MAX_BITS),
  };
}

/** Paths of members: lists taken apart at their colons, directories replaced by the members in them. */
export function memberPaths(words: readonly string[]): readonly string[] {
  // A file whose name has a colon stands for itself.
  const paths = words.flatMap(word => (word.includes(':') && !existsSync(word) ? word.split(':') : [word]));
  return paths.flatMap(path => (isDirectory(path) ? membersInFolder(path) : [path]));
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** The files in a folder that begin as members of a filesystem do, in the order of their names. */
function membersInFolder(folder: string): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(folder).toSorted();
  } catch (cause) {
    throw new DeviceError('io', folder, `cannot be listed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  const found = names.map(name => join(folder, name)).filter(isMember);
  if (found.length === 0) throw new UsageError(`no member of a bcachefs filesystem is in ${folder}`);
  return found;
}

function isMember(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || !(stat.isFile() || stat.isBlockDevice())) return false;
  const device = openDevice(path, { write: false });
  try {
    const head = new Uint8Array((SB_SECTOR + 2) * SECTOR_BYTES);
    if (device.sizeBytes < head.length) return false;
    device.read(0, head);
    return hasSuperblockMagic(viewOf(head), SB_SECTOR * SECTOR_BYTES);
  } finally {
    device.close();
  }
}
