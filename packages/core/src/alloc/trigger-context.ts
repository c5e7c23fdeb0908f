// What the triggers of one transaction share: the members, the buckets and counters that it changes, and what its commit will need of the
// superblock.

import type { Transaction } from '../btree/transaction.ts';
import { getBits } from '../ondisk/bits.ts';
import type { CorruptError } from '../ondisk/errors.ts';
import { type FormatRules, rulesOf } from '../ondisk/format-rules.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type AllocDevice, allocDevices } from './alloc-devices.ts';
import { BucketTable, type ChangeTime, type TouchedBucket } from './bucket-table.ts';
import { CounterDeltas } from './counter-deltas.ts';
import { SuperblockNeeds } from './superblock-needs.ts';
import { checkWritable } from './write-gate.ts';

export interface TriggerOptions extends ChangeTime {
  /**
   * Called when what is there contradicts a change, such as a bucket that has less in it than is taken out; the change then goes on as far
   * as it can, as in the reference. Without it this is thrown.
   */
  readonly onDamage?: (damage: CorruptError) => void;
}

export class TriggerContext {
  readonly devices: readonly (AllocDevice | undefined)[];
  readonly rules: FormatRules;
  readonly nodeSectors: number;
  readonly buckets: BucketTable = new BucketTable();
  readonly counters: CounterDeltas;
  readonly needs: SuperblockNeeds;
  readonly time: ChangeTime;
  /** By number: pointers into these came or went. */
  readonly touchedStripes: Set<number> = new Set();
  readonly #onDamage: ((damage: CorruptError) => void) | undefined;

  /** @throws IncompatibleError for a filesystem of a version that is not written */
  constructor(sb: Transaction['sb'], { onDamage, ...time }: TriggerOptions) {
    checkWritable(sb);
    this.rules = rulesOf(sb);
    this.counters = new CounterDeltas(this.rules);
    this.devices = allocDevices(sb);
    this.nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
    this.needs = new SuperblockNeeds(sb);
    this.time = time;
    this.#onDamage = onDamage;
  }

  damaged(damage: CorruptError): void {
    if (this.#onDamage === undefined) throw damage;
    this.#onDamage(damage);
  }

  /** The bucket that a sector is in; undefined outside of the device's buckets. */
  bucketAt(tx: Transaction, device: AllocDevice, sector: number): TouchedBucket | undefined {
    const bucket = Math.floor(sector / device.bucketSizeSectors);
    if (!(bucket >= device.firstBucket && bucket < device.bucketEnd)) return undefined;
    return this.buckets.touch(tx, device, bucket);
  }
}
