// What waits to be moved to another target or compressed in another way: extents that say so with a rebalance entry and do not meet it
// yet. The rebalance_work btree has a key at the position of each, in the same order, so that one walk beside the other will do.
// Source: __bch2_bkey_sectors_need_rebalance in extents.c, disk_groups.c and rebalance.c, v1.13.0.

import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { compressionTypeOf, compressionTypes } from '../ondisk/compression-types.ts';
import type { ExtentEntry } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { diskGroups, memberGroup, parentGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { decodeTarget } from '../ondisk/targets.ts';
import { type CheckedDevice, type InvariantContext, keyPlace } from './context.ts';
import type { Pointer } from './pointers.ts';

const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');
/** BCH_MEMBER_STATE_rw. */
const STATE_RW = 0;
/** Bit of the data type user. */
const ALLOWS_USER = 1 << 4;

export class RebalanceNeeds {
  readonly #devices: ReadonlyMap<number, CheckedDevice>;
  readonly #groupDevs: ReadonlyMap<number, ReadonlySet<number>>;

  constructor(context: InvariantContext) {
    this.#devices = context.devices;
    this.#groupDevs = devicesByGroup(context);
  }

  /** Sectors of a key that wait. */
  sectorsOf(entries: readonly ExtentEntry[], pointers: readonly Pointer[]): number {
    const wish = entries.find(entry => entry.type === 'rebalance_v1');
    if (wish === undefined || wish.type !== 'rebalance_v1') return 0;
    const { background_compression, background_target } = wish;
    return (
      (background_compression === 0 ? 0 : toCompress(pointers, compressionTypeOf(background_compression))) +
      (background_target === 0 || !this.#acceptsUserData(background_target)
        ? 0
        : this.#toMove(pointers, background_target))
    );
  }

  #toMove(pointers: readonly Pointer[], target: number): number {
    let sectors = 0;
    for (const { ptr, crc } of pointers) {
      if (!ptr.cached && !this.#isInTarget(ptr.dev, target)) sectors += crc.compressed_size;
    }
    return sectors;
  }

  #isInTarget(dev: number, value: number): boolean {
    const target = decodeTarget(value);
    if (target.type === 'none') return false;
    return target.type === 'dev' ? target.dev === dev : this.#groupDevs.get(target.group)?.has(dev) === true;
  }

  #acceptsUserData(target: number): boolean {
    for (const { index, member } of this.#devices.values()) {
      const isWritable = getBits([member.flags], memberBits.STATE) === STATE_RW;
      const allowed = getBits([member.flags], memberBits.DATA_ALLOWED) & ALLOWS_USER;
      if (isWritable && allowed !== 0 && this.#isInTarget(index, target)) return true;
    }
    return false;
  }
}

function toCompress(pointers: readonly Pointer[], type: number): number {
  let sectors = 0;
  for (const { ptr, crc } of pointers) {
    // One that cannot be compressed, or is not written yet, leaves the whole extent alone.
    if (crc.compression_type === INCOMPRESSIBLE || ptr.unwritten) return 0;
    if (!ptr.cached && crc.compression_type !== type) sectors += crc.compressed_size;
  }
  return sectors;
}

/** The members below each label. */
function devicesByGroup(context: InvariantContext): ReadonlyMap<number, ReadonlySet<number>> {
  const groups = diskGroups(context.sb);
  const devs = new Map<number, Set<number>>();
  for (const { index, member } of context.devices.values()) {
    let group = memberGroup(member) ?? -1;
    for (let depth = 0; group >= 0 && depth <= groups.length; depth++) {
      const known = devs.get(group);
      if (known === undefined) devs.set(group, new Set([index]));
      else known.add(index);
      const row = groups[group];
      group = row === undefined ? -1 : parentGroup(row);
    }
  }
  return devs;
}

const SET = keyTypes.idOf('set');
const REBALANCE_WORK = btrees.idOf('reconcile_work');

/** The rebalance_work btree beside walks of reflink and extents, in this order. */
export class RebalanceWork {
  readonly #context: InvariantContext;
  readonly #keys: Iterator<Key>;
  #next: Key | undefined;

  constructor(context: InvariantContext) {
    this.#context = context;
    this.#keys = context.report.asks('rebalance_work_bad') ? context.keys(REBALANCE_WORK) : [][Symbol.iterator]();
    this.#advance();
  }

  /** A key of reflink or extents. */
  visit(btree: number, pos: Bpos, sectors: number): void {
    this.#passTo(pos);
    const isListed = this.#next !== undefined && compareBpos(this.#next.k.p, pos) === 0;
    if (isListed && sectors > 0) this.#advance();
    else if (!isListed && sectors > 0) {
      this.#context.report.add('rebalance_work_missing', keyPlace(btree, pos), { sectors });
    }
  }

  finish(): void {
    while (this.#next !== undefined) this.#reportNext();
  }

  #passTo(pos: Bpos): void {
    while (this.#next !== undefined && compareBpos(this.#next.k.p, pos) < 0) this.#reportNext();
  }

  #reportNext(): void {
    if (this.#next !== undefined) {
      const where = keyPlace(REBALANCE_WORK, this.#next.k.p);
      this.#context.report.add('rebalance_work_bad', where, {});
    }
    this.#advance();
  }

  /** Cookies ask for a scan of a file; they are not about an extent. */
  #advance(): void {
    do {
      const { done, value } = this.#keys.next();
      this.#next = done ? undefined : value;
    } while (this.#next !== undefined && this.#next.k.type !== SET);
  }
}
