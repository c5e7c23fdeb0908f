// Keys as rows against keys one by one: out of leaves, out of leaves with a journal over them, and with a transaction over both.

import { describe, expect, test } from 'vitest';
import { testImageContents } from '../../../../test/support/images.ts';
import { keyRuns } from '../btree/key-runs.ts';
import type { KeyReader } from '../btree/source.ts';
import { NO_TRIGGERS, Transaction } from '../btree/transaction.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { openMembers } from '../superblock/member-set.ts';
import { type Filesystem, filesystemOf } from './filesystem.ts';

const open = (name: string): Filesystem =>
  filesystemOf(openMembers(testImageContents(name).map(bytes => MemoryDevice.from(bytes))));

/** Keys are views: their contents count. */
const plain = ({ k, value }: Key) => ({ ...k, u64s: 0, p: k.p.join(), value: value.join() });

function expectSame(reader: KeyReader): number {
  const keys = [...reader.keys()].map(plain);
  const runs = [...keyRuns(reader)];
  const indexes = runs.flatMap(run =>
    Array.from({ length: run.end - run.first }, (_, i) => [run, run.first + i] as const),
  );
  expect(indexes.map(([run, i]) => plain(run.key(i)))).toEqual(keys);
  for (const [run, i] of indexes) {
    const { k, value } = run.key(i);
    expect(run.type(i)).toBe(k.type);
    expect(run.position(i)).toEqual(k.p.slice());
    expect(run.rows[run.positionAt(i)]).toBe(k.p[0]);
    expect(run.valueBytes(i)).toBe(value.length);
    if (value.length > 0) expect(run.words[run.valueAt(i) >>> 2]! & 0xff).toBe(value[0]);
  }
  return keys.length;
}

describe.each(['basic', 'unclean'])('the image %s', name => {
  test('has the same keys as rows', () => {
    const filesystem = open(name);
    let count = 0;
    for (const id of filesystem.replay.roots.keys()) count += expectSame(filesystem.btree(id));
    expect(count).toBeGreaterThan(50);
  });

  test('has them with changes over it', () => {
    const filesystem = open(name);
    const tx = new Transaction(filesystem, NO_TRIGGERS);
    const [first, second] = [...filesystem.btree('inodes').keys()] as [Key, Key];
    tx.delete('inodes', first.k.p.slice());
    tx.update('inodes', {
      k: { ...second.k, p: second.k.p.slice(), bversion_lo: 2n ** 40n },
      value: second.value.slice(8),
    });
    expect(expectSame(tx.btree('inodes'))).toBeGreaterThan(0);
  });
});
