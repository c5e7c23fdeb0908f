// What a filesystem's metadata version decides about the bytes that are written to it, as one value for each filesystem. All code that
// writes asks this value, and so does code that reads bytes whose meaning depends on the version.
//
// A new version to be written is one row, with what it changes, and `isWritten` where everything it changes is kept up. Rows of versions
// that are not written yet hold what reading them needs.
//
// What is asked of `version` here holds for a whole filesystem, however old it is: when a kernel upgrades one it brings what is derived to
// the new rules. Values of keys it leaves as they are: they are of any length and type that versions since `version_min` have had. They
// are read as such, and written whole when something in them changes.
// Source: bcachefs_format.h and the versions' uses, v1.13.0 to v1.39.2.

import { getBits, withBits } from './bits.ts';
import { type InodeOptionRow, inodeFields, inodeOptions } from './inode-tables.ts';
import type { KeyFormat } from './keys/kind.ts';
import { BchSnapshot } from './keys/snapshot.ts';
import { BchSubvolume } from './keys/subvolume.ts';
import { fsckPassesOf } from './passes.ts';
import { isKnownTo, type Release, releaseForWriting } from './releases.ts';
import { sbBits } from './sb-bits.ts';
import { MEMBER_1_13_BYTES } from './sb-fields/members.ts';
import type { Superblock } from './superblock.ts';
import { VERSION_CURRENT_WRITTEN, VERSION_MAX_READ, type VersionName, versionOf } from './versions.ts';

/** What some version has changed. */
interface VersionedRules {
  /** Whether everything that such a filesystem derives from its keys is known to the last counter. */
  readonly isWritten: boolean;
  /** How many members a filesystem may have. */
  readonly membersMax: number;
  /** Length of a member in members_v2, of a snapshot's value and of a subvolume's. What is longer keeps its length. */
  readonly memberBytes: number;
  readonly snapshotBytes: number;
  readonly subvolumeBytes: number;
  /** What bytes 3 to 7 of a backpointer hold: its place in the bucket, or the bucket's generation and flags. */
  readonly backpointerHolds: 'bucket_offset' | 'bucket_gen';
  /** Whether cached pointers have backpointers. */
  readonly hasCachedBackpointers: boolean;
  /** Of positions in the accounting btree. */
  readonly accountingByteOrder: 'little' | 'big';
  /** Whether directories say how deep they are. */
  readonly hasInodeDepth: boolean;
  /** Whether what is above a directory without regard to case says so. */
  readonly marksCaseInsensitive: boolean;
  /** How many counters each btree has: sectors; then nodes, and nodes above the leaves. */
  readonly btreeCounters: 1 | 3;
}

export interface FormatRules extends VersionedRules {
  readonly version: number;
  /** The release of the reference that options, passes and names are taken from. */
  readonly release: Release;
  /** Options that an inode can have of its own. */
  readonly inodeOptions: readonly InodeOptionRow[];
  /** Mask of stable ids of the passes that fsck runs. */
  readonly fsckPasses: bigint;
  /** Bits below the sector in the position of a backpointer. */
  readonly backpointerShift: number;
}

/** BCH_SB_EXTENT_BP_SHIFT_DEFAULT: what was fixed until 1.35. */
const BACKPOINTER_SHIFT = 10;
/** The field has eight bits; sectors have to stay sectors. */
const BACKPOINTER_SHIFT_MAX = 31;

type VersionRow = { readonly since: VersionName } & Partial<VersionedRules>;

/** Of the versions before the first row too. */
const OLDEST: VersionedRules = {
  isWritten: false,
  membersMax: 64,
  memberBytes: MEMBER_1_13_BYTES,
  snapshotBytes: BchSnapshot.offset.state,
  subvolumeBytes: BchSubvolume.offset.state,
  backpointerHolds: 'bucket_offset',
  hasCachedBackpointers: false,
  accountingByteOrder: 'little',
  hasInodeDepth: false,
  marksCaseInsensitive: false,
  btreeCounters: 1,
};

/** Oldest first; each holds for all versions from its own on, as far as a later one does not say otherwise. */
const rows: readonly VersionRow[] = [
  { since: 'inode_has_child_snapshots', isWritten: true },
  { since: 'backpointer_bucket_gen', backpointerHolds: 'bucket_gen' },
  { since: 'disk_accounting_big_endian', accountingByteOrder: 'big' },
  { since: 'inode_depth', hasInodeDepth: true },
  { since: 'cached_backpointers', hasCachedBackpointers: true },
  { since: 'inode_has_case_insensitive', marksCaseInsensitive: true },
  { since: 'btree_node_accounting', isWritten: false, btreeCounters: 3 },
  {
    since: 'per_dev_fragmentation_lru',
    membersMax: 255,
    snapshotBytes: BchSnapshot.size,
    subvolumeBytes: BchSubvolume.size,
  },
];

const known = new Map<number, FormatRules>();

/** The rules of a filesystem; the same value each time. */
export const rulesOf = (sb: Pick<Superblock, 'version' | 'flags'>): FormatRules =>
  rulesFor({ version: sb.version, extentBpShift: getBits(sb.flags, sbBits.EXTENT_BP_SHIFT) });

/** The rules of a version; what is left out is the newest, and the shift that most filesystems have. */
export function rulesFor({ version = VERSION_MAX_READ, extentBpShift = 0 }: KeyFormat): FormatRules {
  const id = version * 256 + extentBpShift;
  let rules = known.get(id);
  if (rules === undefined) {
    rules = makeRules(version, extentBpShift);
    known.set(id, rules);
  }
  return rules;
}

function makeRules(version: number, extentBpShift: number): FormatRules {
  const release = releaseForWriting(version);
  let versioned = OLDEST;
  for (const { since, ...changed } of rows) if (version >= versionOf(since)) versioned = { ...versioned, ...changed };
  return {
    ...versioned,
    version,
    release,
    inodeOptions: inodeOptions.rows.filter(({ field }) => isKnownTo(release, fieldOf(field))),
    fsckPasses: fsckPassesOf(release),
    backpointerShift: Math.min(extentBpShift || BACKPOINTER_SHIFT, BACKPOINTER_SHIFT_MAX),
  };
}

const fieldOf = (name: InodeOptionRow['field']) => inodeFields.byId(inodeFields.idOf(name))!; // the types have its name

/** The flags of a superblock; of later versions they say that the filesystem has, or has had, several members. */
export function withMultiDevice({ flags, nr_devices }: Pick<Superblock, 'flags' | 'nr_devices'>, rules: FormatRules) {
  return rules.release === '1.13' || nr_devices < 2 ? flags : withBits(flags, sbBits.MULTI_DEVICE, 1);
}

/** The rules of new filesystems. */
export const RULES_WRITTEN: FormatRules = rulesFor({ version: VERSION_CURRENT_WRITTEN });
