// Which numbers new inodes get, and what a small change has to read: one way down each btree, however many files there are, and of a
// journal no more than the begin of its buckets, however long it is.

import {
  type BlockDevice,
  FileEdit,
  keyTypes,
  loadChecksums,
  makeBpos,
  makeKey,
  type TreeEditor,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { journalRanges, writerOn } from '../support/commits.ts';
import { CountingDevice } from '../support/counting-device.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const REGULAR = 0o100644;
const LAST = 2 ** 31 - 2;

function begin(devices: readonly BlockDevice[], seed: number): FileEdit {
  const { writer, options } = writerOn(devices, undefined, seed);
  return new FileEdit(writer, options);
}

const blank = (): FileEdit => begin(formattedImage({ sizeBytes: 16 * MIB }).devices, 1);

/** A number that was in use once, as a kernel leaves it behind. */
function use(edit: FileEdit, inum: number): void {
  const pos = makeBpos(0n, BigInt(inum), 0xffff_ffff);
  edit.tx.update('inodes', makeKey(keyTypes.idOf('inode_generation'), pos, new Uint8Array(8)));
}

function create(files: TreeEditor, name: string): number {
  return Number(files.create(files.root(), text.encode(name), { mode: REGULAR }).inum);
}

describe('the number of a new inode', () => {
  test('is the one after the highest', () => {
    const edit = blank();
    use(edit, 5000);
    use(edit, 2 ** 31);
    use(edit, 2 ** 40);
    expect([create(edit.files, 'a'), create(edit.files, 'b')]).toEqual([5001, 5002]);
  });

  test('fills holes when the highest is taken, each number once', () => {
    const edit = blank();
    const first = 4096;
    for (const inum of [first + 10, first + 12, LAST - 1]) use(edit, inum);
    const root = Number(edit.files.root().inum);
    const taken = new Set([root, first + 10, first + 12, LAST - 1]);
    const given = Array.from({ length: 30 }, (_, nr) => create(edit.files, `${nr}`));
    expect(given[0]).toBe(LAST);
    expect(given.slice(1)).toEqual(given.slice(1).toSorted((a, b) => a - b));
    expect(new Set([...given, ...taken]).size).toBe(given.length + taken.size);
    expect(Math.max(...given.slice(1))).toBeLessThan(first + 50);
  });
});

describe('making a directory in a filesystem of many files', () => {
  /** Small nodes: 5,000 inodes are about 30 leaves. */
  const NODE_BYTES = 32 * 1024;
  const options = { block_size: '512', btree_node_size: `${NODE_BYTES}` };

  function bytesRead(count: number): number {
    const { devices } = formattedImage({ sizeBytes: 64 * MIB, options });
    const filled = begin(devices, count);
    for (let nr = 0; nr < count; nr++) create(filled.files, `file ${nr}`);
    filled.commit();
    const counting = devices.map(device => new CountingDevice(device));
    const edit = begin(counting, count + 1);
    const before = counting[0]!.bytesRead;
    edit.files.create(edit.files.root(), text.encode('directory'), { mode: 0o040755 });
    edit.commit();
    return counting[0]!.bytesRead - before;
  }

  test('reads no more nodes than in one of few files, but for a level of each btree', () => {
    const [few, many] = [bytesRead(100), bytesRead(5000)];
    // inodes, dirents, and what changes with nodes: alloc, backpointers, accounting, lru, freespace, need_discard.
    expect(many - few).toBeLessThanOrEqual(8 * NODE_BYTES);
  });
});

describe('making a directory on a large device', () => {
  function reads(sizeBytes: number): { readonly buckets: number; readonly bytes: number; readonly blockBytes: number } {
    const { devices } = formattedImage({ sizeBytes, bucketBytes: MIB });
    const buckets = devices.flatMap(journalRanges).length;
    const counting = new CountingDevice(devices[0]!);
    const edit = begin([counting], 1);
    const blockBytes = 512 * edit.tx.sb.block_size;
    edit.files.create(edit.files.root(), text.encode('directory'), { mode: 0o040755 });
    edit.commit();
    return { buckets, bytes: counting.bytesRead, blockBytes };
  }

  test('reads a block more of each journal bucket, twice: before the change, and with the entry of the old state', () => {
    const [small, large] = [reads(1024 * MIB), reads(8192 * MIB)];
    const more = large.buckets - small.buckets;
    expect(more).toBeGreaterThan(30);
    expect(large.bytes - small.bytes).toBeLessThanOrEqual(2 * more * large.blockBytes);
  });
});
