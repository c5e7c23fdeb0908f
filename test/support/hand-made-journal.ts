// Journals made by hand, in memory: members with journal buckets, and entries written wherever a test wants them.

import {
  Bkey,
  type BlockDevice,
  bpos,
  encodeJournalV2,
  encodeJsetEntries,
  JSET_ENCRYPTED_START,
  Jset,
  type JsetEntry,
  type JsetEntryTypeName,
  jsetEntryTypes,
  jsetMagic,
  type KeyTypeName,
  keyTypes,
  type MemberSet,
  MemoryDevice,
  makeBpos,
  members,
  planFormat,
  type Superblock,
  sbBits,
  sealVstruct,
  sectorsToBytes,
  seededRandom,
  VERSION_CURRENT_WRITTEN,
  viewOf,
  withBits,
  withMember,
  withSection,
} from '@bcachefs-ts/core/engine';

export const BLOCK_SECTORS = 8;
const CRC32C_NONZERO = 1;
/** Where each member's journal is, in its own buckets. */
export const JOURNAL_BUCKETS = [20, 21, 30] as const;

export interface MadeEntry {
  readonly seq: number;
  /** The entry's own sequence number when left out. */
  readonly lastSeq?: number | bigint;
  readonly noFlush?: boolean;
  readonly entries?: readonly JsetEntry[];
  readonly version?: number;
  readonly csumType?: number;
  /** Damages it after its checksum was made. */
  readonly torn?: boolean;
  /** In place of the real one. */
  readonly u64s?: number;
}

export interface Place {
  readonly dev?: number;
  /** Index of the journal bucket. */
  readonly bucket?: number;
  readonly sector?: number;
}

/** A filesystem of which nothing is there but superblocks in memory, and a journal. */
export class MadeJournal {
  readonly set: MemberSet;
  readonly devices: readonly MemoryDevice[];

  /** @param bucketSectors of each member */
  constructor(bucketSectors: readonly number[] = [256], change: (sb: Superblock) => Superblock = sb => sb) {
    const plan = planFormat({
      devices: bucketSectors.map((_, i) => ({
        name: `dev${i}`,
        sizeBytes: 64 * 2 ** 20,
        physicalSectorBytes: 0,
        logicalSectorBytes: 512,
        durability: 1,
        discard: true,
        dataAllowed: 0b11100,
      })),
      options: new Map(),
      targets: {},
      version: VERSION_CURRENT_WRITTEN,
      now: 1_700_000_000_000_000_000n,
      random: seededRandom('journal'),
    });
    this.devices = bucketSectors.map((_, i) => new MemoryDevice(64 * 2 ** 20, { name: `dev${i}` }));
    const opened = this.devices.map((device, i) => {
      let sb = { ...plan.superblocks[i]!, block_size: BLOCK_SECTORS };
      bucketSectors.forEach((bucket_size, index) => {
        sb = withMember(sb, index, member => ({
          ...member,
          bucket_size,
          first_bucket: 1,
          nbuckets: Math.floor((64 * 2 ** 20) / sectorsToBytes(bucket_size)),
        }));
      });
      const ranges = JOURNAL_BUCKETS.map(start => ({ start, nr: 1 }));
      sb = withSection(sb, 'journal_v2', encodeJournalV2(ranges));
      sb = { ...sb, flags: withBits(sb.flags, sbBits.INITIALIZED, 1) };
      sb = change(sb);
      const reading = { sb, sector: 8, foundBy: 'sector' as const, isWiped: false, problems: [], failures: [] };
      return { device: device as BlockDevice, reading, sb };
    });
    this.set = { members: opened, newest: opened[0]!, missing: [] };
  }

  /** Sectors that the entry takes. */
  write(made: MadeEntry, { dev = 0, bucket = 0, sector = 0 }: Place = {}): number {
    const { sb } = this.set.members[dev]!;
    const bytes = jsetBytesOf(sb, made);
    const bucketBytes = sectorsToBytes(members(sb)[dev]!.bucket_size);
    const bucketNr = JOURNAL_BUCKETS[bucket]!;
    this.devices[dev]!.write(bucketNr * bucketBytes + sectorsToBytes(sector), bytes);
    return Math.ceil(bytes.length / sectorsToBytes(BLOCK_SECTORS)) * BLOCK_SECTORS;
  }

  /** One after another, from the start of a bucket. */
  writeAll(entries: readonly MadeEntry[], place: Place = {}): void {
    let sector = place.sector ?? 0;
    for (const made of entries) sector += this.write(made, { ...place, sector });
  }
}

/** The bytes of an entry with its checksum. */
export function jsetBytesOf(sb: Superblock, made: MadeEntry): Uint8Array {
  const body = encodeJsetEntries(made.entries ?? []);
  const bytes = new Uint8Array(Jset.size + body.length);
  const csumType = made.csumType ?? CRC32C_NONZERO;
  Jset.put(viewOf(bytes), 0, {
    csum: { lo: 0n, hi: 0n },
    magic: jsetMagic(sb.uuid),
    seq: made.seq,
    version: made.version ?? sb.version,
    flags: csumType | (made.noFlush ? 32 : 0),
    u64s: made.u64s ?? body.length / 8,
    read_clock: 0,
    write_clock: 0,
    last_seq: BigInt(made.lastSeq ?? made.seq),
  });
  bytes.set(body, Jset.size);
  sealVstruct(csumType, bytes);
  if (made.torn) bytes[JSET_ENCRYPTED_START]! ^= 0xff;
  return bytes;
}

export interface MadeKey {
  readonly inode: number;
  readonly offset?: number;
  readonly type?: KeyTypeName;
  readonly version?: number;
  /** The value, in u64s. */
  readonly value?: readonly bigint[];
  readonly size?: number;
}

export function keyBytes(made: MadeKey): Uint8Array {
  const value = made.value ?? [];
  const bytes = new Uint8Array(Bkey.size + 8 * value.length);
  const view = viewOf(bytes);
  Bkey.put(view, 0, {
    u64s: bytes.length / 8,
    format: 1,
    type: keyTypes.idOf(made.type ?? 'set'),
    pad: 0,
    bversion_lo: BigInt(made.version ?? 0),
    bversion_hi: 0,
    size: made.size ?? 0,
    p: makeBpos(BigInt(made.inode), BigInt(made.offset ?? 0), 0),
  });
  value.forEach((word, i) => {
    view.setBigUint64(Bkey.size + 8 * i, BigInt.asUintN(64, word), true);
  });
  return bytes;
}

/** A sub-entry of keys, or of any payload. */
export function subEntry(
  type: JsetEntryTypeName,
  payload: Uint8Array | readonly MadeKey[],
  { btree = 1, level = 0 }: { readonly btree?: number; readonly level?: number } = {},
): JsetEntry {
  const bytes = payload instanceof Uint8Array ? payload : concat(payload.map(keyBytes));
  return {
    u64s: bytes.length / 8,
    btree_id: btree,
    level,
    type: jsetEntryTypes.idOf(type),
    pad: new Uint8Array(3),
    payload: bytes,
  };
}

/** A log message: of level 0 it begins a transaction. */
export function logEntry(message: string, level = 0): JsetEntry {
  const text = new TextEncoder().encode(message);
  const payload = new Uint8Array(Math.ceil(text.length / 8) * 8);
  payload.set(text);
  return subEntry('log', payload, { btree: 0, level });
}

/** A pointer to a node that reaches to the end of its btree. */
export function rootEntry(btree: number, level = 0, sector = 512): JsetEntry {
  const ptr = 1n | (BigInt(sector) << 4n);
  const bytes = keyBytes({ inode: 0, type: 'btree_ptr_v2', value: [0n, 1n, 8n, 0n, 0n, ptr] });
  bytes.fill(0xff, Bkey.offset.p, Bkey.offset.p + bpos.size);
  return subEntry('btree_root', bytes, { btree, level });
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
