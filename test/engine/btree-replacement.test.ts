// Btrees put in the place of others: made from their own keys they hold the same, everything that follows from their new nodes is right, and
// what was lost is there again.

import {
  BchBtreePtrV2,
  type BtreeName,
  type BtreeReplacement,
  bposOffset,
  bposText,
  btrees,
  bucketStateOf,
  CorruptError,
  decodeClean,
  decodeExtentEntries,
  editSuperblock,
  encodeClean,
  FileEdit,
  type Filesystem,
  FilesystemWriter,
  type FreeBucket,
  GivenBuckets,
  type Key,
  keyTypes,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
  makeBpos,
  type NodeAllocator,
  type NodePointer,
  nodePointers,
  openMembers,
  replaceBtrees,
  type Superblock,
  sectionPayload,
  seededRandom,
  withSection,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { ALL, DERIVED, INDEPENDENT, madeAgain, madeUncounted } from '../support/btree-replacement.ts';
import { writerOn } from '../support/commits.ts';
import { openOn, stateOf } from '../support/cut-states.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { fixtureImage, formattedImage, type MemoryImage, MIB, testImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const text = new TextEncoder();

const pointersOf = ({ ptr }: NodePointer) =>
  decodeExtentEntries(ptr.value.subarray(BchBtreePtrV2.size)).flatMap(entry => (entry.type === 'ptr' ? [entry] : []));

const flat = ({ k, value }: Key): string =>
  `${bposText(k.p)} ${k.type} ${k.size} ${k.bversion_lo} ${Buffer.from(value).toString('hex')}`;
const keysOf = (filesystem: Filesystem, btree: BtreeName): string[] => [...filesystem.btree(btree).keys()].map(flat);

const kinds: readonly { readonly name: string; readonly image: () => MemoryImage; readonly needsFixtures?: boolean }[] =
  [
    { name: 'a kernel’s', image: () => testImage('basic') },
    { name: 'a kernel’s, two members', image: () => testImage('multi') },
    { name: 'a kernel’s, encrypted', image: () => testImage('encrypted') },
    { name: 'a kernel’s, unclean', image: () => testImage('unclean') },
    { name: 'a kernel’s with snapshots', image: () => fixtureImage('snapshots'), needsFixtures: true },
    { name: 'a kernel’s, busy to its end', image: () => fixtureImage('unclean-busy'), needsFixtures: true },
  ];
const runnable = kinds.filter(({ needsFixtures }) => !needsFixtures || whyNoFixtures === undefined);

describe('btrees made from their own keys', () => {
  test.each(runnable)('$name: hold the same, each and all at once', { timeout: patient(120_000) }, ({ image }) => {
    const { devices, key } = image();
    const { writer } = writerOn(devices, key, 1);
    const state = stateOf(openOn(devices, key));
    expect(state).not.toMatch(/^broken/);
    const before = new Map(INDEPENDENT.map(btree => [btree, keysOf(writer.filesystem, btree)]));
    for (const names of [...DERIVED.map(btree => [btree]), INDEPENDENT, ALL]) {
      replaceBtrees(writer, madeAgain(writer.filesystem, names));
      const found = openOn(devices, key);
      expect(found.replay.from).toBe('clean');
      expect(stateOf(found), names.join()).toBe(state);
      for (const [btree, keys] of before) expect(keysOf(found, btree)).toEqual(keys);
    }
  });

  test.each(runnable)('$name: from a count that does not know of their nodes', ({ image }) => {
    const { devices, key } = image();
    const { writer } = writerOn(devices, key, 1);
    const state = stateOf(openOn(devices, key));
    replaceBtrees(writer, madeUncounted(writer.filesystem, DERIVED));
    expect(stateOf(openOn(devices, key))).toBe(state);
  });
});

/** Nodes of 8 KiB, each btree with dozens, which lie between each other. */
function manyNodes(): { readonly devices: readonly MemoryDevice[]; readonly writer: FilesystemWriter } {
  const { devices } = formattedImage({ sizeBytes: 96 * MIB, options: { btree_node_size: '8k' } });
  const { writer, options } = writerOn(devices, undefined, 2);
  for (let part = 0; part < 5; part++) {
    const edit = new FileEdit(writer, options);
    for (let nr = 0; nr < 250; nr++) {
      const file = edit.files.create(edit.files.root(), text.encode(`file ${part} ${nr}`), { mode: 0o100644 });
      edit.content.write(file, 0, new Uint8Array(4096).fill(nr));
    }
    edit.commit();
  }
  return { devices, writer };
}

describe('many nodes', () => {
  test('are announced in parts, which leave what one leaves', () => {
    const { devices, writer } = manyNodes();
    const state = stateOf(openOn(devices));
    const leaves = [...nodePointers(writer.filesystem.btree('backpointers'))].length;
    expect(leaves).toBeGreaterThan(10);
    const rebuilt = (nodesPerPart: number) =>
      replaceBtrees(writer, madeAgain(writer.filesystem, ALL), { nodesPerPart }).parts;
    expect(rebuilt(1000)).toBe(1);
    expect(stateOf(openOn(devices))).toBe(state);
    expect(rebuilt(30)).toBeGreaterThan(3);
    expect(stateOf(openOn(devices))).toBe(state);
    // Some of the new ones were new only for a part, and their room is not lost.
    expect(rebuilt(30)).toBeGreaterThan(3);
    expect([...nodePointers(writer.filesystem.btree('backpointers'))].length).toBeLessThan(1.5 * leaves);
  });

  test('take memory for the leaves of one part only: so much is staged before the commit', () => {
    const { devices, writer } = manyNodes();
    const state = stateOf(openOn(devices));
    const { stage } = writer;
    const sizes: number[] = [];
    writer.stage = request => {
      sizes.push(request.tx.size);
      stage.call(writer, request);
    };
    replaceBtrees(writer, madeAgain(writer.filesystem, ['extents', 'inodes', 'dirents']), { leavesPerPart: 2 });
    expect(stateOf(openOn(devices))).toBe(state);
    expect(sizes.length).toBeGreaterThan(1);
    for (const size of sizes) expect(size).toBeLessThan(300);
  });
});

const TYPE_AT = 2;

/** The clean section gives something else than a pointer for the root of a btree. */
function loseRoot(devices: readonly MemoryDevice[], btree: BtreeName): void {
  editSuperblock(
    openMembers(devices),
    sb => {
      const clean = decodeClean(sectionPayload(sb, 'clean')!);
      const entries = clean.entries.map(entry => {
        if (entry.btree_id !== btrees.idOf(btree) || entry.payload.length < 40) return entry;
        const payload = entry.payload.slice();
        payload[TYPE_AT] = keyTypes.idOf('cookie');
        return { ...entry, payload };
      });
      return withSection(sb, 'clean', encodeClean({ ...clean, entries }));
    },
    { now: 0n },
  );
}

/** What is known of a btree before it is lost. */
interface Known {
  readonly sb: Superblock;
  readonly keys: readonly Key[];
  readonly gone: readonly NodePointer[];
}

const known = (filesystem: Filesystem, btree: BtreeName): Known => ({
  sb: filesystem.sb,
  keys: [...filesystem.btree(btree).keys()],
  gone: [...nodePointers(filesystem.btree(btree))],
});
function* freeBuckets(filesystem: Filesystem): Generator<FreeBucket> {
  for (const key of filesystem.btree('freespace').keys()) {
    const end = Number(BigInt.asUintN(56, bposOffset(key.k.p)));
    for (let bucket = end - key.k.size; bucket < end; bucket++) {
      const alloc = filesystem.btree('alloc').get(makeBpos(0n, BigInt(bucket), 0));
      yield { bucket, gen: alloc === undefined ? 0 : bucketStateOf(alloc).gen };
    }
  }
}

const fromKnown = (btree: BtreeName, { keys, gone }: Known): BtreeReplacement => ({ btree, keys: () => keys, gone });

describe('a btree that is lost', () => {
  test.each(['extents', 'backpointers', 'inodes', 'accounting', 'freespace', 'alloc'] as const)(
    'with the node that is its root is made anew: %s',
    btree => {
      const { devices, key } = testImage('basic');
      const state = stateOf(openOn(devices, key));
      const before = known(openOn(devices, key), btree);
      // What a repair would have found out by itself.
      const allocator = new GivenBuckets(before.sb, new Map([[0, [...freeBuckets(openOn(devices, key))]]]));
      const [dev] = devices;
      for (const { offset } of pointersOf(before.gone[0]!)) dev!.write(512 * offset, new Uint8Array(4096).fill(0xa5));
      const { writer } = writerOn(devices, key, 1);
      expect(() => [...writer.filesystem.btree(btree).keys()]).toThrow(CorruptError);
      expect(() => replaceBtrees(writer, madeAgain(writer.filesystem, [btree]))).toThrow(CorruptError);
      writer.dropStaged();
      replaceBtrees(writer, [fromKnown(btree, before)], { allocator });
      expect(stateOf(openOn(devices, key))).toBe(state);
    },
  );

  test.each(['inodes', 'backpointers'] as const)('with the pointer to its root is made anew: %s', btree => {
    const { devices, key } = testImage('basic');
    const state = stateOf(openOn(devices, key));
    const before = known(openOn(devices, key), btree);
    loseRoot(devices, btree);
    const options = { key, random: seededRandom('1'), now: () => 1_800_000_000n };
    const open = (more: object) => new FilesystemWriter(openMembers(devices), { ...options, ...more });
    expect(() => open({})).toThrow('the journal is damaged');
    expect(() => open({ allowDamagedJournal: true })).toThrow('its root is lost with the journal: run fsck');
    const writer = open({ allowDamagedJournal: true, rebuilt: [btree] });
    if (btree === 'inodes') {
      // Not without it.
      expect(() => replaceBtrees(writer, madeAgain(writer.filesystem, ['lru']))).toThrow('was built, inodes too');
      writer.dropStaged();
    }
    replaceBtrees(writer, [fromKnown(btree, before)]);
    expect(stateOf(openOn(devices, key))).toBe(state);
    // From there on it is a filesystem as any other.
    replaceBtrees(open({}), madeAgain(openOn(devices, key), ['lru']));
  });
});

describe('a btree that cannot be made', () => {
  const changed = (devices: readonly MemoryDevice[], key: Uint8Array | undefined) => {
    const { writer, options } = writerOn(devices, key, 3);
    const edit = new FileEdit(writer, options);
    edit.files.create(edit.files.root(), text.encode('afterwards'), { mode: 0o100644 });
    return { writer, edit };
  };

  test('leaves what was there, on the devices and for the writer', () => {
    const { devices, key } = testImage('basic');
    const state = stateOf(openOn(devices, key));
    const { writer } = changed(devices, key);
    const [lru, extents] = madeAgain(writer.filesystem, ['lru', 'extents']);
    const failing: BtreeReplacement = {
      btree: 'extents',
      *keys() {
        yield* [...extents!.keys()].slice(0, 10);
        throw new CorruptError('btree_node_data_missing', {}, 'the source of the keys is damaged');
      },
    };
    expect(() => replaceBtrees(writer, [lru!, failing])).toThrow('the source of the keys is damaged');
    expect(stateOf(openOn(devices, key))).toBe(state);
    writer.dropStaged();
    expect(stateOf(writer.filesystem)).toBe(state);
    changed(devices, key).edit.commit();
    expect(stateOf(openOn(devices, key))).not.toMatch(/^broken/);
  });

  test('for want of room leaves it too', () => {
    const { devices, writer } = manyNodes();
    const state = stateOf(openOn(devices));
    let left = 10;
    const offset = () => 512 * 300 - 16 * left;
    const scarce: NodeAllocator = {
      allocate() {
        if (left-- === 0) throw new Error('no room is left');
        return [{ type: 'ptr', cached: false, unwritten: false, offset: offset(), dev: 0, gen: 0 }];
      },
      release: () => left++,
    };
    expect(() => replaceBtrees(writer, madeAgain(writer.filesystem, ['backpointers']), { allocator: scarce })).toThrow(
      'no room is left',
    );
    expect(left).toBe(9);
    expect(stateOf(openOn(devices))).toBe(state);
  });
});
