// Generations of buckets that are used again and again: hundreds of commits to a full filesystem, and copies in a cache that are as stale as
// the test likes.

import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { makeKey } from '../btree/transaction.ts';
import { FileEdit } from '../change/file-edit.ts';
import { checkInvariants } from '../check/check.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import type { Key } from '../ondisk/bkey.ts';
import { encodeExtentPtr } from '../ondisk/extent-entries.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { findingText } from '../report/finding.ts';
import { seededRandom } from '../util/random.ts';
import { bucketPos } from './bucket-indexes.ts';
import { bucketStateOf, encodeBucketState, oldestAge, TYPE } from './bucket-state.ts';
import { entryBytesOf, spacePointers } from './extent-pointers.ts';
import { NoBucketsError } from './no-space.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const problemsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);
const greatestAge = (filesystem: Filesystem): number =>
  Math.max(...[...filesystem.btree('alloc').keys()].map(key => oldestAge(bucketStateOf(key))));

test('a full filesystem changed a thousand times', () => {
  const { devices } = formattedImage({ sizeBytes: 8 * MIB });
  const { writer, options } = writerOn(devices, undefined, 1);
  const put = (name: string, length: number) => {
    const edit = new FileEdit(writer, options);
    const ref = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    edit.content.write(ref, 0, seededRandom(name).bytes(length));
    edit.commit();
  };
  for (const length of [MIB / 2, MIB / 16, 4096]) {
    expect(() => {
      for (let nr = 0; nr < 1000; nr++) put(`${length} ${nr}`, length);
    }).toThrow(NoBucketsError);
  }
  let most = 0;
  for (let nr = 0; nr < 1000; nr++) {
    const edit = new FileEdit(writer, { ...options, makesRoom: true });
    edit.files.setXattr(edit.files.root(), 'user.nr', text.encode(`${nr}`));
    edit.commit();
    if (nr % 20 === 0) most = Math.max(most, greatestAge(writer.filesystem));
  }
  expect(most).toBeGreaterThan(32);
  expect(most).toBeLessThan(96);
  expect(problemsOf(writer.filesystem)).toEqual([]);
});

describe('copies in a cache whose buckets were used again', () => {
  /** A file with a second, cached pointer, whose bucket is `age` generations further by now and holds nothing. */
  function withStaleCopies(ages: readonly number[]) {
    const { devices } = formattedImage({ members: 2, sizeBytes: 16 * MIB });
    const { writer, options } = writerOn(devices, undefined, 1);
    const first = new FileEdit(writer, options);
    for (const age of ages) {
      const ref = first.files.create(first.files.root(), text.encode(`${age}`), { mode: 0o100644 });
      first.content.write(ref, 0, seededRandom(`${age}`).bytes(8192));
    }
    first.commit();
    /** On the other device than the file itself. */
    const copies = [...writer.filesystem.btree('extents').keys()].map((key, nr) => {
      const dev = 1 - spacePointers(entryBytesOf(key), key.k.size).pointers[0]!.dev;
      const { bucketEnd, bucketSizeSectors } = first.triggers.devices[dev]!;
      return { key, dev, bucket: bucketEnd - 100 + nr, offset: (bucketEnd - 100 + nr) * bucketSizeSectors };
    });
    const cached = new FileEdit(writer, options);
    for (const { key, dev, offset } of copies) {
      const value = new Uint8Array(key.value.length + 8);
      value.set(key.value);
      const word = encodeExtentPtr({ type: 'ptr', cached: true, unwritten: false, offset, dev, gen: 0 });
      viewOf(value).setBigUint64(key.value.length, word, true);
      cached.tx.update('extents', makeKey(key.k.type, key.k.p, value, key.k));
    }
    cached.commit();
    expect(problemsOf(writer.filesystem)).toEqual([]);

    const reused = new FileEdit(writer, options);
    for (const [nr, { dev, bucket }] of copies.entries()) {
      const key = reused.tx.get('alloc', bucketPos(dev, bucket))!;
      const state = bucketStateOf(key);
      expect(state).toMatchObject({ dataType: TYPE.cached, gen: 0 });
      reused.triggers.counters.addReplicas(TYPE.cached, 1, [dev], -state.cachedSectors);
      const gen = ages[nr]!;
      const free = { ...state, dataType: TYPE.free, cachedSectors: 0, gen, needDiscard: false, needIncGen: false };
      reused.tx.update('alloc', makeKey(key.k.type, key.k.p, encodeBucketState(free)));
    }
    reused.commit();
    expect(problemsOf(writer.filesystem)).toEqual([]);
    const oldestGens = () =>
      copies.map(({ dev, bucket }) => {
        const key = writer.filesystem.btree('alloc').get(bucketPos(dev, bucket));
        return key === undefined ? undefined : bucketStateOf(key).oldestGen;
      });
    return { writer, options, oldestGens };
  }

  const pointersOf = (key: Key) => spacePointers(entryBytesOf(key), key.k.size).pointers.length;

  test('those that are old are dropped; else their generation is what the bucket notes', () => {
    const { writer, options, oldestGens } = withStaleCopies([70, 20, 16, 3]);
    const edit = new FileEdit(writer, options);
    edit.files.setXattr(edit.files.root(), 'user.a', text.encode('b'));
    edit.commit();
    expect(problemsOf(writer.filesystem)).toEqual([]);
    expect(oldestGens()).toEqual([70, 20, 0, 0]);
    expect([...writer.filesystem.btree('extents').keys()].map(pointersOf)).toEqual([1, 1, 2, 2]);
  });

  test('nothing is read and nothing changed where no bucket has old pointers', () => {
    const { writer, options, oldestGens } = withStaleCopies([60, 20]);
    const edit = new FileEdit(writer, options);
    expect(edit.tx.size).toBe(0);
    edit.files.setXattr(edit.files.root(), 'user.a', text.encode('b'));
    edit.commit();
    expect(oldestGens()).toEqual([0, 0]);
  });
});
