// Accounting: every counter of the accounting btree against what the keys add up to, and the superblock's replicas entries against the
// sets of devices in use. Counters are kept by position: a few hundred, and one row of 32 bytes for each inode that has extents.
// Source: __trigger_extent and __trigger_reservation in buckets.c, bch2_trigger_inode in inode.c, disk_accounting.c, replicas.c, v1.13.0.

import type { KeyRun } from '../btree/key-runs.ts';
import { accountingTypes } from '../ondisk/accounting-types.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import { rulesFor } from '../ondisk/format-rules.ts';
import { type AccountingPos, accounting, accountingBpos, accountingPos } from '../ondisk/keys/accounting.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { i64NumberAt } from '../ondisk/little-endian.ts';
import { MEMBER_INVALID } from '../ondisk/member-states.ts';
import { type ReplicasEntry, replicasEntryText } from '../ondisk/replicas-entry.ts';
import { replicas } from '../ondisk/sb-fields/replicas.ts';
import { type DeviceBuckets, fragmentedOf, sectorsOf, TYPE } from './buckets.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import { InumCounters } from './inum-counters.ts';

type Counted = Exclude<AccountingPos, { type: 'unknown' }>;

interface Counter {
  readonly pos: Bpos;
  readonly values: number[];
  isSeen: boolean;
}

const ACCOUNTING = keyTypes.idOf('accounting');
const INUM = accountingTypes.idOf('inum');

const wordsOf = (inum: bigint): readonly [number, number] => [Number(inum & 0xffff_ffffn), Number(inum >> 32n)];

export class Counters {
  readonly #version: number;
  /** By position. */
  readonly #counters = new Map<string, Counter>();
  /** By what is counted: each extent adds to some of them, and making a position takes longer than that. */
  readonly #known = new Map<string, Counter>();
  readonly #replicas = new Map<string, ReplicasEntry>();
  readonly inums = new InumCounters();
  /** What was counted last is mostly what comes next. */
  #lastReplicas:
    | { readonly data_type: number; readonly nr_required: number; readonly dev: number; readonly counter: Counter }
    | undefined;
  #lastSnapshot: { readonly id: number; readonly counter: Counter } | undefined;

  constructor(version: number) {
    this.#version = version;
  }

  add(counted: Counted, values: readonly number[]): void {
    this.#add(counted, values);
  }

  #add(counted: Counted, values: readonly number[]): Counter {
    const name = nameOf(counted);
    let counter = this.#known.get(name);
    if (counter === undefined) {
      counter = this.#counterAt(counted, values.length);
      this.#known.set(name, counter);
    }
    for (let i = 0; i < values.length; i++) counter.values[i] = (counter.values[i] ?? 0) + values[i]!;
    return counter;
  }

  #counterAt(counted: Counted, count: number): Counter {
    const pos = accountingBpos(counted, { version: this.#version });
    const id = pos.join();
    let counter = this.#counters.get(id);
    if (counter === undefined) {
      counter = { pos, values: Array.from({ length: count }, () => 0), isSeen: false };
      this.#counters.set(id, counter);
      if (counted.type === 'replicas') this.#replicas.set(id, counted.entry);
    }
    return counter;
  }

  /** Devices are sorted here, as their order does not matter. */
  addReplicas(data_type: number, nr_required: number, devs: readonly number[], sectors: number): void {
    // Nearly all are on one device.
    const last = this.#lastReplicas;
    if (
      devs.length === 1 &&
      last?.dev === devs[0] &&
      last?.data_type === data_type &&
      last.nr_required === nr_required
    ) {
      last.counter.values[0] = last.counter.values[0]! + sectors;
      return;
    }
    // A position holds no more than 16 of them.
    const entry = { data_type, nr_required, devs: [...devs].sort((a, b) => a - b).slice(0, 16) };
    const counter = this.#add({ type: 'replicas', entry }, [sectors]);
    if (devs.length === 1) this.#lastReplicas = { data_type, nr_required, dev: devs[0]!, counter };
  }

  addSnapshot(id: number, sectors: number): void {
    const last = this.#lastSnapshot;
    if (last?.id === id) last.counter.values[0] = last.counter.values[0]! + sectors;
    else this.#lastSnapshot = { id, counter: this.#add({ type: 'snapshot', id, btree: 0 }, [sectors]) };
  }

  /** Buckets of each device by type. @param sign -1 to take them away again */
  addBuckets(dev: number, own: DeviceBuckets, sign: 1 | -1 = 1): void {
    const free = this.#types(dev, sign);
    free(TYPE.free, own.untouchedCount, 0, 0);
    const { bucketSizeSectors } = own.device;
    for (const { page, row } of own.rows()) {
      const type = page.dataType[row]!;
      free(type, 1, sectorsOf(page, row), fragmentedOf(page, row, bucketSizeSectors));
      if (type === TYPE.stripe && page.dirty[row] !== 0) free(TYPE.unstriped, 1, page.dirty[row]!, 0);
    }
  }

  #types(dev: number, sign: 1 | -1) {
    return (data_type: number, buckets: number, sectors: number, fragmented: number) =>
      this.add({ type: 'dev_data_type', dev, data_type }, [sign * buckets, sign * sectors, sign * fragmented]);
  }

  /** All counters that are not zero, in order; those of inodes too, where they are kept. */
  *positions(hasInums: boolean): Generator<{ readonly pos: Bpos; readonly values: readonly number[] }> {
    const rows: { readonly pos: Bpos; readonly values: readonly number[] }[] = [];
    for (const { pos, values } of this.#counters.values()) if (!isSame(values, [])) rows.push({ pos, values });
    if (hasInums) {
      for (const { inum, values } of this.inums.all()) {
        if (isSame(values, [])) continue;
        rows.push({ pos: accountingBpos({ type: 'inum', inum }, { version: this.#version }), values });
      }
    }
    yield* rows.sort((a, b) => compareBpos(a.pos, b.pos));
  }

  /** The sets of devices that hold something. */
  *replicasInUse(): Generator<ReplicasEntry> {
    for (const [id, entry] of this.#replicas) if (!isSame(this.#counters.get(id)?.values ?? [], [])) yield entry;
  }

  check(context: InvariantContext): void {
    const { report } = context;
    const ID = btrees.idOf('accounting');
    for (const { k, value } of this.#notSameInums(context)) {
      if (k.type !== ACCOUNTING) continue;
      const where = () => keyPlace(ID, k.p);
      const found = accounting.decode(value).counters.map(Number);
      const counted = accountingPos(k.p, { version: this.#version });
      if (counted.type === 'inum') {
        const expected = this.inums.take(...wordsOf(counted.inum));
        if (!isSame(found, expected))
          report.add('accounting_inum_mismatch', where(), { inum: counted.inum, found, expected });
        continue;
      }
      const counter = this.#counters.get(k.p.join());
      if (counter !== undefined) counter.isSeen = true;
      const expected = counter?.values;
      if (!isSame(found, []) && devicesOf(counted).some(dev => dev !== MEMBER_INVALID && !context.devices.has(dev))) {
        report.add('accounting_to_invalid_device', where(), { counter: counted });
        continue;
      }
      if (!isSame(found, expected ?? []))
        report.add('accounting_mismatch', where(), { counter: counted, found, expected });
    }
    for (const { pos, values, isSeen } of this.#counters.values()) {
      if (isSeen || isSame(values, [])) continue;
      const counter = accountingPos(pos, { version: this.#version });
      assert(counter.type !== 'inum', 'counters of inodes are kept apart');
      report.add('accounting_mismatch', keyPlace(ID, pos), { counter, found: undefined, expected: values });
    }
    for (const { inum, values } of this.inums.left()) {
      const pos = accountingBpos({ type: 'inum', inum }, { version: this.#version });
      report.add('accounting_inum_mismatch', keyPlace(ID, pos), { inum, found: undefined, expected: values });
    }
  }

  /** Keys of the accounting btree, without those that count for an inode what its extents add up to: there is one for each file. */
  *#notSameInums(context: InvariantContext): Generator<Key> {
    const isReversed = rulesFor({ version: this.#version }).accountingByteOrder === 'big';
    for (const run of context.runs('accounting')) {
      for (let i = run.first; i < run.end; i++) if (isReversed || !this.#isSameInum(run, i)) yield run.key(i);
    }
  }

  #isSameInum(run: KeyRun, index: number): boolean {
    const { rows, bytes } = run;
    const position = run.positionAt(index);
    const first = rows[position]!;
    if (run.type(index) !== ACCOUNTING || (first & 0xff) !== INUM || run.valueBytes(index) !== 24) return false;
    const low = (first >>> 8) | (rows[position + 1]! << 24);
    const high = (rows[position + 1]! >>> 8) | (rows[position + 2]! << 24);
    const at = run.valueAt(index);
    const diskSectors = i64NumberAt(bytes, at + 16);
    return this.inums.takeSame(low >>> 0, high >>> 0, i64NumberAt(bytes, at), i64NumberAt(bytes, at + 8), diskSectors);
  }

  /** Mounting looks there for which sets of devices are needed. */
  checkReplicas(context: InvariantContext): void {
    const listed = new Set(
      replicas(context.sb).map(entry => replicasEntryText({ ...entry, devs: [...entry.devs].sort((a, b) => a - b) })),
    );
    for (const [id, entry] of this.#replicas) {
      const counter = this.#counters.get(id);
      if (counter === undefined || isSame(counter.values, []) || listed.has(replicasEntryText(entry))) continue;
      const rule = counter.isSeen ? 'accounting_replicas_not_marked' : 'ptr_to_missing_replicas_entry';
      context.report.add(rule, { field: 'replicas' }, { entry });
    }
  }
}

function nameOf(counted: Counted): string {
  switch (counted.type) {
    case 'nr_inodes':
    case 'rebalance_work':
      return counted.type;
    case 'persistent_reserved':
      return `reserved ${counted.nr_replicas}`;
    case 'replicas': {
      const { data_type, nr_required, devs } = counted.entry;
      return `replicas ${data_type} ${nr_required} ${devs.length === 1 ? devs[0] : devs.join()}`;
    }
    case 'dev_data_type':
      return `type ${counted.dev} ${counted.data_type}`;
    case 'compression':
      return `compression ${counted.compression_type}`;
    case 'snapshot':
      return `snapshot ${counted.id} ${counted.btree}`;
    case 'btree':
      return `btree ${counted.id}`;
    case 'inum':
      return `inum ${counted.inum}`;
    case 'reconcile_work':
      return `reconcile ${counted.work}`;
    case 'dev_leaving':
      return `leaving ${counted.dev}`;
  }
}

function devicesOf(counted: AccountingPos): readonly number[] {
  if (counted.type === 'replicas') return counted.entry.devs;
  return counted.type === 'dev_data_type' ? [counted.dev] : [];
}

/** What is not there counts as zero. */
function isSame(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < Math.max(a.length, b.length); i++) if ((a[i] ?? 0) !== (b[i] ?? 0)) return false;
  return true;
}
