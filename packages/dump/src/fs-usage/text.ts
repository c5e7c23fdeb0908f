// What `fs usage` prints: the lines of the reference's, v1.36.1 (cmd_fs.c), with devices called by their files' names.
// For filesystems without accounting the table of data types is the one that the reference prints of old kernels.

import {
  btrees,
  type Counted,
  compressionTypeText,
  type DeviceUsage,
  dataTypes,
  dataTypeText,
  type FsUsage,
  type HumanStyle,
  humanText,
  isCountedKind,
  memberStates,
  nameAt,
  printable,
  type ReplicasEntry,
  reconcileAccountingTypes,
  releaseForVersion,
  type UsageCounter,
} from '@bcachefs-ts/core/engine';
import { type Cell, end, full, GrownTable, left, right } from './grown-table.ts';

/** What is asked for with --fields. */
export const usageFields = ['replicas', 'btree', 'compression', 'rebalance_work', 'devices'] as const;
export type UsageField = (typeof usageFields)[number];

export interface UsageTextOptions {
  readonly fields: ReadonlySet<UsageField>;
  /** `1.50M` rather than bytes. */
  readonly human: boolean;
}

/** MEMBER_STATE_evacuating: what is there counts as gone. */
const EVACUATING = memberStates.idOf('evacuating');
const CACHED = dataTypes.idOf('cached');
const USER = dataTypes.idOf('user');
const UNSTRIPED = dataTypes.idOf('unstriped');
/** BCH_SB_MEMBER_INVALID: a device that is gone. */
const NO_DEVICE = 255;
const REPLICAS_COLUMNS = [16, 16, 14, 14, 14];
const REPLICAS_HEADING = [left('Data type'), left('Required/total'), left('Durability'), end('Devices')];

export function usageText(usage: FsUsage, { fields, human }: UsageTextOptions): string {
  const text = new UsageText(usage, human);
  text.summary();
  if (usage.from === 'usage entries') text.oldReplicas();
  else {
    text.durability();
    text.counters(fields);
  }
  text.devices(fields.has('devices'));
  return text.toString();
}

class UsageText {
  #finished = '';
  #table = new GrownTable([]);
  readonly #usage: FsUsage;
  readonly #human: boolean;
  readonly #style: HumanStyle;
  readonly #devices: ReadonlyMap<number, DeviceUsage>;

  constructor(usage: FsUsage, human: boolean) {
    this.#usage = usage;
    this.#human = human;
    this.#style = releaseForVersion(usage.version);
    this.#devices = new Map(usage.devices.map(device => [device.index, device]));
  }

  toString(): string {
    this.#begin('', []);
    return this.#finished;
  }

  summary(): void {
    const { uuid, capacitySectors, usedSectors } = this.#usage;
    this.#begin(`Filesystem: ${uuid}\n`, [20, 16]);
    this.#row(left('Size:'), right(this.#size(capacitySectors)));
    this.#row(left('Used:'), right(this.#size(usedSectors)));
    this.#row(left('Online reserved:'), right(this.#size(0n)));
  }

  /** How much there is of each durability, and how much of that has lost some of it. */
  durability(): void {
    const rows: bigint[][] = [];
    let cached = 0n;
    let reserved = 0n;
    for (const { counted, values } of this.#usage.counters) {
      const sectors = values[0] ?? 0n;
      if (counted.type === 'persistent_reserved') reserved += sectors;
      if (counted.type !== 'replicas') continue;
      if (counted.entry.data_type === CACHED) {
        cached += sectors;
        continue;
      }
      const { durability, degraded } = this.#durabilityOf(counted.entry);
      while (rows.length <= durability) rows.push([]);
      const row = rows[durability]!;
      while (row.length <= degraded) row.push(0n);
      row[degraded]! += sectors;
    }

    const columns = rows.reduce((most, row) => Math.max(most, row.length), 0);
    const degrees = Array.from({ length: columns }, (_, degraded) => degraded);
    this.#begin('\nData by durability desired and amount degraded:\n', [8, ...degrees.map(() => 12)]);
    this.#row(full(''), ...degrees.map(degraded => right(degraded === 0 ? 'undegraded' : `-${degraded}x`)));
    for (const [durability, row] of rows.entries()) {
      if (row.length === 0) continue;
      this.#row(left(`${durability}x:`), ...row.map(sectors => right(sectors === 0n ? '' : this.#size(sectors))));
    }
    if (cached !== 0n) this.#row(left('cached:'), right(this.#size(cached)));
    if (reserved !== 0n) this.#row(left('reserved:'), right(this.#size(reserved)));
  }

  /** The counters of the kinds that are asked for. */
  counters(fields: ReadonlySet<UsageField>): void {
    if (fields.has('replicas')) {
      this.#begin('\n', REPLICAS_COLUMNS);
      this.#row(...REPLICAS_HEADING);
    }
    let last: Counted['type'] | undefined;
    for (const counter of this.#usage.counters) {
      const field = FIELD_OF[counter.counted.type];
      if (field === undefined || !fields.has(field)) continue;
      this.#counter(counter, counter.counted.type !== last);
      last = counter.counted.type;
    }
  }

  /** The table of filesystems without accounting: user data after metadata, erasure-coded data after that. */
  oldReplicas(): void {
    this.#begin('\n', REPLICAS_COLUMNS);
    this.#row(...REPLICAS_HEADING);
    const { counters } = this.#usage;
    for (const counter of counters) if (counter.counted.type === 'persistent_reserved') this.#counter(counter, false);
    const replicas = counters.filter(isCountedKind('replicas'));
    const rank = ({ data_type, nr_required }: ReplicasEntry) =>
      data_type < USER ? 0 : data_type > USER ? 3 : nr_required > 1 ? 2 : 1;
    for (const counter of replicas.toSorted((a, b) => rank(a.counted.entry) - rank(b.counted.entry))) {
      this.#counter(counter, false);
    }
  }

  /** @param isFirst whether it is the first of its kind, which needs a heading */
  #counter({ counted, values }: UsageCounter, isFirst: boolean): void {
    const [first = 0n, second = 0n, third = 0n] = values;
    switch (counted.type) {
      case 'persistent_reserved':
        if (first === 0n) return;
        this.#row(left('reserved:'), left(`1/${counted.nr_replicas}`), right(`[] ${this.#size(first)}`));
        return;
      case 'replicas': {
        if (first === 0n) return;
        const { entry } = counted;
        const devices = entry.devs.map(index => this.#deviceName(index)).join(' ');
        const { durability } = this.#durabilityOf(entry);
        this.#row(
          left(`${dataTypeText(entry.data_type)}:`),
          left(`${entry.nr_required}/${entry.devs.length}`),
          left(`${durability}`),
          left(`[${devices}]`),
          right(this.#size(first)),
        );
        return;
      }
      case 'compression': {
        if (isFirst) {
          this.#begin('\nCompression:\n', [12, 16, 16, 24]);
          this.#row(left('type'), right('compressed'), right('uncompressed'), right('average extent size'));
        }
        const average = first > 0n ? (second * 512n) / first : 0n;
        const sizes = [this.#size(third), this.#size(second), this.#bytes(average)];
        this.#row(full(compressionTypeText(counted.compression_type)), ...sizes.map(right));
        return;
      }
      case 'btree': {
        if (isFirst) this.#begin('\nBtree usage:\n', [12, 16]);
        const row = btrees.byId(counted.id);
        const name = row === undefined ? '(unknown)' : nameAt(this.#release(), row);
        this.#row(left(`${name}:`), right(this.#size(first)));
        return;
      }
      case 'rebalance_work':
        if (isFirst) this.#begin('\nPending rebalance work:\n', []);
        this.#row(end(this.#size(first)));
        return;
      case 'reconcile_work': {
        if (isFirst) {
          this.#begin('\n', [32, 12, 12]);
          this.#row(left('Pending reconcile:'), right('data'), right('metadata'));
        }
        const name = `${reconcileAccountingTypes.nameOf(counted.work)}:`;
        this.#row(full(name), right(this.#size(first)), right(this.#size(second)));
      }
    }
  }

  devices(full: boolean): void {
    const devices = this.#usage.devices.toSorted(byLabel);
    if (full) {
      // One table, so that the columns of all devices are alike.
      this.#begin('\n', [16, 20, 16, 14]);
      for (const device of devices) this.#device(device);
      return;
    }
    const isLeaving = devices.some(device => device.leavingSectors !== 0n);
    this.#begin('\n', [32, 12, 8, 10, 10, 6, 10]);
    const numbers = ['Size', 'Used', 'Use%', ...(isLeaving ? ['Leaving'] : [])];
    this.#row(left('Device label'), left('Device'), left('State'), ...numbers.map(right));
    for (const device of devices) {
      const { used, capacity } = sumsOf(device);
      this.#row(
        left(headingOf(device)),
        left(this.#deviceName(device.index)),
        left(stateText(device)),
        right(this.#size(capacity)),
        right(this.#size(used)),
        right(`${percent(device)}%`),
        ...(device.leavingSectors === 0n ? [] : [right(this.#size(device.leavingSectors))]),
      );
    }
  }

  #device(device: DeviceUsage): void {
    const inner = (...cells: readonly Cell[]) => this.#table.row(cells, 2);
    this.#row(
      left(headingOf(device)),
      right(this.#deviceName(device.index)),
      right(stateText(device)),
      end(`    ${percent(device)}%`),
    );
    inner(left(''), right('data'), right('buckets'), right('fragmented'));
    for (const { dataType, buckets, sectors, fragmentedSectors } of device.types) {
      const isEmpty = dataTypes.byId(dataType)?.isEmpty ?? false;
      const shown = isEmpty ? buckets * BigInt(device.bucketSizeSectors) : sectors;
      const fragmented = fragmentedSectors === 0n ? '' : this.#size(fragmentedSectors);
      inner(left(`${dataTypeText(dataType)}:`), right(this.#size(shown)), right(`${buckets}`), right(fragmented));
    }
    inner(left('capacity:'), right(this.#size(sumsOf(device).capacity)), right(`${device.buckets}`));
    inner(left('bucket size:'), right(this.#size(BigInt(device.bucketSizeSectors))));
    this.#row();
  }

  /**
   * How many lost devices data survives, one more than that if it is on no other; and how much of that is lost already. Unlike the
   * reference's, missing members count as lost: see docs/deviations.md.
   */
  #durabilityOf({ nr_required, devs }: ReplicasEntry): { readonly durability: number; readonly degraded: number } {
    let whole = 0;
    let lost = 0;
    for (const index of devs) {
      const device = this.#devices.get(index);
      const durability = device?.durability ?? 1;
      whole += durability;
      if (device?.path === undefined || device.state === EVACUATING) lost += durability;
    }
    if (nr_required > 1) whole = Math.max(0, devs.length - nr_required + 1);
    return { durability: whole, degraded: Math.min(whole, lost) };
  }

  #deviceName(index: number): string {
    const device = this.#devices.get(index);
    if (device === undefined) return index === NO_DEVICE ? 'none' : `${index}`;
    if (device.path === undefined) return `(offline dev ${index})`;
    return printable(device.path.slice(device.path.lastIndexOf('/') + 1));
  }

  #release() {
    return releaseForVersion(this.#usage.version);
  }

  #size(sectors: bigint): string {
    return this.#bytes(sectors * 512n);
  }

  /** Counters below 0 are damage; the reference would print them as near 2^64. */
  #bytes(bytes: bigint): string {
    if (!this.#human) return `${bytes}`;
    return bytes < 0n ? `-${humanText(-bytes, this.#style)}` : humanText(bytes, this.#style);
  }

  /** Ends the table that was being filled; the next one comes after `heading`. */
  #begin(heading: string, widths: readonly number[]): void {
    this.#finished += `${this.#table}${heading}`;
    this.#table = new GrownTable(widths);
  }

  #row(...cells: readonly Cell[]): void {
    this.#table.row(cells);
  }
}

/** Which of --fields a kind of counter belongs to; those without are in JSON only. */
const FIELD_OF: { readonly [kind in Counted['type']]?: UsageField } = {
  persistent_reserved: 'replicas',
  replicas: 'replicas',
  compression: 'compression',
  btree: 'btree',
  rebalance_work: 'rebalance_work',
  reconcile_work: 'rebalance_work',
};

/** By label, name and index, as far as both have them. Mirrors dev_by_label_cmp. */
function byLabel(a: DeviceUsage, b: DeviceUsage): number {
  return compareIfBoth(a.label, b.label) || compareIfBoth(a.path, b.path) || a.index - b.index;
}

function compareIfBoth(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined || a === b) return 0;
  return a < b ? -1 : 1;
}

function headingOf(device: DeviceUsage): string {
  return printable(`${device.label ?? '(no label)'} (device ${device.index}):`);
}

function stateText({ state }: DeviceUsage): string {
  const row = memberStates.byId(state);
  return row === undefined ? `unknown(${state})` : row.name;
}

function sumsOf({ types, buckets, bucketSizeSectors }: DeviceUsage) {
  const used = types.reduce((sum, { dataType, sectors }) => (dataType === UNSTRIPED ? sum : sum + sectors), 0n);
  return { used, capacity: buckets * BigInt(bucketSizeSectors) };
}

/** Two digits or more. */
function percent(device: DeviceUsage): string {
  const { used, capacity } = sumsOf(device);
  return `${capacity === 0n ? 0n : (used * 100n) / capacity}`.padStart(2, '0');
}
