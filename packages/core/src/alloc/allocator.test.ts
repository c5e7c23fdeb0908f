// The superblock's needs and the gate are values: what they make of a superblock. Allocation itself is tried on real images in
// test/engine.

import { describe, expect, test } from 'vitest';
import { makeKey } from '../btree/transaction.ts';
import { withBits } from '../ondisk/bits.ts';
import { IncompatibleError } from '../ondisk/errors.ts';
import { compatFeatures } from '../ondisk/features.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { VERSION_CURRENT_WRITTEN, VERSION_MAX_WRITTEN, versionOf } from '../ondisk/versions.ts';
import { freespacePos, freespaceRun } from './bucket-indexes.ts';
import {
  bucketStateOf,
  dataTypeOf,
  fragmentationLruTime,
  freespaceGenBits,
  TYPE,
  untouchedBucket,
} from './bucket-state.ts';
import { NoBucketsError } from './no-space.ts';
import { checkWritable } from './write-gate.ts';

const NODES_REWRITTEN = 1n << BigInt(compatFeatures.idOf('extents_above_btree_updates_done'));
const of = (version: number, version_min = version, { complete = 0, compat = NODES_REWRITTEN } = {}) => ({
  version,
  version_min,
  flags: withBits([0n, 0n, 0n, 0n, 0n, 0n, 0n], sbBits.VERSION_UPGRADE_COMPLETE, complete),
  compat: [compat, 0n],
});

describe('checkWritable', () => {
  test('from 1.13 to 1.30', () => {
    for (let version = VERSION_CURRENT_WRITTEN; version <= VERSION_MAX_WRITTEN; version++)
      expect(() => checkWritable(of(version))).not.toThrow();
    for (const version of [VERSION_MAX_WRITTEN + 1, VERSION_CURRENT_WRITTEN - 1, 0x2000]) {
      expect(() => checkWritable(of(version))).toThrow(IncompatibleError);
    }
    expect(() => checkWritable(of(versionOf('btree_node_accounting')))).toThrow(/1\.31/);
  });

  test('an older one is to be mounted once, a newer one stays as it is', () => {
    expect(() => checkWritable(of(versionOf('rebalance_work')))).toThrow(
      /1\.3\).*mount it for writing once with Linux 6\.12/,
    );
    expect(() => checkWritable(of(versionOf('reconcile')))).toThrow(/1\.33\).*only 1\.13 to 1\.30 can be/);
  });

  test('however old it was before its upgrade', () => {
    const complete = VERSION_CURRENT_WRITTEN;
    for (const made of ['btree_ptr_sectors_written', 'freespace', 'major_minor', 'rebalance_work'] as const) {
      expect(() => checkWritable(of(VERSION_CURRENT_WRITTEN, versionOf(made), { complete }))).not.toThrow();
    }
  });

  test('unless the upgrade was not completed, or has left nodes of the first kind', () => {
    const made = versionOf('rebalance_work');
    const from = (complete: number) => of(VERSION_CURRENT_WRITTEN, made, { complete });
    expect(() => checkWritable(from(made))).toThrow(
      /upgrade from .*1\.3\) to .*1\.13\) was not completed: .*bcachefs upgrade/,
    );
    const oldest = of(VERSION_CURRENT_WRITTEN, versionOf('inode_backpointers'), { complete: VERSION_CURRENT_WRITTEN });
    expect(() => checkWritable(oldest)).toThrow(/nodes of before .*0\.14\).*mount it/);
    const unmarked = of(VERSION_CURRENT_WRITTEN, made, { complete: VERSION_CURRENT_WRITTEN, compat: 0n });
    expect(() => checkWritable(unmarked)).toThrow(/nodes of before/);
    expect(() => checkWritable(of(VERSION_CURRENT_WRITTEN, undefined, { compat: 0n }))).not.toThrow();
  });
});

describe('NoBucketsError', () => {
  test('says what was needed and what each device had', () => {
    const device = { dev: 1, freeBuckets: 3, reservedBuckets: 4, bucketSizeSectors: 512 };
    expect(new NoBucketsError('user', 24, 2, 1, [device]).message).toBe(
      'no space left for 12288 bytes of data in 2 copies, there is room for 1 (device 1: 786432 bytes free in buckets of 262144 bytes, 1048576 bytes kept back)',
    );
    expect(new NoBucketsError('btree', 512, 1, 0, []).message).toBe(
      'no space left for 262144 bytes of metadata (no device may take it)',
    );
  });
});

describe('states of buckets', () => {
  test('of keys that are older than alloc_v4', () => {
    // alloc_v3: journal_seq, flags, nr_fields, gen, oldest_gen, data_type, then varints of one byte: x << 1.
    const value = new Uint8Array(24);
    value.set([7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 5, 4, TYPE.stripe]);
    const pos = freespacePos(0, 1, 0);
    const varints = [3, 4, 100, 20, 9, 2, 0].map(field => field << 1);
    value.set(varints, 16);
    expect(bucketStateOf(makeKey(keyTypes.idOf('alloc_v3'), pos, value))).toEqual({
      ...untouchedBucket(),
      journalSeq: 7n,
      needDiscard: true,
      gen: 5,
      oldestGen: 4,
      dataType: TYPE.stripe,
      readTime: 3n,
      writeTime: 4n,
      dirtySectors: 100,
      cachedSectors: 20,
      stripe: 9,
      stripeRedundancy: 2,
    });
  });

  const device = {
    index: 0,
    bucketSizeSectors: 512,
    firstBucket: 0,
    bucketEnd: 100,
    isWritable: true,
    dataAllowed: 0x1c,
    durability: 1,
    groups: new Set<number>(),
  };

  test('types follow from what is in them', () => {
    const state = untouchedBucket();
    expect(dataTypeOf(state, TYPE.user)).toBe(TYPE.free);
    expect(dataTypeOf({ ...state, needDiscard: true }, TYPE.user)).toBe(TYPE.needDiscard);
    expect(dataTypeOf({ ...state, gen: 95 }, TYPE.user)).toBe(TYPE.free);
    expect(dataTypeOf({ ...state, gen: 96 }, TYPE.user)).toBe(TYPE.needGcGens);
    expect(dataTypeOf({ ...state, gen: 2, oldestGen: 250 }, TYPE.user)).toBe(TYPE.free);
    expect(dataTypeOf({ ...state, cachedSectors: 1 }, TYPE.user)).toBe(TYPE.cached);
    expect(dataTypeOf({ ...state, cachedSectors: 1, dirtySectors: 1 }, TYPE.btree)).toBe(TYPE.btree);
    expect(dataTypeOf({ ...state, stripe: 1 }, TYPE.user)).toBe(TYPE.stripe);
    expect(dataTypeOf({ ...state, stripe: 1 }, TYPE.parity)).toBe(TYPE.parity);
  });

  test('only those that are neither empty nor full are worth emptying', () => {
    const state = { ...untouchedBucket(), dataType: TYPE.user };
    expect(fragmentationLruTime({ ...state, dirtySectors: 256 }, device)).toBe(2n ** 30n);
    expect(fragmentationLruTime({ ...state, dirtySectors: 512 }, device)).toBe(0n);
    expect(fragmentationLruTime(state, device)).toBe(0n);
    expect(fragmentationLruTime({ ...state, dataType: TYPE.journal, dirtySectors: 256 }, device)).toBe(0n);
  });

  test('positions in freespace hold generation bits and the bucket after it', () => {
    expect(freespaceGenBits({ ...untouchedBucket(), gen: 33, oldestGen: 1 })).toBe(2);
    const key = makeKey(25, freespacePos(3, 2 ** 33 + 5, 2), new Uint8Array(0), { size: 4 });
    expect(freespaceRun(key)).toEqual({ start: 2 ** 33 + 1, end: 2 ** 33 + 5, genBits: 2 });
    expect(key.k.p).toEqual(Uint32Array.of(0, 5, 0x0200_0002, 3, 0));
  });
});
