// Erasure-coded data that our engine changes. Debian's kernel makes no stripes (CONFIG_BCACHEFS_ERASURE_CODING is off), but it reads them and
// counts them like any other. So one is made here by hand of two buckets with data, and the kernel is asked what it says: of the stripe, and
// when files in it were removed, cut and written over.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  checkInvariants,
  encodeExtentEntries,
  encodeExtentPtr,
  extent,
  FileEdit,
  FilesystemWriter,
  findingText,
  type Key,
  keyTypes,
  loadChecksums,
  loadCompressors,
  makeKey,
  openDevice,
  openFilesystem,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BchStripe, stripe } from '../../packages/core/src/ondisk/keys/stripe.ts';
import { succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import {
  caseNamed,
  compareManifests,
  kernelFsck,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const text = new TextEncoder();
const SECTOR_BYTES = 512;
const BUCKET_SECTORS = 128;
const FILES = ['removed', 'cut', 'written', 'kept'] as const;
const FILE_BYTES = 100_000;
const STRIPE = 1;
/** Of the compiler's guard in the kernel's own code, whatever the stripe: a field is copied together with the array that ends it. */
const OWN_WARNING =
  /memcpy: detected field-spanning write \(size \d+\) of single field "&(gc->r\.e|acc\.replicas)" at /;

kernelSuite('stripes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-stripes-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const disks = ['s0', 's1', 's2'].map(name => ({ name, path: join(folder, `${name}.img`) }));
  const images = disks.map(({ path }) => path);
  let expected: readonly ManifestEntry[];
  let changes = 0;

  /** @returns what is then there */
  function change(body: (edit: FileEdit, devices: readonly BlockDevice[]) => void): readonly ManifestEntry[] {
    const devices = images.map(path => openDevice(path, { write: true }));
    try {
      // A node's number is random, and a kernel goes by it.
      const options = { random: seededRandom(`stripes ${changes++}`), now: () => 1_800_000_000_000_000_000n };
      const writer = new FilesystemWriter(openMembers(devices), { random: options.random, now: () => 1_800_000_000n });
      const edit = new FileEdit(writer, options);
      body(edit, devices);
      edit.commit();
      expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
      const { entries, complaints } = treeManifest(writer.filesystem, () => undefined);
      expect(complaints).toEqual([]);
      return entries;
    } finally {
      for (const device of devices) device.close();
    }
  }

  /** The stripe of the first buckets of members 0 and 1 that hold only data, with its parity on member 2. */
  function makeStripe(edit: FileEdit, devices: readonly BlockDevice[]): void {
    const { tx, allocator, triggers } = edit;
    const blocks = [0, 1].map(dev => {
      const [first] = pointersInto([...tx.btree('extents').keys()], dev);
      return { dev, offset: first! - (first! % BUCKET_SECTORS) };
    });
    const parity = allocator.allocateOn(2, BUCKET_SECTORS);
    expect(parity.offset % BUCKET_SECTORS).toBe(0);
    const [a, b] = blocks.map(({ dev, offset }) => {
      const bytes = new Uint8Array(BUCKET_SECTORS * SECTOR_BYTES);
      devices[dev]!.read(offset * SECTOR_BYTES, bytes);
      return bytes;
    });
    devices[2]!.write(
      parity.offset * SECTOR_BYTES,
      a!.map((byte, i) => byte ^ b![i]!),
    );
    const value = new Uint8Array(BchStripe.size + 3 * 8 + 8);
    const view = new DataView(value.buffer);
    const header = {
      algorithm: 0,
      nr_blocks: 3,
      nr_redundant: 1,
      csum_granularity_bits: 0,
      csum_type: 0,
      disk_label: 0,
    };
    BchStripe.put(view, 0, { ...header, sectors: BUCKET_SECTORS });
    const plain = { type: 'ptr', gen: 0, cached: false, unwritten: false, unused: false } as const;
    for (const [i, place] of [...blocks, parity].entries()) {
      view.setBigUint64(BchStripe.size + 8 * i, encodeExtentPtr({ ...plain, ...place }), true);
    }
    tx.update('stripes', makeKey(keyTypes.idOf('stripe'), Uint32Array.of(0, STRIPE, 0, 0, 0), value));
    let count = 0;
    for (const key of [...tx.btree('extents').keys()]) {
      const entries = entriesOf(key);
      const changed = entries.flatMap(entry => {
        const block =
          entry.type !== 'ptr'
            ? -1
            : blocks.findIndex(({ dev, offset }) => entry.dev === dev && isIn(offset, entry.offset));
        if (block >= 0) count++;
        return block < 0 ? [entry] : [{ type: 'stripe_ptr', block, redundancy: 1, idx: STRIPE } as const, entry];
      });
      if (changed.length > entries.length)
        tx.update('extents', makeKey(key.k.type, key.k.p, encodeExtentEntries(changed), key.k));
    }
    expect(count).toBeGreaterThan(2);
    triggers.needs.addFeature('ec');
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompressors();
    const sizes = images.flatMap(path => ['--fs_size=64M', path]);
    await succeed('format', ['--metadata_replicas=3', '--bucket_size=64k', ...sizes]);
    change(edit => {
      const random = seededRandom('contents');
      for (const name of FILES) {
        const file = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
        edit.content.write(file, 0, random.bytes(FILE_BYTES));
      }
    });
    expected = change(makeStripe);
  }, patient(300_000));

  /** Sectors of data in each block, as the stripe has them. */
  function blockcounts(): readonly number[] {
    const filesystem = openFilesystem(images);
    try {
      const key = filesystem.btree('stripes').get(Uint32Array.of(0, STRIPE, 0, 0, 0));
      return stripe.decode(key!.value).blockcounts ?? [];
    } finally {
      filesystem.close();
    }
  }

  const complaints = async () => (await kernelFsck(images)).complaints.filter(({ text }) => !OWN_WARNING.test(text));

  const look = (disks: readonly string[], options: string): Promise<RunResult> =>
    runInKernel({
      disks: images.map((path, i) => ({ name: `s${i}`, path, throwaway: true })),
      cases: [
        {
          name: 'look',
          steps: [{ do: 'mount', disks, readOnly: true, options }, { do: 'manifest', as: 'seen' }, { do: 'umount' }],
        },
      ],
    });
  const manifestOf = (result: RunResult) => resultOf(caseNamed(result, 'look'), 'seen').manifest ?? [];

  test('a kernel has nothing to say of a stripe that is made', { timeout: patient(300_000) }, async () => {
    expect(blockcounts()[0]).toBeGreaterThan(0);
    expect(await complaints()).toEqual([]);
    expect(
      compareManifests(expected, manifestOf(await look(['s0', 's1', 's2'], 'nochanges')), { ignore: ['data'] }),
    ).toEqual([]);
  });

  test('nor when what is in it is removed, cut and written over', { timeout: patient(300_000) }, async () => {
    const before = blockcounts();
    expected = change(({ files, content }) => {
      const find = (name: string) => files.lookup(files.root(), text.encode(name))!;
      files.remove(files.root(), text.encode('removed'));
      content.truncate(find('cut'), 5000);
      content.write(find('written'), 10_000, text.encode('something else'));
    });
    const after = blockcounts();
    expect(after[0]! + after[1]!).toBeLessThan(before[0]! + before[1]!);
    expect(await complaints()).toEqual([]);
    expect(
      compareManifests(expected, manifestOf(await look(['s0', 's1', 's2'], 'nochanges')), { ignore: ['data'] }),
    ).toEqual([]);
  });
});

const entriesOf = (key: Key) =>
  (key.k.type === keyTypes.idOf('extent') ? extent.decode(key.value).entries : []) as Parameters<
    typeof encodeExtentEntries
  >[0];
const isIn = (bucket: number, sector: number): boolean => sector >= bucket && sector < bucket + BUCKET_SECTORS;
const pointersInto = (keys: readonly Key[], dev: number): number[] =>
  keys.flatMap(key =>
    entriesOf(key).flatMap(entry => (entry.type === 'ptr' && entry.dev === dev ? [entry.offset] : [])),
  );
