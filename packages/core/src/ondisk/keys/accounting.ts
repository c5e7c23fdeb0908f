// Key type accounting: counters of space and inodes. What is counted is in the key's position, which is 20 bytes of a tagged union in
// place of three numbers: up to 1.14 just those bytes, since 1.15 all of them in reverse, so that keys of one kind lie together.
// The value is one to three signed 64-bit counters; in the journal and until they are merged, keys hold differences.
// Sources: disk_accounting_format.h and disk_accounting.c (v1.13.0), alloc/accounting_format.h and accounting.c (v1.36.1, v1.39.2).

import { accountingTypes, reconcileAccountingTypes } from '../accounting-types.ts';
import { BPOS_WORDS, type Bpos, bpos } from '../bpos.ts';
import { btrees } from '../btrees.ts';
import { compressionTypeText } from '../compression-types.ts';
import { assert } from '../errors.ts';
import type { FaultName } from '../faults.ts';
import { rulesFor } from '../format-rules.ts';
import { viewOf } from '../layout.ts';
import { nameAt, type Release, releaseForVersion } from '../releases.ts';
import { dataTypeText, type ReplicasEntry, replicasEntryJson, replicasEntryText } from '../replicas-entry.ts';
import { VERSION_MAX_READ } from '../versions.ts';
import type { KeyFormat, KeyKind, KeyProblem, KeyTextContext } from './kind.ts';

/** What a key counts: struct disk_accounting_pos. */
export type AccountingPos =
  | { readonly type: 'nr_inodes' | 'rebalance_work' }
  | { readonly type: 'persistent_reserved'; readonly nr_replicas: number }
  | { readonly type: 'replicas'; readonly entry: ReplicasEntry }
  | { readonly type: 'dev_data_type'; readonly dev: number; readonly data_type: number }
  | { readonly type: 'compression'; readonly compression_type: number }
  /** `btree` since 1.39; 0 before, which is that of extents. */
  | { readonly type: 'snapshot'; readonly id: number; readonly btree: number }
  | { readonly type: 'btree'; readonly id: number }
  | { readonly type: 'inum'; readonly inum: bigint }
  | { readonly type: 'reconcile_work'; readonly work: number }
  | { readonly type: 'dev_leaving'; readonly dev: number }
  | { readonly type: 'unknown'; readonly number: number };

export interface Accounting {
  readonly counters: readonly bigint[];
}

/** BCH_ACCOUNTING_MAX_COUNTERS. */
const COUNTERS_MAX = 3;

const POS_BYTES = 4 * BPOS_WORDS;
/** Where the devices of a replicas entry start. */
const REPLICAS_DEVS_AT = 4;
const REPLICAS_DEVS_MAX = POS_BYTES - REPLICAS_DEVS_AT;
/** BCH_SB_MEMBER_INVALID: a device that is gone. */
const NO_DEVICE = 255;

const isBigEndian = (format: KeyFormat) => rulesFor(format).accountingByteOrder === 'big';
const versionIn = (format: KeyFormat) => format.version ?? VERSION_MAX_READ;

/** Byte `index` of struct disk_accounting_pos in a position. */
function unionByte(pos: Bpos, isReversed: boolean, index: number): number {
  const at = isReversed ? POS_BYTES - 1 - index : index;
  return (pos[at >> 2]! >>> (8 * (at & 3))) & 0xff;
}

/** A little-endian number that begins at byte `index`. */
function unionU32(pos: Bpos, isReversed: boolean, index: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = (value << 8) | unionByte(pos, isReversed, index + i);
  return value >>> 0;
}

/** What an accounting key at this position counts. Mirrors bpos_to_disk_accounting_pos. */
export function accountingPos(pos: Bpos, format: KeyFormat): AccountingPos {
  const isReversed = isBigEndian(format);
  const byte = (index: number) => unionByte(pos, isReversed, index);
  const u32 = (index: number) => unionU32(pos, isReversed, index);
  const number = byte(0);
  const type = accountingTypes.byId(number)?.name;
  switch (type) {
    case undefined:
      return { type: 'unknown', number };
    case 'nr_inodes':
    case 'rebalance_work':
      return { type };
    case 'persistent_reserved':
      return { type, nr_replicas: byte(1) };
    case 'replicas': {
      const devs: number[] = [];
      for (let i = 0; i < Math.min(byte(2), REPLICAS_DEVS_MAX); i++) devs.push(byte(REPLICAS_DEVS_AT + i));
      return { type, entry: { data_type: byte(1), nr_required: byte(3), devs } };
    }
    case 'dev_data_type':
      return { type, dev: byte(1), data_type: byte(2) };
    case 'compression':
      return { type, compression_type: byte(1) };
    case 'snapshot':
      return { type, id: u32(1), btree: u32(5) };
    case 'btree':
      return { type, id: u32(1) };
    case 'inum':
      return { type, inum: (BigInt(u32(5)) << 32n) | BigInt(u32(1)) };
    case 'reconcile_work':
      return { type, work: byte(1) };
    case 'dev_leaving':
      return { type, dev: u32(1) };
  }
}

/** The position of the key that counts this. Mirrors disk_accounting_pos_to_bpos. */
export function accountingBpos(counted: Exclude<AccountingPos, { type: 'unknown' }>, format: KeyFormat): Bpos {
  const raw = new Uint8Array(POS_BYTES);
  const view = viewOf(raw);
  raw[0] = accountingTypes.idOf(counted.type);
  switch (counted.type) {
    case 'nr_inodes':
    case 'rebalance_work':
      break;
    case 'persistent_reserved':
      raw[1] = counted.nr_replicas;
      break;
    case 'replicas': {
      const { data_type, nr_required, devs } = counted.entry;
      assert(devs.length <= REPLICAS_DEVS_MAX, `${devs.length} devices do not fit into a position`);
      raw.set([data_type, devs.length, nr_required, ...devs], 1);
      break;
    }
    case 'dev_data_type':
      raw[1] = counted.dev;
      raw[2] = counted.data_type;
      break;
    case 'compression':
      raw[1] = counted.compression_type;
      break;
    case 'snapshot':
      view.setUint32(1, counted.id, true);
      view.setUint32(5, counted.btree, true);
      break;
    case 'btree':
      view.setUint32(1, counted.id, true);
      break;
    case 'inum':
      view.setBigUint64(1, counted.inum, true);
      break;
    case 'reconcile_work':
      raw[1] = counted.work;
      break;
    case 'dev_leaving':
      view.setUint32(1, counted.dev, true);
  }
  if (isBigEndian(format)) raw.reverse();
  return bpos.get(view, 0);
}

export const accounting: KeyKind<Accounting> = {
  name: 'accounting',
  minBytes: 8,
  decode(value) {
    const view = viewOf(value);
    const counters: bigint[] = [];
    for (let at = 0; at + 8 <= value.length; at += 8) counters.push(view.getBigInt64(at, true));
    return { counters };
  },
  encode({ counters }) {
    const target = new Uint8Array(8 * counters.length);
    counters.forEach((counter, i) => {
      viewOf(target).setBigInt64(8 * i, counter, true);
    });
    return target;
  },
  validate({ counters }, k, context = {}) {
    const problems: KeyProblem[] = [];
    const found = (error: FaultName, detail: string) => problems.push({ error, detail });
    const isReversed = isBigEndian(context);
    const counted = accountingPos(k.p, context);
    if (counted.type === 'unknown') return problems; // a newer release's
    // Since 1.15 keys are only held to it when they are written.
    if ((context.writing || !isReversed) && k.bversion_lo === 0n && k.bversion_hi === 0)
      found('accounting_key_version_0', 'version 0, expected the place in the journal');
    const nrDevs = unionByte(k.p, isReversed, 2);
    if (counted.type === 'replicas') replicasProblems(counted.entry, nrDevs, found);
    for (let i = usedBytes(counted, nrDevs, context); i < POS_BYTES; i++) {
      if (unionByte(k.p, isReversed, i) === 0) continue;
      found('accounting_key_junk_at_end', `bytes after the ${counted.type} counter are not all 0`);
      break;
    }
    if (counters.length === 0 || counters.length > COUNTERS_MAX)
      found('accounting_key_nr_counters_wrong', `${counters.length} counters, expected 1 to ${COUNTERS_MAX}`);
    return problems;
  },
  text(out, { counters }, context, k) {
    const counted = accountingPos(k.p, context);
    if (counted.type === 'unknown') out.print(`unknown type ${counted.number}`);
    else out.print(`${counted.type} ${countedText(counted, context)}`);
    for (const counter of counters) out.print(` ${counter}`);
  },
  json: ({ counters }, k, format) => ({ ...countedJson(accountingPos(k.p, format)), counters }),
};

/** How many of the 20 bytes a counter's kind uses; the rest are 0. Kinds that the reference does not check use all. */
function usedBytes(counted: AccountingPos, nrDevs: number, format: KeyFormat): number {
  switch (counted.type) {
    case 'nr_inodes':
    case 'rebalance_work':
      return 1;
    case 'persistent_reserved':
    case 'compression':
    case 'reconcile_work':
      return 2;
    case 'dev_data_type':
      return 3;
    case 'replicas':
      return REPLICAS_DEVS_AT + nrDevs;
    case 'btree':
      return 5;
    case 'snapshot':
      return releaseForVersion(versionIn(format)) === '1.39' ? 9 : 5;
    default:
      return POS_BYTES;
  }
}

/** @param nrDevs what the entry says; it can be more than fit */
function replicasProblems(
  { nr_required, devs }: ReplicasEntry,
  nrDevs: number,
  found: (error: FaultName, detail: string) => void,
): void {
  if (nrDevs === 0) found('accounting_key_replicas_nr_devs_0', 'a replicas entry without devices');
  if (nrDevs > REPLICAS_DEVS_MAX) {
    found('accounting_key_junk_at_end', `a replicas entry of ${nrDevs} devices, at most ${REPLICAS_DEVS_MAX} expected`);
  }
  if (nr_required > nrDevs || (nr_required > 1 && nr_required === nrDevs)) {
    found(
      'accounting_key_replicas_nr_required_bad',
      `${nr_required} of ${nrDevs} devices required, expected 1 or less than all`,
    );
  }
  const isUnsorted = devs.some((dev, i) => i + 1 < devs.length && dev !== NO_DEVICE && dev >= devs[i + 1]!);
  if (isUnsorted) found('accounting_key_replicas_devs_unsorted', `devices ${devs.join(' ')}, expected ascending`);
}

function btreeText(id: number, release: Release): string {
  const row = btrees.byId(id);
  return row === undefined ? `(unknown btree ${id})` : nameAt(release, row);
}

/** What is counted, beside its kind; for kinds that say all, nothing. Mirrors bch2_accounting_key_to_text. */
function countedText(counted: AccountingPos, context: KeyTextContext): string {
  // Of the older ones v1.36.1 has no right text; what they count is called what it was called then.
  const style = !isBigEndian(context) ? '1.13' : (context.style ?? '1.36');
  switch (counted.type) {
    case 'persistent_reserved':
      return `replicas=${counted.nr_replicas}`;
    case 'replicas':
      return replicasEntryText(counted.entry);
    case 'dev_data_type':
      return `dev=${counted.dev} data_type=${dataTypeText(counted.data_type)}`;
    case 'compression':
      return compressionTypeText(counted.compression_type);
    case 'snapshot':
      return style === '1.39' ? `id=${counted.id} btree=${btreeText(counted.btree, style)}` : `id=${counted.id}`;
    case 'btree':
      return `btree=${btreeText(counted.id, style)}`;
    case 'reconcile_work':
      return reconcileAccountingTypes.byId(counted.work)?.name ?? `(unknown reconcile_accounting_type ${counted.work})`;
    case 'dev_leaving':
      return `${context.device(counted.dev)?.name ?? counted.dev} `;
    default: // nothing more is known of the others, and the reference leaves out the number of an inum counter's inode
      return '';
  }
}

function countedJson(counted: AccountingPos): Record<string, unknown> {
  switch (counted.type) {
    case 'unknown':
      return { accounting: accountingTypes.nameOf(counted.number) };
    case 'replicas':
      return { accounting: counted.type, replicas: replicasEntryJson(counted.entry) };
    case 'dev_data_type':
      return { accounting: counted.type, dev: counted.dev, data_type: dataTypeText(counted.data_type) };
    case 'compression':
      return { accounting: counted.type, compression_type: compressionTypeText(counted.compression_type) };
    case 'snapshot':
      return { accounting: counted.type, id: counted.id, btree: btrees.nameOf(counted.btree) };
    case 'btree':
      return { accounting: counted.type, btree: btrees.nameOf(counted.id) };
    case 'reconcile_work':
      return { accounting: counted.type, work: reconcileAccountingTypes.nameOf(counted.work) };
    default: {
      const { type, ...rest } = counted;
      return { accounting: type, ...rest };
    }
  }
}
