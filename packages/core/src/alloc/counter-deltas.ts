// What a transaction adds to the counters of the accounting btree. Triggers add numbers up here, since every extent changes four or five
// counters and most extents the same ones; when the transaction settles, the sums become keys: what the btree says, and the sum.
//
// A counter that comes to zero is taken out: an absent one counts as zero, and the reference has both. Keys need a version above that
// of every difference that is still in the journal: that of the commit's own entry.
// Source: bch2_disk_accounting_mod in disk_accounting.c, journal_pos_to_bversion in disk_accounting.h, v1.13.0.

import { deletedKey, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import type { FormatRules } from '../ondisk/format-rules.ts';
import { type AccountingPos, accountingBpos } from '../ondisk/keys/accounting.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { ReplicasEntry } from '../ondisk/replicas-entry.ts';

type Counted = Exclude<AccountingPos, { type: 'unknown' }>;

interface Counter {
  readonly counted: Counted;
  readonly sums: number[];
}

const ACCOUNTING = btrees.idOf('accounting');
const ACCOUNTING_TYPE = keyTypes.idOf('accounting');

/** Counters of one kind that differ by a number of up to 48 bits. */
const numberedKinds = {
  nr_inodes: 0,
  rebalance_work: 1,
  persistent_reserved: 2,
  dev_data_type: 3,
  compression: 4,
  snapshot: 5,
  btree: 6,
} as const;
const KINDS = 8;

export class CounterDeltas {
  readonly #rules: FormatRules;
  readonly #numbered = new Map<number, Counter>();
  readonly #replicas = new Map<string, Counter>();
  /** By inode number: a plain number up to 2^53. */
  readonly #inums = new Map<number | bigint, Float64Array>();

  constructor(rules: FormatRules) {
    this.#rules = rules;
  }

  addInodes(count: number): void {
    this.#numberedSums('nr_inodes', 0, 1, () => ({ type: 'nr_inodes' }))[0]! += count;
  }

  addRebalanceWork(sectors: number): void {
    this.#numberedSums('rebalance_work', 0, 1, () => ({ type: 'rebalance_work' }))[0]! += sectors;
  }

  addReserved(nr_replicas: number, sectors: number): void {
    const counted = () => ({ type: 'persistent_reserved', nr_replicas }) as const;
    this.#numberedSums('persistent_reserved', nr_replicas, 1, counted)[0]! += sectors;
  }

  addDevice(dev: number, data_type: number, buckets: number, sectors: number, fragmented: number): void {
    const counted = () => ({ type: 'dev_data_type', dev, data_type }) as const;
    const sums = this.#numberedSums('dev_data_type', dev * 256 + data_type, 3, counted);
    sums[0]! += buckets;
    sums[1]! += sectors;
    sums[2]! += fragmented;
  }

  addCompression(compression_type: number, sign: number, uncompressed: number, compressed: number): void {
    const counted = () => ({ type: 'compression', compression_type }) as const;
    const sums = this.#numberedSums('compression', compression_type, 3, counted);
    sums[0]! += sign;
    sums[1]! += sign * uncompressed;
    sums[2]! += sign * compressed;
  }

  addSnapshot(id: number, sectors: number): void {
    this.#numberedSums('snapshot', id, 1, () => ({ type: 'snapshot', id, btree: 0 }))[0]! += sectors;
  }

  /**
   * Counts a node.
   * @param level its own: 0 for a leaf
   * @param sign 1 for one that comes, -1 for one that goes
   */
  addNode(id: number, level: number, sign: number, sectors: number): void {
    const { btreeCounters } = this.#rules;
    const sums = this.#numberedSums('btree', id, btreeCounters, () => ({ type: 'btree', id }));
    sums[0]! += sign * sectors;
    if (btreeCounters === 1) return;
    sums[1]! += sign;
    if (level > 0) sums[2]! += sign;
  }

  /** @param devs in any order */
  addReplicas(data_type: number, nr_required: number, devs: readonly number[], sectors: number): void {
    const sorted = devs.length > 1 ? devs.toSorted((a, b) => a - b) : devs;
    const name = `${data_type} ${nr_required} ${sorted.join()}`;
    let counter = this.#replicas.get(name);
    if (counter === undefined) {
      counter = { counted: { type: 'replicas', entry: { data_type, nr_required, devs: [...sorted] } }, sums: [0] };
      this.#replicas.set(name, counter);
    }
    counter.sums[0]! += sectors;
  }

  /** @param pos of the extent */
  addInum(pos: Bpos, keys: number, sectors: number, diskSectors: number): void {
    const [low, high] = [pos[3]!, pos[4]!];
    const inum = high < 0x20_0000 ? high * 2 ** 32 + low : (BigInt(high) << 32n) | BigInt(low);
    let sums = this.#inums.get(inum);
    if (sums === undefined) {
      sums = new Float64Array(3);
      this.#inums.set(inum, sums);
    }
    sums[0]! += keys;
    sums[1]! += sectors;
    sums[2]! += diskSectors;
  }

  /**
   * Stores what was added up, and begins again from zero. Counters that did not change are left alone.
   * @param onReplicas called with each set of devices that has got more
   */
  settle(tx: Transaction, journalSeq: number, onReplicas: (entry: ReplicasEntry) => void): void {
    const format = { version: this.#rules.version };
    for (const counters of [this.#numbered, this.#replicas]) {
      for (const { counted, sums } of counters.values()) {
        if (counted.type === 'replicas' && sums[0]! > 0) onReplicas(counted.entry);
        addToKey(tx, accountingBpos(counted, format), sums, journalSeq);
        sums.fill(0);
      }
    }
    for (const [inum, sums] of this.#inums) {
      addToKey(tx, accountingBpos({ type: 'inum', inum: BigInt(inum) }, format), sums, journalSeq);
    }
    this.#inums.clear();
  }

  #numberedSums(kind: keyof typeof numberedKinds, nr: number, length: number, counted: () => Counted): number[] {
    const id = nr * KINDS + numberedKinds[kind];
    let counter = this.#numbered.get(id);
    if (counter === undefined) {
      counter = { counted: counted(), sums: new Array<number>(length).fill(0) };
      this.#numbered.set(id, counter);
    }
    return counter.sums;
  }
}

function addToKey(tx: Transaction, pos: Bpos, sums: ArrayLike<number> & Iterable<number>, journalSeq: number): void {
  let isChanged = false;
  for (const sum of sums) if (sum !== 0) isChanged = true;
  if (!isChanged) return;
  assert(journalSeq > 0, 'a commit has a journal entry, whose number is above 0');
  const known = tx.get(ACCOUNTING, pos);
  const value = new Uint8Array(8 * Math.max(sums.length, known === undefined ? 0 : known.value.length >>> 3));
  if (known !== undefined) value.set(known.value.subarray(0, value.length));
  const view = viewOf(value);
  let isZero = true;
  for (let i = 0; 8 * i < value.length; i++) {
    const sum = BigInt.asIntN(64, view.getBigInt64(8 * i, true) + BigInt(sums[i] ?? 0));
    view.setBigInt64(8 * i, sum, true);
    if (sum !== 0n) isZero = false;
  }
  const version = {
    bversion_lo: BigInt.asUintN(64, BigInt(journalSeq) << 32n),
    bversion_hi: Math.floor(journalSeq / 2 ** 32),
  };
  tx.store(ACCOUNTING, isZero ? deletedKey(pos) : makeKey(ACCOUNTING_TYPE, pos, value, version));
}
