// Devices that join: nothing is left for a kernel to make, every rule of the checker holds, new data goes there, and cut off anywhere the files
// are what they were and adding goes on.

import {
  addMembers,
  blankMember,
  CorruptError,
  checkInvariants,
  completeMembers,
  contentsOf,
  diskGroups,
  evacuateMembers,
  FileEdit,
  findingText,
  getBits,
  labelText,
  loadChecksums,
  MEMBER_NIL_UUID,
  MemoryDevice,
  memberAlive,
  memberBits,
  memberGroup,
  members,
  openMembers,
  planAdd,
  readBytes,
  removeMember,
  sbBits,
  seededRandom,
  UsageError,
  withMembers,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { nodeCopies, spoil } from '../support/bad-copies.ts';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isLong, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`devices that join: TEST_SEED=${seed}`);
const text = new TextEncoder();
const TOP = 'a model';
beforeAll(loadChecksums);

const joining = (device: MemoryDevice | PowerCuts['devices'][number], more: object = {}) => ({
  device,
  durability: 1,
  discard: false,
  dataAllowed: 0b11100,
  signatures: [],
  ...more,
});

function add(
  devices: Parameters<typeof writerOn>[0],
  key: Uint8Array | undefined,
  wanted: readonly ReturnType<typeof joining>[],
) {
  const { writer } = writerOn(devices, key, seed);
  const options = { key, random: seededRandom('joins'), now: () => 1_800_000_500n };
  const plan = planAdd(writer.filesystem, wanted, { random: options.random, nowSeconds: options.now() });
  return addMembers(writer, plan, options);
}

function change(devices: Parameters<typeof writerOn>[0], key: Uint8Array | undefined, model: FileModel): void {
  const { writer, options } = writerOn(devices, key, seed + 7);
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const known = edit.files.lookup(root, text.encode(TOP));
  const top = known ?? edit.files.create(root, text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < sized(40, 50, 200); i++) model.step(edit, top);
  edit.commit();
}

// biome-ignore format: a table
const kinds = [
  { name: 'to one', members: 1, options: {}, isEncrypted: false, more: { label: 'hdd.new' } },
  { name: 'to two, encrypted, other buckets', members: 2, options: { metadata_replicas: '2', data_replicas: '2' }, isEncrypted: true, more: { bucketBytes: 256 * 1024 } },
];

test.each(kinds)('$name', { timeout: patient(60_000) }, ({ members: count, options, isEncrypted, more }) => {
  const { devices, key } = formattedImage({ members: count, sizeBytes: 32 * MIB, options, isEncrypted });
  const model = new FileModel(randomFrom(seed));
  change(devices, key, model);
  const added = [new MemoryDevice(256 * MIB, { name: 'new' }), new MemoryDevice(128 * MIB, { name: 'other' })];
  const writer = add(devices, key, [joining(added[0]!, more), joining(added[1]!)]);
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);

  const all = [...devices, ...added];
  const { sb } = openOn(all, key);
  expect(openOn(all, key).set.missing).toEqual([]);
  for (const dev of [count, count + 1]) {
    expect(memberAlive(members(sb)[dev]!)).toBe(true);
    expect(getBits([members(sb)[dev]!.flags], memberBits.FREESPACE_INITIALIZED)).toBe(1);
  }
  if (more.bucketBytes !== undefined) expect(members(sb)[count]!.bucket_size).toBe(512);
  const group = memberGroup(members(sb)[count]!);
  expect(group === undefined ? undefined : labelText(diskGroups(sb), group)).toBe(more.label);
  change(all, key, model);
  const filling = writerOn(all, key, seed);
  const edit = new FileEdit(filling.writer, filling.options);
  const ref = edit.files.create(edit.files.root(), text.encode('large'), { mode: 0o100644 });
  edit.content.write(ref, 0, new Uint8Array(12 * MIB).fill(5));
  edit.commit();
  const used = [count, count + 1].map(dev => contentsOf(openOn(all, key), dev).userBytes);
  expect(Math.min(...used)).toBeGreaterThan(0);
  expect(treeText(openOn(all, key), TOP)).toEqual(model.text());

  // They can take everything, and the old ones leave.
  const others = writerOn(all, key, seed).writer;
  for (const dev of Array.from({ length: count }, (_, nr) => nr))
    expect(removeMember(others, dev).isRemoved).toBe(true);
  expect(checkInvariants(openOn(added, key)).findings.map(findingText)).toEqual([]);
  expect(treeText(openOn(added, key), TOP)).toEqual(model.text());
  // A slot is not used again.
  const again = add(added, key, [joining(new MemoryDevice(64 * MIB, { name: 'third' }))]);
  expect(members(again.filesystem.sb).length).toBe(count + 3);
  evacuateMembers(again, [count]);
  expect(checkInvariants(again.filesystem).findings.map(findingText)).toEqual([]);
  expect(treeText(again.filesystem, TOP)).toEqual(model.text());
});

test('slots are used again only when all have been, that which was left first before others', () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 24 * MIB });
  const leave = (count: number) => {
    const { writer } = writerOn(devices, undefined, seed);
    writer.editSuperblocks(sb => {
      const gone = (nr: number) => ({
        ...blankMember(),
        uuid: MEMBER_NIL_UUID,
        last_mount: nr === 40 ? 5n : BigInt(100 + nr),
      });
      const known = members(sb);
      const more = Array.from({ length: count - known.length }, (_, nr) => gone(known.length + nr));
      return withMembers({ ...sb, nr_devices: count }, [...known, ...more]);
    });
  };
  const fresh = () => new MemoryDevice(24 * MIB, { name: 'new' });
  const slotOf = (more: readonly MemoryDevice[]) => {
    const { writer } = writerOn(devices, undefined, seed);
    const facts = { random: seededRandom('slots'), nowSeconds: 1_800_000_500n };
    return planAdd(
      writer.filesystem,
      more.map(device => joining(device)),
      facts,
    ).added.map(({ dev }) => dev);
  };
  leave(63);
  expect(slotOf([fresh(), fresh()])).toEqual([63, 40]);
  leave(64);
  expect(slotOf([fresh(), fresh()])).toEqual([40, 2]);
  const device = fresh();
  const { filesystem } = add(devices, undefined, [joining(device)]);
  expect(openMembers([device]).newest.sb.dev_idx).toBe(40);
  expect(members(filesystem.sb)).toHaveLength(64);
  expect(checkInvariants(openOn([...devices, device])).findings.map(findingText)).toEqual([]);
  const { writer } = writerOn([...devices, device], undefined, seed);
  const facts = { random: seededRandom('slots'), nowSeconds: 1_800_000_500n };
  const many = Array.from({ length: 62 }, () => joining(fresh()));
  expect(() => planAdd(writer.filesystem, many, facts)).toThrow('has 64 members, and cannot have more');
});

test('refused: what is too small, and buckets that hold no node', () => {
  const { devices } = formattedImage({ sizeBytes: 64 * MIB });
  const kept = devices[0]!.clone();
  expect(() => add(devices, undefined, [joining(new MemoryDevice(4 * MIB, { name: 'small' }))])).toThrow(UsageError);
  const other = new MemoryDevice(256 * MIB, { name: 'other' });
  expect(() => add(devices, undefined, [joining(other, { bucketBytes: 16 * 1024 })])).toThrow(UsageError);
  expect(() => add(devices, undefined, [joining(other, { durability: 3 })])).toThrow(UsageError);
  expect(other.writtenRanges()).toEqual([]);
  expect(devices[0]!.writtenRanges()).toEqual(kept.writtenRanges());
});

test('where there are fewer members than copies are wanted: the one that joins is complete', () => {
  const { devices } = formattedImage({ members: 2, options: { metadata_replicas: '2', data_replicas: '2' } });
  removeMember(writerOn(devices, undefined, seed).writer, 0, { isForced: true });
  const { filesystem } = add(devices.slice(1), undefined, [joining(new MemoryDevice(64 * MIB, { name: 'new' }))]);
  expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
});

test('refused, with not a byte changed on any device: what is only found when the buckets become known', () => {
  const { devices } = formattedImage({ sizeBytes: 32 * MIB });
  const alloc = nodeCopies(openOn(devices, undefined))
    .flat()
    .find(({ of }) => of.startsWith('alloc level 0'));
  expect(alloc).toBeDefined();
  const damaged = devices[0]!.clone();
  spoil([damaged], alloc!, randomFrom(seed));
  const before = damaged.clone();
  const fresh = new MemoryDevice(256 * MIB, { name: 'fresh' });
  expect(() => add([damaged], undefined, [joining(fresh)])).toThrow(CorruptError);
  expect(fresh.writtenRanges()).toEqual([]);
  expect(Buffer.compare(readBytes(damaged, 0, 32 * MIB), readBytes(before, 0, 32 * MIB))).toBe(0);
});

/** Of a new member before its commit. */
const WITHOUT_BUCKETS = ['alloc_key_data_type_wrong', 'alloc_key_dirty_sectors_wrong', 'accounting_mismatch'];

describe(`power cuts (seed ${seed})`, () => {
  test('a device that joins', { timeout: patient(300_000) }, () => {
    const random = randomFrom(seed);
    const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB });
    const model = new FileModel(random);
    change(devices, undefined, model);
    const fresh = new MemoryDevice(64 * MIB, { name: 'fresh' });
    const cuts = new PowerCuts([...devices, fresh]);
    add(cuts.devices.slice(0, 2), undefined, [joining(cuts.devices[2]!)]);
    const seen = { old: 0, between: 0, added: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      if (!isLong && random.below(4) !== 0) continue;
      const left = cuts.after(cut);
      const { sb } = openMembers(left.slice(0, 2)).newest;
      const isMember = members(sb).length === 3;
      const all = isMember ? left : left.slice(0, 2);
      const { writer } = writerOn(all, undefined, seed + 1);
      const { filesystem } = writer;
      expect(filesystem.set.missing, cutText(cut)).toEqual([]);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(model.text());
      const isListed = isMember && getBits([members(filesystem.sb)[2]!.flags], memberBits.FREESPACE_INITIALIZED) === 1;
      const allowed = isMember && !isListed ? WITHOUT_BUCKETS : [];
      const others = checkInvariants(filesystem).findings.filter(({ error }) => !allowed.includes(error));
      expect(others.map(findingText), cutText(cut)).toEqual([]);
      seen[!isMember ? 'old' : isListed ? 'added' : 'between']++;
      if (!isMember) continue;
      if (!isListed) completeMembers(writer, [2]);
      expect(getBits(writer.filesystem.sb.flags, sbBits.CLEAN)).toBe(1);
      expect(checkInvariants(writer.filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(writer.filesystem, TOP), cutText(cut)).toEqual(model.text());
    }
    console.info(`joined: ${cuts.count} events, ${JSON.stringify(seen)}`);
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
  });
});
