// Filesystem: the members, the superblock and the btrees of one filesystem, joined for reading. Nothing is written. A clean filesystem's
// roots stand in the superblock's clean section; those of one that was not unmounted, and keys over its btrees, come from the journal.
//
//   const fs = openFilesystem(['a.img:b.img']);
//   try {
//     for (const key of fs.btree('dirents').keys()) …
//   } finally {
//     fs.close();
//   }

import { BtreeView } from '../btree/iterate.ts';
import { NODE_CACHE_BYTES, NodeCache, type NodeSupply } from '../btree/node-cache.ts';
import { NodeReader } from '../btree/node-read.ts';
import type { FilesystemSource } from '../btree/source.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { type ReplayState, readReplayState } from '../journal/replay.ts';
import { getBits } from '../ondisk/bits.ts';
import { btreeNodeMagic } from '../ondisk/btree-node.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import type { KeyTextContext } from '../ondisk/keys/kind.ts';
import { releaseForVersion } from '../ondisk/releases.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { textDevices } from '../ondisk/sb-fields/devices.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { findMembers } from '../superblock/find-members.ts';
import { keyContext } from '../superblock/key-context.ts';
import { type MemberSet, missingText, type OpenMember } from '../superblock/member-set.ts';
import { encryptionOf } from '../superblock/passphrase.ts';
import { dateTimeText } from '../util/time.ts';
import { type FoundKey, findMasterKey } from './master-key.ts';

export interface OpenFilesystemOptions {
  /** For an encrypted filesystem; asked for only when it is needed. */
  readonly passphrase?: Uint8Array | undefined;
  /** Open although members are missing: what is only on them cannot be read. */
  readonly degraded?: boolean;
  /** The external UUID of the filesystem that is meant, where the words name devices of others too. */
  readonly uuid?: string | undefined;
  /** Leave values unjudged: every key is given as it stands. */
  readonly unvalidated?: boolean;
}

/** A state of a filesystem that can be read and judged: one that is open, or what it would be after a transaction. */
export interface FilesystemState extends FilesystemSource {
  readonly set: MemberSet;
  readonly replay: ReplayState;
}

/** What else a filesystem is put together from. */
interface FilesystemParts extends Pick<OpenFilesystemOptions, 'unvalidated'> {
  /** Nodes that were read already, by another state of the same filesystem. */
  readonly nodes?: NodeCache;
  readonly nodesKeptBytes?: number;
  /** See NodeCacheOptions. */
  readonly keepsWalked?: boolean;
}

export class Filesystem implements FilesystemState {
  readonly #devices: readonly BlockDevice[];
  readonly #byIndex: ReadonlyMap<number, BlockDevice>;
  readonly #reader: NodeReader;
  readonly #cache: NodeCache;
  /** Each remembers where its last lookup ended. */
  readonly #views = new Map<number, BtreeView>();

  /** @param key the master key of an encrypted filesystem */
  constructor(
    readonly set: MemberSet,
    /** Where it stands: clean, or what the journal says. */
    readonly replay: ReplayState,
    readonly key: Uint8Array | undefined,
    { unvalidated = false, nodes, nodesKeptBytes = NODE_CACHE_BYTES, keepsWalked = false }: FilesystemParts = {},
  ) {
    this.#devices = set.members.map(member => member.device);
    this.#byIndex = new Map(set.members.map(member => [member.sb.dev_idx, member.device]));
    const { sb } = this;
    this.#reader = new NodeReader({
      magic: btreeNodeMagic(sb.uuid),
      nodeSectors: nodeSectorsOf(set.newest),
      blockSectors: sb.block_size,
      version: sb.version,
      versionMin: sb.version_min,
      key,
      device: index => this.#byIndex.get(index),
      isBlacklisted: seq => replay.blacklist.has(seq),
      values: unvalidated ? undefined : keyContext(sb),
    });
    this.#cache = nodes ?? new NodeCache(this.#reader, { maxBytes: nodesKeptBytes, keepsWalked });
  }

  /** The newest superblock. */
  get sb(): Superblock {
    return this.set.newest.sb;
  }

  /** The same members at another state. Nodes that were read stay known: a pointer has the seq of its node, and leads to no other. */
  at(replay: ReplayState): Filesystem {
    return new Filesystem(this.set, replay, this.key, { nodes: this.#cache });
  }

  get reader(): NodeReader {
    return this.#reader;
  }

  /** The same, for who reads what others read too. */
  get nodes(): NodeSupply {
    return this.#cache;
  }

  /** A member, if it is there. */
  device(index: number): BlockDevice | undefined {
    return this.#byIndex.get(index);
  }

  /** A btree by its name or its number. One that the filesystem does not have is empty. */
  btree(which: BtreeName | number): BtreeView {
    const id = typeof which === 'number' ? which : btrees.idOf(which);
    let view = this.#views.get(id);
    if (view === undefined) {
      view = new BtreeView(id, this.replay.roots.get(id), this.#cache, this.replay.overlay);
      this.#views.set(id, view);
    }
    return view;
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
 * @throws UsageError when the members do not belong together (see `uuid`), one is missing (see `degraded`), or the passphrase is missing or wrong
 * @throws DeviceError, CorruptError, IncompatibleError when it cannot be opened
 */
export function openFilesystem(words: readonly string[], options: OpenFilesystemOptions = {}): Filesystem {
  const set = findMembers(words, { uuid: options.uuid });
  try {
    return filesystemOf(set, options);
  } catch (thrown) {
    for (const { device } of set.members) device.close();
    throw thrown;
  }
}

/** The same with members that are open already; closing the filesystem closes them. */
export function filesystemOf(set: MemberSet, options: OpenFilesystemOptions = {}): Filesystem {
  if (set.missing.length > 0 && !options.degraded) throw new UsageError(missingText(set), undefined, 'member_missing');
  const found = keyOf(set, options.passphrase);
  if (found === undefined) return new Filesystem(set, readReplayState(set), undefined, options);
  const replay = readReplayState(found.set, found.key);
  const problems = found.findings.length === 0 ? replay.problems : [...found.findings, ...replay.problems];
  return new Filesystem(found.set, { ...replay, problems }, found.key, options);
}

function keyOf(set: MemberSet, passphrase: Uint8Array | undefined): FoundKey | undefined {
  const encryption = encryptionOf(set.newest.sb);
  if (encryption === 'none') return undefined;
  if (encryption === 'passphrase' && passphrase === undefined) {
    throw new UsageError('the filesystem is encrypted: its passphrase is needed', undefined, 'passphrase_needed');
  }
  const found = findMasterKey(set, passphrase);
  if (found === undefined) throw new UsageError('wrong passphrase', undefined, 'wrong_passphrase');
  return found;
}

/** A node is a power of two of sectors, up to what 16 bits hold. @throws CorruptError for sizes with which nothing can be read */
function nodeSectorsOf({ sb, device, reading }: OpenMember): number {
  // Opening warns of them: superblocks can be looked at all the same.
  const problem = reading.problems.find(
    ({ error, where }) => error === 'invalid_sb_block_size' || NEEDED_TO_READ.has(where.field ?? ''),
  );
  if (problem !== undefined) {
    throw new CorruptError(problem.error, { ...problem.where, device: device.name }, problem.detail);
  }
  return getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
}

const NEEDED_TO_READ: ReadonlySet<string> = new Set(['option block_size', 'option btree_node_size']);
