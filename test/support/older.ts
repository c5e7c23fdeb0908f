// Makes a filesystem older than it is: what versions before 1.13 would have left in it, so that a real kernel has an upgrade to do. Keys get
// the types and lengths that releases since 2021 have written (inode and inode_v2, alloc to alloc_v3, alloc_v4 before it grew, short
// snapshots and subvolumes), what did not exist yet is taken out (accounting, lists of deleted inodes and of children of subvolumes, flags),
// and the superblock says 1.0, with sections as they were then. The result is not what any release has made in all: the nodes are new
// ones. What an upgrade leaves of it is what upgrades leave.

import {
  type Alloc,
  type AllocV4,
  BchAlloc,
  BchAllocV2,
  BchAllocV3,
  BchAllocV4,
  BchBackpointer,
  type BtreeName,
  dataTypes,
  decodeJournalV2,
  deletedKey,
  encodeJournal,
  FileEdit,
  FilesystemWriter,
  inodeFlags,
  inodeOfKey,
  journalBuckets,
  type Key,
  keyKind,
  keyTypes,
  makeKey,
  masterKey,
  nextGeneration,
  openDevice,
  openMembers,
  packInodeV1,
  packInodeV2,
  type Superblock,
  sbBits,
  sectionPayload,
  seededRandom,
  versionOf,
  viewOf,
  withBits,
  withSection,
  writeSuperblocks,
} from '@bcachefs-ts/core/engine';
import { encodeVarint } from '../../packages/core/src/ondisk/varint.ts';

/** The version that it says to be of, and the oldest that it says to hold keys of. */
const VERSION = versionOf('major_minor');
const VERSION_MIN = versionOf('freespace');

const TYPE = {
  alloc: keyTypes.idOf('alloc'),
  alloc_v2: keyTypes.idOf('alloc_v2'),
  alloc_v3: keyTypes.idOf('alloc_v3'),
  alloc_v4: keyTypes.idOf('alloc_v4'),
  inode: keyTypes.idOf('inode'),
  inode_v2: keyTypes.idOf('inode_v2'),
};
/** Btrees that did not exist yet. */
const LATER_BTREES: readonly BtreeName[] = ['accounting', 'subvolume_children', 'deleted_inodes', 'reconcile_work'];
const LATER_SECTIONS = ['members_v2', 'downgrade', 'errors', 'ext', 'counters'] as const;
const HAS_CHILD_SNAPSHOT = 1 << inodeFlags.idOf('has_child_snapshot');
const WITHOUT_BACKPOINTERS: ReadonlySet<number> = new Set((['free', 'sb', 'journal'] as const).map(dataTypes.idOf));
const NEED_DISCARD = dataTypes.idOf('need_discard');

/** What an older release would have written in its place; the same key where nothing was different. Every type gets its share. */
function olderKey(btree: BtreeName, key: Key, nr: number, hasOldestInodes: boolean): Key {
  const { k, value } = key;
  switch (btree) {
    case 'inodes': {
      const inode = inodeOfKey(key, undefined);
      if (inode === undefined) return key;
      const older = { ...inode, bi_flags: inode.bi_flags & ~HAS_CHILD_SNAPSHOT };
      return hasOldestInodes && nr % 2 === 0
        ? makeKey(TYPE.inode, k.p, packInodeV1(older))
        : makeKey(TYPE.inode_v2, k.p, packInodeV2(older));
    }
    case 'alloc': {
      const alloc = keyKind(k.type)!.decode(value) as AllocV4;
      // What has backpointers got its key of type alloc_v4 with them, and need_discard is a flag that the first ones did not have.
      const kinds = WITHOUT_BACKPOINTERS.has(alloc.data_type)
        ? [allocV1, allocV2, allocV3, allocV4]
        : alloc.data_type === NEED_DISCARD
          ? [allocV3, allocV4]
          : [allocV4, allocV4WithBackpointer];
      const [type, older] = kinds[nr % kinds.length]!(alloc);
      return makeKey(type, k.p, older);
    }
    case 'snapshots':
      return makeKey(k.type, k.p, value.slice(0, nr % 2 === 0 ? 24 : 40));
    case 'subvolumes':
      return makeKey(k.type, k.p, value.slice(0, 16));
    default:
      return key;
  }
}

type OlderAlloc = readonly [type: number, value: Uint8Array];

function allocV1(alloc: Alloc): OlderAlloc {
  const value = new Uint8Array(16);
  const view = viewOf(value);
  BchAlloc.put(view, 0, { fields: 0b11_1111, gen: alloc.gen });
  view.setUint16(2, 1, true);
  view.setUint16(4, 1, true);
  value[6] = alloc.data_type;
  view.setUint16(7, alloc.dirty_sectors, true);
  view.setUint16(9, alloc.cached_sectors, true);
  value[11] = alloc.oldest_gen;
  return [TYPE.alloc, value];
}

const padded = (bytes: readonly number[]): Uint8Array => {
  const value = new Uint8Array(8 * Math.ceil(bytes.length / 8));
  value.set(bytes);
  return value;
};

const varints = (alloc: Alloc): number[] =>
  [alloc.read_time, alloc.write_time, BigInt(alloc.dirty_sectors), BigInt(alloc.cached_sectors)].flatMap(field => [
    ...encodeVarint(field),
  ]);

function allocV2(alloc: Alloc): OlderAlloc {
  const header = new Uint8Array(BchAllocV2.size);
  BchAllocV2.put(viewOf(header), 0, { ...alloc, nr_fields: 4 });
  return [TYPE.alloc_v2, padded([...header, ...varints(alloc)])];
}

function allocV3(alloc: Alloc): OlderAlloc {
  const header = new Uint8Array(BchAllocV3.size);
  BchAllocV3.put(viewOf(header), 0, { ...alloc, journal_seq: alloc.journal_seq_nonempty, nr_fields: 4 });
  return [TYPE.alloc_v3, padded([...header, ...varints(alloc)])];
}

/** NEED_DISCARD and NEED_INC_GEN; above them two lengths. */
const FLAGS = 3;

/** As long as it was at first, when it did not say how long it is. */
function allocV4(alloc: AllocV4): OlderAlloc {
  const value = alloc.bytes.slice(0, BchAllocV4.offset.journal_seq_empty);
  viewOf(value).setUint32(BchAllocV4.offset.flags, alloc.flags & FLAGS, true);
  return [TYPE.alloc_v4, value];
}

/** With one backpointer inside, as until 0.28. It is not read any more. */
function allocV4WithBackpointer(alloc: AllocV4): OlderAlloc {
  const fields = alloc.bytes.slice(0, BchAllocV4.offset.stripe_sectors);
  const value = new Uint8Array(fields.length + BchBackpointer.size);
  value.set(fields);
  value.fill(1, fields.length);
  const lengths = ((fields.length / 8) << 2) | (1 << 8);
  viewOf(value).setUint32(BchAllocV4.offset.flags, (alloc.flags & FLAGS) | lengths, true);
  return [TYPE.alloc_v4, value];
}

function olderSuperblock(sb: Superblock): Superblock {
  let older: Superblock = {
    ...sb,
    version: VERSION,
    version_min: VERSION_MIN,
    flags: withBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE, VERSION),
  };
  for (const section of LATER_SECTIONS) older = withSection(older, section, undefined);
  return older;
}

/** Each member's journal is in its own superblock, listed bucket by bucket as until 0.13. */
function withOlderJournal(sb: Superblock): Superblock {
  const v2 = sectionPayload(sb, 'journal_v2');
  if (v2 === undefined) return sb;
  return withSection(
    withSection(sb, 'journal_v2', undefined),
    'journal',
    encodeJournal(journalBuckets(decodeJournalV2(v2))),
  );
}

export interface OlderOptions {
  readonly passphrase?: string | undefined;
  /**
   * Inodes of the first type too. Linux 6.12 damages one when it sets the flag that a snapshot has a version of its own
   * (bch2_trigger_inode writes its journal_seq over the hash seed), and its check then complains: leave them out where a kernel goes on
   * writing.
   */
  readonly hasOldestInodes?: boolean;
}

/**
 * `loadChecksums` and `loadCompression` have to have been awaited.
 * @param paths all members, clean and of version 1.13
 */
export function makeOlder(paths: readonly string[], { passphrase, hasOldestInodes = true }: OlderOptions = {}): void {
  const devices = paths.map(path => openDevice(path, { write: true }));
  try {
    const random = seededRandom('older');
    const now = 1_700_000_000n;
    const set = openMembers(devices);
    const key = passphrase === undefined ? undefined : masterKey(set.newest.sb, new TextEncoder().encode(passphrase));
    const writer = new FilesystemWriter(set, { key, random, now: () => now });
    const edit = new FileEdit(writer, { random, now: () => now * 10n ** 9n });
    for (const btree of ['inodes', 'alloc', 'snapshots', 'subvolumes'] as const) {
      let nr = 0;
      for (const key of [...writer.filesystem.btree(btree).keys()])
        edit.tx.store(btree, olderKey(btree, key, nr++, hasOldestInodes));
    }
    for (const btree of LATER_BTREES) {
      for (const { k } of [...writer.filesystem.btree(btree).keys()]) edit.tx.store(btree, deletedKey(k.p));
    }
    edit.commit();
    const { members, newest } = openMembers(devices);
    const older = members.map(({ device, sb }) => ({ device, sb: withOlderJournal(sb) }));
    writeSuperblocks(nextGeneration(olderSuperblock(newest.sb), older, now));
  } finally {
    for (const device of devices) device.close();
  }
}
