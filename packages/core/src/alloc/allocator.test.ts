// The superblock's needs and the gate are values: what they make of a superblock. Allocation itself is tried on real images in
// test/engine.

import { describe, expect, test } from 'vitest';
import { makeKey } from '../btree/transaction.ts';
import { IncompatibleError } from '../ondisk/errors.ts';
import { VERSION_CURRENT_WRITTEN, versionOf } from '../ondisk/versions.ts';
import { freespacePos, freespaceRun } from './bucket-indexes.ts';
import { dataTypeOf, fragmentationLruTime, freespaceGenBits, TYPE, untouchedBucket } from './bucket-state.ts';
import { NoBucketsError } from './no-space.ts';
import { checkWritable } from './write-gate.ts';

const of = (version: number, version_min = version) => ({ version, version_min });

describe('checkWritable', () => {
  test('only version 1.13', () => {
    expect(() => checkWritable(of(VERSION_CURRENT_WRITTEN))).not.toThrow();
    for (const version of [versionOf('backpointer_bucket_gen'), VERSION_CURRENT_WRITTEN - 1, 0x2000]) {
      expect(() => checkWritable(of(version))).toThrow(IncompatibleError);
    }
    expect(() => checkWritable(of(versionOf('backpointer_bucket_gen')))).toThrow(/1\.14/);
    expect(() => checkWritable(of(VERSION_CURRENT_WRITTEN, VERSION_CURRENT_WRITTEN - 1))).toThrow(
      /upgraded to .*1\.13.* from version .*1\.12/,
    );
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

  test('positions in freespace hold generation bits and the bucket behind', () => {
    expect(freespaceGenBits({ ...untouchedBucket(), gen: 33, oldestGen: 1 })).toBe(2);
    const key = makeKey(25, freespacePos(3, 2 ** 33 + 5, 2), new Uint8Array(0), { size: 4 });
    expect(freespaceRun(key)).toEqual({ start: 2 ** 33 + 1, end: 2 ** 33 + 5, genBits: 2 });
    expect(key.k.p).toEqual(Uint32Array.of(0, 5, 0x0200_0002, 3, 0));
  });
});
