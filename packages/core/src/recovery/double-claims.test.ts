import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { recovered, tamper } from '../../../../test/support/recovered.ts';
import { allocDevices } from '../alloc/alloc-devices.ts';
import { GivenBuckets } from '../alloc/given-buckets.ts';
import { makeKey } from '../btree/transaction.ts';
import { FileEdit } from '../change/file-edit.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import type { MemoryDevice } from '../device/memory-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { NoSpaceError } from '../ondisk/errors.ts';
import { openMembers } from '../superblock/member-set.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();

/** Two files of the same contents; the second one's key leads to the first one's data, on every member. */
function claimed(members: number): { readonly devices: readonly MemoryDevice[]; readonly before: readonly Key[] } {
  const options = members > 1 ? { data_replicas: '2', metadata_replicas: '2' } : {};
  const { devices } = formattedImage({ members, sizeBytes: 16 * MIB, options });
  const { writer, options: own } = writerOn(devices, undefined, 1);
  const edit = new FileEdit(writer, own);
  for (const name of ['a', 'b'])
    edit.content.write(
      edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 }),
      0,
      new Uint8Array(40_960).fill(7),
    );
  edit.commit();
  const before = [...writer.filesystem.btree('extents').keys()].map(({ k, value }) => ({
    k: { ...k, p: k.p.slice() },
    value: value.slice(),
  }));
  tamper(devices, tx => {
    const [first, second] = before;
    if (first === undefined || second === undefined) throw new Error('there are two files');
    tx.store('extents', makeKey(second.k.type, second.k.p, first.value, { ...second.k, ...versionOf(first) }));
  });
  return { devices, before };
}

const versionOf = ({ k: { bversion_hi, bversion_lo } }: Key) => ({ bversion_hi, bversion_lo });

describe.each([1, 2])('sectors that two keys claim, and that are right for both, on %d members', members => {
  test('each key has its own afterwards', () => {
    const { devices } = claimed(members);
    const before = devices.map(device => device.clone());
    const looked = recovered(before, { kind: 'no' });
    expect(before.map(device => device.writtenRanges())).toEqual(devices.map(device => device.writtenRanges()));
    expect(looked.dropped).toEqual([]);
    const { found, left, again, dropped, tree } = recovered(devices);
    expect(found).toHaveProperty('sectors_claimed_twice', members);
    expect({ left, again, dropped }).toEqual({ left: [], again: [], dropped: [] });
    expect(tree).toHaveLength(looked.tree.length);
  });
});

test('room for a copy is not on a device that has another one', () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 16 * MIB });
  const { sb } = openMembers(devices).newest;
  const free = () => new GivenBuckets(sb, new Map([[0, []], [1, [{ bucket: 50, gen: 0 }]]])); // biome-ignore format: short
  expect(allocDevices(sb)).toHaveLength(2);
  expect(free().allocateData(0, 8)).toMatchObject({ dev: 1 });
  expect(() => free().allocateData(0, 8, [1])).toThrow(NoSpaceError);
});
