// What `fs usage` prints: the lines of the reference's, v1.36.1 (cmd_fs.c), with devices called by their files' names.
// For filesystems without accounting the table of data types is the one that the reference prints of old kernels.

import {
  btrees,
  compressionTypeText,
  dataTypes,
  dataTypeText,
  type HumanStyle,
  humanText,
  memberStates,
  nameAt,
  PrintBuffer,
  printable,
  type ReplicasEntry,
  reconcileAccountingTypes,
  releaseForVersion,
} from '@bcachefs-ts/core';
import { type Counted, type Counter, type DeviceUsage, type FsUsage, isKind } from './usage.ts';

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
/** The widths of columns that names of image files, unlike those of disks, do not always fit. */
const [HEADING_COLUMNS, NAME_COLUMNS, DEVICES_COLUMNS] = [16, 12, 11];

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
  readonly #out = new PrintBuffer();
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
    return this.#out.toString();
  }

  summary(): void {
    const { uuid, capacitySectors, usedSectors } = this.#usage;
    this.#out.print(`Filesystem: ${uuid}\n`);
    this.#tabStops(20, 16);
    this.#out.print(`Size:\t${this.#size(capacitySectors)}\r\n`);
    this.#out.print(`Used:\t${this.#size(usedSectors)}\r\n`);
    this.#out.print(`Online reserved:\t${this.#size(0n)}\r\n`);
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

    this.#out.print('\nData by durability desired and amount degraded:\n');
    this.#tabStops(8);
    this.#out.tab();
    const columns = rows.reduce((most, row) => Math.max(most, row.length), 0);
    for (let degraded = 0; degraded < columns; degraded++) {
      this.#out.pushTabStop(12).print(degraded === 0 ? 'undegraded\r' : `-${degraded}x\r`);
    }
    this.#out.newline();
    for (const [durability, row] of rows.entries()) {
      if (row.length === 0) continue;
      this.#out.print(`${durability}x:\t`);
      for (const sectors of row) this.#out.print(`${sectors === 0n ? '' : this.#size(sectors)}\r`);
      this.#out.newline();
    }
    if (cached !== 0n) this.#out.print(`cached:\t${this.#size(cached)}\r\n`);
    if (reserved !== 0n) this.#out.print(`reserved:\t${this.#size(reserved)}\r\n`);
  }

  /** The counters of the kinds that are asked for. */
  counters(fields: ReadonlySet<UsageField>): void {
    if (fields.has('replicas')) {
      this.#tabStops(16, 16, 14, 14, 14);
      this.#out.print('\nData type\tRequired/total\tDurability\tDevices\n');
    }
    let last: Counted['type'] | undefined;
    for (const counter of this.#usage.counters) {
      const field = FIELD_OF[counter.counted.type];
      if (field === undefined || !fields.has(field)) continue;
      this.#counter(counter, counter.counted.type !== last);
      last = counter.counted.type;
    }
  }

  /** The table of filesystems without accounting: user data behind metadata, erasure-coded data behind that. */
  oldReplicas(): void {
    this.#out.newline();
    this.#tabStops(16, 16, 14, 14, 14);
    this.#out.print('Data type\tRequired/total\tDurability\tDevices\n');
    const { counters } = this.#usage;
    for (const counter of counters) if (counter.counted.type === 'persistent_reserved') this.#counter(counter, false);
    const replicas = counters.filter(isKind('replicas'));
    const rank = ({ data_type, nr_required }: ReplicasEntry) =>
      data_type < USER ? 0 : data_type > USER ? 3 : nr_required > 1 ? 2 : 1;
    for (const counter of replicas.toSorted((a, b) => rank(a.counted.entry) - rank(b.counted.entry))) {
      this.#counter(counter, false);
    }
  }

  /** @param isFirst whether it is the first of its kind, which needs a heading */
  #counter({ counted, values }: Counter, isFirst: boolean): void {
    const out = this.#out;
    const [first = 0n, second = 0n, third = 0n] = values;
    switch (counted.type) {
      case 'persistent_reserved':
        if (first !== 0n) out.print(`reserved:\t1/${counted.nr_replicas}\t[] ${this.#size(first)}\r\n`);
        return;
      case 'replicas': {
        if (first === 0n) return;
        const { entry } = counted;
        const devices = entry.devs.map(index => this.#deviceName(index)).join(' ');
        const { durability } = this.#durabilityOf(entry);
        out.print(`${dataTypeText(entry.data_type)}:\t${entry.nr_required}/${entry.devs.length}\t${durability}\t[`);
        // Where names leave no room, a space at least; with room for all this changes nothing.
        out.printAsIs(devices).print(`]\t${devices.length > DEVICES_COLUMNS ? ' ' : ''}${this.#size(first)}\r\n`);
        return;
      }
      case 'compression': {
        if (isFirst) {
          out.print('\nCompression:\n');
          this.#tabStops(12, 16, 16, 24);
          out.print('type\tcompressed\runcompressed\raverage extent size\r\n');
        }
        out.print(compressionTypeText(counted.compression_type)).tab();
        const average = first > 0n ? (second * 512n) / first : 0n;
        out.print(`${this.#size(third)}\r${this.#size(second)}\r${this.#bytes(average)}\r\n`);
        return;
      }
      case 'btree': {
        if (isFirst) {
          out.print('\nBtree usage:\n');
          this.#tabStops(12, 16);
        }
        const row = btrees.byId(counted.id);
        const name = row === undefined ? '(unknown)' : nameAt(this.#release(), row);
        out.print(`${name}:\t${this.#size(first)}\r\n`);
        return;
      }
      case 'rebalance_work':
        if (isFirst) out.print('\nPending rebalance work:\n');
        out.print(`${this.#size(first)}\n`);
        return;
      case 'reconcile_work':
        if (isFirst) {
          this.#tabStops(32, 12, 12);
          out.print('\nPending reconcile:\tdata\rmetadata\r\n');
        }
        out.print(`${reconcileAccountingTypes.nameOf(counted.work)}:`).tab();
        out.print(`${this.#size(first)}\r${this.#size(second)}\r\n`);
    }
  }

  devices(full: boolean): void {
    const devices = this.#usage.devices.toSorted(byLabel);
    this.#out.newline();
    if (full) {
      this.#tabStops(16, 20, 16, 14);
      for (const device of devices) this.#device(device);
      return;
    }
    const isLeaving = devices.some(device => device.leavingSectors !== 0n);
    this.#tabStops(32, 12, 8, 10, 10, 6, 10);
    this.#out.print(`Device label\tDevice\tState\tSize\rUsed\rUse%\r${isLeaving ? 'Leaving\r' : ''}\n`);
    for (const device of devices) {
      const { used, capacity } = sumsOf(device);
      const name = this.#deviceName(device.index);
      this.#out
        .printAsIs(headingOf(device))
        .print('\t')
        .printAsIs(name.length < NAME_COLUMNS ? name : `${name} `);
      this.#out.print(`\t${stateText(device)}\t${this.#size(capacity)}\r${this.#size(used)}\r${percent(device)}%\r`);
      if (device.leavingSectors !== 0n) this.#out.print(`${this.#size(device.leavingSectors)}\r`);
      this.#out.newline();
    }
  }

  #device(device: DeviceUsage): void {
    const out = this.#out;
    out.printAsIs(headingOf(device)).print('\t').printAsIs(this.#deviceName(device.index));
    out.print(`\r${stateText(device)}\r    ${percent(device)}%\n`);
    out.indented(() => {
      out.print('\tdata\rbuckets\rfragmented\r\n');
      for (const { dataType, buckets, sectors, fragmentedSectors } of device.types) {
        const isEmpty = dataTypes.byId(dataType)?.isEmpty ?? false;
        const shown = isEmpty ? buckets * BigInt(device.bucketSizeSectors) : sectors;
        const fragmented = fragmentedSectors === 0n ? '' : this.#size(fragmentedSectors);
        out.print(`${dataTypeText(dataType)}:\t${this.#size(shown)}\r${buckets}\r${fragmented}\r\n`);
      }
      out.print(`capacity:\t${this.#size(sumsOf(device).capacity)}\r${device.buckets}\r\n`);
      out.print(`bucket size:\t${this.#size(BigInt(device.bucketSizeSectors))}\r\n`);
    });
    out.newline();
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

  #tabStops(...columns: readonly number[]): void {
    while (this.#out.tabStopCount > 0) this.#out.popTabStop();
    for (const column of columns) this.#out.pushTabStop(column);
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
  const heading = `${device.label ?? '(no label)'} (device ${device.index}):`;
  return heading.length < HEADING_COLUMNS ? heading : `${heading} `;
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
