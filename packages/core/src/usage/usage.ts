// How the space of a filesystem is used, from the counters that it keeps itself: the accounting btree, with what the journal adds to it;
// before accounting was a btree (1.9), the usage entries of the clean section or the journal. Nothing is summed over extents.
// What the kernel makes of the counters (capacity, used, what statfs says) is computed here as it does. What a mounted
// filesystem has reserved in memory is nowhere on disk; it is taken to be 0, as right after a mount.
// Sources: bch2_accounting_read, __bch2_fs_usage_read_short, bch2_recalc_capacity and bch2_fs_sectors_used, v1.3.6 to v1.36.1.

import { getBits } from '../ondisk/bits.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { decodeJsetEntry, type JsetEntry } from '../ondisk/jset-entries.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { type AccountingPos, accounting, accountingBpos, accountingPos } from '../ondisk/keys/accounting.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import { releaseForWriting } from '../ondisk/releases.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { decodeClean } from '../ondisk/sb-fields/clean.ts';
import { memberDurability } from '../ondisk/sb-fields/devices.ts';
import { diskGroups, labelText, memberGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { type Member, memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { fsLabelText, sectionPayload } from '../ondisk/superblock.ts';
import { versionOf } from '../ondisk/versions.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';

/** What is counted; counters of kinds that are not known here have no order and are left out. */
export type Counted = Exclude<AccountingPos, { type: 'unknown' }>;

export interface UsageCounter {
  readonly counted: Counted;
  /** One to three; what each says depends on the kind. Not below 0 on a sound filesystem. */
  readonly values: readonly bigint[];
}

/** Of one data type on one member. */
export interface DataTypeUsage {
  readonly dataType: number;
  readonly buckets: bigint;
  /** 0 for types of empty buckets. */
  readonly sectors: bigint;
  readonly fragmentedSectors: bigint;
}

export interface DeviceUsage {
  readonly index: number;
  readonly uuid: string;
  readonly label: string | undefined;
  /** The path under which it was opened; undefined when it is missing. */
  readonly path: string | undefined;
  readonly state: number;
  readonly durability: number;
  readonly bucketSizeSectors: number;
  /** Those before the first bucket that is used are not counted. */
  readonly buckets: bigint;
  /** By data type, each that the filesystem's release knows or that has a counter. */
  readonly types: readonly DataTypeUsage[];
  /** What is still to be moved away from it. */
  readonly leavingSectors: bigint;
}

export interface FsUsage {
  /** The external UUID. */
  readonly uuid: string;
  readonly label: string;
  readonly version: number;
  /** Where the counters come from. */
  readonly from: 'accounting' | 'usage entries' | 'nothing yet';
  /** Room for data: what members hold less the reserve for copying. */
  readonly capacitySectors: bigint;
  readonly usedSectors: bigint;
  /** The reserve that `capacitySectors` leaves out. */
  readonly reserveSectors: bigint;
  /** Superblocks and journal. */
  readonly hiddenSectors: bigint;
  readonly inodes: bigint;
  readonly statfs: StatfsUsage;
  /** In the order of their positions since 1.15: by kind, data type, number of devices, devices. Those of 0 are left out. */
  readonly counters: readonly UsageCounter[];
  /** By index. */
  readonly devices: readonly DeviceUsage[];
}

/** What statfs would say after a mount of the members that are there. */
export interface StatfsUsage {
  readonly capacitySectors: bigint;
  readonly freeSectors: bigint;
  /** Free for data: less what its metadata may need. */
  readonly availableSectors: bigint;
}

const ACCOUNTING = keyTypes.idOf('accounting');
const ACCOUNTING_SINCE = versionOf('disk_accounting_v2');
const HIDDEN_TYPES: readonly number[] = dataTypes.rows.filter(row => row.isHidden).map(row => row.id);
const [BTREE, USER, PARITY] = [dataTypes.idOf('btree'), dataTypes.idOf('user'), dataTypes.idOf('parity')];
/** MEMBER_STATE_rw. */
const RW = 0;
/** BTREE_NODE_RESERVE: nodes that a split of all levels could need, four times. */
const BTREE_NODE_RESERVE = 4 * (2 * BTREE_MAX_DEPTH - 1);
/** RESERVE_FACTOR: data that is to come is taken to need a 64th more for metadata. */
const RESERVE_SHIFT = 6n;

/** @param onDamage called with nodes and keys that could not be read: what they count is missing then */
export function readUsage(filesystem: Filesystem, onDamage: (damage: Damage) => void): FsUsage {
  const { sb, replay } = filesystem;
  const isCounted = replay.from !== 'uninitialized';
  const hasBtree = sb.version >= ACCOUNTING_SINCE;
  const counters = !isCounted ? [] : hasBtree ? btreeCounters(filesystem, onDamage) : oldCounters(filesystem, onDamage);
  const devices = deviceUsages(filesystem, counters);
  const { capacity, reserve } = capacityOf(filesystem);
  const hidden = devices.reduce((sum, device) => sum + hiddenSectors(device), 0n);
  const data = sumOfReplicas(counters, [BTREE, USER, PARITY]);
  const reserved = withMetadata(sumOf(counters, 'persistent_reserved'));
  const usable = capacity > hidden ? capacity - hidden : 0n;
  const used = least(usable, data + reserved);
  const free = usable - used;
  return {
    uuid: sb.user_uuid,
    label: fsLabelText(sb.label),
    version: sb.version,
    from: !isCounted ? 'nothing yet' : hasBtree ? 'accounting' : 'usage entries',
    capacitySectors: capacity,
    // Before, what `fs usage` called used had superblocks and journal in it, unlike what statfs did.
    usedSectors: hasBtree ? used : least(capacity, hidden + data + reserved),
    reserveSectors: reserve,
    hiddenSectors: hidden,
    inodes: sumOf(counters, 'nr_inodes'),
    statfs: {
      capacitySectors: usable,
      freeSectors: free,
      availableSectors: (free << RESERVE_SHIFT) / ((1n << RESERVE_SHIFT) + 1n),
    },
    counters,
    devices,
  };
}

function btreeCounters(filesystem: Filesystem, onDamage: (damage: Damage) => void): readonly UsageCounter[] {
  const format = { version: filesystem.sb.version };
  const found: UsageCounter[] = [];
  for (const { k, value } of filesystem.btree('accounting').keys({ onDamage })) {
    if (k.type !== ACCOUNTING) continue;
    const counted = accountingPos(k.p, format);
    // One for each inode, which the kernel does not keep in memory either.
    if (counted.type === 'unknown' || counted.type === 'inum') continue;
    found.push({ counted, values: accounting.decode(value).counters });
  }
  return inOrder(found);
}

/** What the last journal entries, or the clean section in their place, say. Mirrors journal_replay_early_entry, v1.3.6. */
function oldCounters(filesystem: Filesystem, onDamage: (damage: Damage) => void): readonly UsageCounter[] {
  const byPlace = new Map<string, UsageCounter>();
  for (const entry of oldEntries(filesystem)) {
    if (!USAGE_ENTRIES.includes(entry.type)) continue;
    try {
      for (const counter of countersOfEntry(entry)) byPlace.set(JSON.stringify(counter.counted), counter);
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      onDamage(thrown);
    }
  }
  return inOrder([...byPlace.values()]);
}

/** @throws CorruptError when the entry is not what its type says */
function countersOfEntry(entry: JsetEntry): readonly UsageCounter[] {
  const value = decodeJsetEntry(entry);
  if (value?.type === 'usage') {
    if (value.usage === INODES) return [{ counted: { type: 'nr_inodes' }, values: [value.v] }];
    if (value.usage !== RESERVED || entry.level >= REPLICAS_MAX) return [];
    // The entry of level N has what is reserved for N + 1 replicas, and counts it once for each of them.
    const nr_replicas = entry.level + 1;
    return [{ counted: { type: 'persistent_reserved', nr_replicas }, values: [value.v / BigInt(nr_replicas)] }];
  }
  if (value?.type === 'data_usage') {
    const { devs } = value.entry;
    if (devs.length > POINTERS_MAX) {
      const detail = `${devs.length} devices, expected at most ${POINTERS_MAX}`;
      throw new CorruptError('journal_entry_data_usage_bad_size', {}, detail);
    }
    const replicas = { ...value.entry, devs: [...devs].sort((a, b) => a - b) };
    return [{ counted: { type: 'replicas', entry: replicas }, values: [value.v] }];
  }
  if (value?.type !== 'dev_usage' || value.dev >= DEVICES_MAX) return [];
  return value.types.map(({ buckets, sectors, fragmented }, data_type) => ({
    counted: { type: 'dev_data_type', dev: value.dev, data_type },
    values: [buckets, sectors, fragmented],
  }));
}

const USAGE_ENTRIES: readonly number[] = [
  jsetEntryTypes.idOf('usage'),
  jsetEntryTypes.idOf('data_usage'),
  jsetEntryTypes.idOf('dev_usage'),
];
/** BCH_FS_USAGE_reserved, BCH_FS_USAGE_inodes. */
const [RESERVED, INODES] = [0, 1];
/** BCH_REPLICAS_MAX. */
const REPLICAS_MAX = 4;
/** BCH_BKEY_PTRS_MAX: no set of replicas is greater. */
const POINTERS_MAX = 16;
const DEVICES_MAX = 255;

function* oldEntries({ sb, replay }: Pick<Filesystem, 'sb' | 'replay'>): Generator<JsetEntry> {
  const { journal } = replay;
  if (journal === undefined) {
    const clean = sectionPayload(sb, 'clean');
    if (clean !== undefined) yield* decodeClean(clean).entries;
    return;
  }
  for (const entry of journal.entries) if (entry.use === 'replay') yield* journal.read(entry).entries;
}

/** In the order of the positions that they have, or would have, since 1.15. */
function inOrder(counters: readonly UsageCounter[]): readonly UsageCounter[] {
  const now = { version: versionOf('disk_accounting_big_endian') };
  return counters
    .filter(({ values }) => values.some(value => value !== 0n))
    .map((counter): [Bpos, UsageCounter] => [accountingBpos(counter.counted, now), counter])
    .sort(([a], [b]) => compareBpos(a, b))
    .map(([, counter]) => counter);
}

function deviceUsages({ sb, set }: Filesystem, counters: readonly UsageCounter[]): readonly DeviceUsage[] {
  const groups = diskGroups(sb);
  const paths = new Map(set.members.map(member => [member.sb.dev_idx, member.device.name]));
  const release = releaseForWriting(sb.version);
  return members(sb).flatMap((member, index): DeviceUsage[] => {
    if (!memberAlive(member)) return [];
    const own = counters.filter(({ counted }) => 'dev' in counted && counted.dev === index);
    const group = memberGroup(member);
    const counted = new Map(
      own.flatMap(({ counted, values }) =>
        counted.type === 'dev_data_type' ? [[counted.data_type, values] as const] : [],
      ),
    );
    const listed = dataTypes.rows.filter(row => row.since !== '1.39' || release === '1.39').map(row => row.id);
    const ids = [...new Set([...listed, ...counted.keys()])].sort((a, b) => a - b);
    const leaving = own.find(isCountedKind('dev_leaving'));
    return [
      {
        index,
        uuid: member.uuid,
        label: group === undefined ? undefined : labelText(groups, group),
        path: paths.get(index),
        state: stateOf(member),
        durability: memberDurability(member),
        bucketSizeSectors: member.bucket_size,
        buckets: bucketsOf(member),
        types: ids.map(dataType => {
          const [buckets = 0n, sectors = 0n, fragmentedSectors = 0n] = counted.get(dataType) ?? [];
          return { dataType, buckets, sectors, fragmentedSectors };
        }),
        leavingSectors: leaving?.values[0] ?? 0n,
      },
    ];
  });
}

const stateOf = (member: Member) => getBits([member.flags], memberBits.STATE);
const bucketsOf = (member: Member) => BigInt(Math.max(0, member.nbuckets - member.first_bucket));

function hiddenSectors({ types, bucketSizeSectors }: DeviceUsage): bigint {
  const buckets = types.reduce(
    (sum, { dataType, buckets }) => (HIDDEN_TYPES.includes(dataType) ? sum + buckets : sum),
    0n,
  );
  return buckets * BigInt(bucketSizeSectors);
}

/** What a mount of the members that are there could hold. Mirrors bch2_recalc_capacity. */
function capacityOf({ sb, set }: Filesystem): { readonly capacity: bigint; readonly reserve: bigint } {
  const known = members(sb);
  const nodeSectors = Math.max(1, getBits(sb.flags, sbBits.BTREE_NODE_SIZE));
  let whole = 0n;
  let forAllocator = 0n;
  for (const { sb: own } of set.members) {
    const member = known[own.dev_idx];
    if (member === undefined || !memberAlive(member) || stateOf(member) !== RW) continue;
    // 1.13 counts caches as room for data; 1.36 does not. Which release between them changed is not known here.
    if (memberDurability(member) === 0 && releaseForWriting(sb.version) !== '1.13') continue;
    const nodesPerBucket = Math.max(1, Math.floor(member.bucket_size / nodeSectors));
    const nodeBuckets = Math.ceil(BTREE_NODE_RESERVE / nodesPerBucket);
    // For btrees, for moving, and one for each of three write points.
    const buckets = BigInt(2 * nodeBuckets + Math.floor(member.nbuckets / 64) + 3);
    forAllocator += 2n * buckets * BigInt(member.bucket_size);
    whole += bucketsOf(member) * BigInt(member.bucket_size);
  }
  const bytes = BigInt(optionFromSuperblock(option('gc_reserve_bytes'), sb));
  const percent = BigInt(optionFromSuperblock(option('gc_reserve_percent'), sb));
  const forMoving = bytes === 0n ? (whole * percent) / 100n : bytes >> 9n;
  const reserve = least(whole, forMoving > forAllocator ? forMoving : forAllocator);
  return { capacity: whole - reserve, reserve };
}

const least = (a: bigint, b: bigint) => (a < b ? a : b);

/** Sectors of data together with the metadata that they may need. Mirrors reserve_factor. */
function withMetadata(sectors: bigint): bigint {
  const roundUp = (1n << RESERVE_SHIFT) - 1n;
  return sectors + ((sectors + roundUp) >> RESERVE_SHIFT);
}

/** Sectors that are reserved count once for each replica. */
function sumOf(counters: readonly UsageCounter[], type: 'nr_inodes' | 'persistent_reserved'): bigint {
  return counters.reduce((sum, { counted, values }) => {
    if (counted.type !== type) return sum;
    return sum + (values[0] ?? 0n) * BigInt(counted.type === 'persistent_reserved' ? counted.nr_replicas : 1);
  }, 0n);
}

function sumOfReplicas(counters: readonly UsageCounter[], types: readonly number[]): bigint {
  return counters.reduce(
    (sum, { counted, values }) =>
      counted.type === 'replicas' && types.includes(counted.entry.data_type) ? sum + (values[0] ?? 0n) : sum,
    0n,
  );
}

/** Recognises counters of one kind. */
export function isCountedKind<T extends Counted['type']>(type: T) {
  return (counter: UsageCounter): counter is UsageCounter & { readonly counted: Extract<Counted, { type: T }> } =>
    counter.counted.type === type;
}
