// Erasure-coded data that our engine changes. Debian's kernel makes no stripes (CONFIG_BCACHEFS_ERASURE_CODING is off), but it reads them and
// counts them like any other. So one is made here by hand of two buckets with data, and the kernel is asked what it says: of the stripe, and
// when files in it were removed, cut and written over.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  checkInvariants,
  FileEdit,
  FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompressors,
  openDevice,
  openFilesystem,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stripe } from '../../packages/core/src/ondisk/keys/stripe.ts';
import { run, succeed } from '../support/cli.ts';
import { saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { makeStripe, striped } from '../support/striped.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { compareManifests, kernelFsck, type ManifestEntry, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const text = new TextEncoder();
const SECTOR_BYTES = 512;
const BUCKET_SECTORS = 128;
const FILES = ['removed', 'cut', 'written', 'kept'] as const;
const FILE_BYTES = 100_000;
const STRIPE = 1;
/** One with checksums. */
const CHECKED = 2;
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
    expected = change((edit, devices) => {
      const place = { nr: STRIPE, data: [0, 1], parity: 2, bucketSectors: BUCKET_SECTORS, hasChecksums: false };
      expect(makeStripe(edit, devices, place)).toBeGreaterThan(1);
    });
  }, patient(300_000));

  function stripeOf(nr: number) {
    const filesystem = openFilesystem(images);
    try {
      const key = filesystem.btree('stripes').get(Uint32Array.of(0, nr, 0, 0, 0));
      return key === undefined ? undefined : stripe.decode(key.value);
    } finally {
      filesystem.close();
    }
  }

  /** Sectors of data in each block, as the stripe has them; none when it has ended. */
  const blockcounts = (): readonly number[] => stripeOf(STRIPE)?.blockcounts ?? [0, 0];

  function spoil({ dev, offset }: { readonly dev: number; readonly offset: number }): void {
    const device = openDevice(images[dev]!, { write: true });
    const bytes = new Uint8Array(SECTOR_BYTES);
    device.read((offset + 5) * SECTOR_BYTES, bytes);
    device.write(
      (offset + 5) * SECTOR_BYTES,
      bytes.map(byte => byte ^ 1),
    );
    device.close();
  }

  /** What a kernel complains of, and what it does not see as expected. */
  async function complaints(): Promise<readonly string[]> {
    const names = disks.map(({ name }) => name);
    const looked = await runInKernel({
      disks: disks.map(disk => ({ ...disk, throwaway: true })),
      steps: [
        { do: 'fsck', disks: names, as: 'fsck' },
        { do: 'mount', disks: names, readOnly: true, options: 'nochanges' },
        { do: 'manifest', as: 'seen' },
        { do: 'umount' },
      ],
    });
    const { complaints } = resultOf(looked, 'fsck').fsck!;
    return [
      ...complaints.map(({ text }) => text).filter(text => !OWN_WARNING.test(text)),
      ...compareManifests(expected, resultOf(looked, 'seen').manifest ?? [], { ignore: ['data'] }),
    ];
  }

  test('a kernel has nothing to say of a stripe that is made', { timeout: patient(300_000) }, async () => {
    expect(blockcounts()[0]).toBeGreaterThan(0);
    expect(await complaints()).toEqual([]);
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
  });

  test('nor when scrub has written bad parity and bad data anew', { timeout: patient(300_000) }, async () => {
    change(edit => {
      const random = seededRandom('more');
      for (const name of ['more', 'and more']) {
        const file = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
        edit.content.write(file, 0, random.bytes(FILE_BYTES));
      }
    });
    const place = { nr: CHECKED, data: [0, 1], parity: 2, bucketSectors: BUCKET_SECTORS };
    expected = change((edit, devices) => expect(makeStripe(edit, devices, place)).toBeGreaterThan(1));
    const [data, , parity] = stripeOf(CHECKED)!.ptrs;
    spoil(parity!);
    expect((await run('scrub', images)).exitCode).toBe(1);
    spoil(data!);
    expect((await run('scrub', images)).exitCode).toBe(1);
    expect(stripeOf(CHECKED)!.ptrs[2]).not.toEqual(parity);
    expect((await run('scrub', ['-n', ...images])).exitCode).toBe(0);
    expect(stripeOf(CHECKED)!.blockcounts![1]).toBeGreaterThan(0);
    expect(await complaints()).toEqual([]);
  });

  test('nor when a member with blocks in its last part gets smaller', { timeout: patient(300_000) }, async () => {
    const { devices } = striped({ isAtEnd: true });
    const small = devices.map((device, nr) => {
      const path = join(folder, `small${nr}.img`);
      saveImage(device, path);
      return path;
    });
    const manifest = () => {
      const filesystem = openFilesystem(small);
      const { entries, complaints } = treeManifest(filesystem, () => undefined);
      filesystem.close();
      expect(complaints).toEqual([]);
      return entries;
    };
    const before = manifest();
    const ran = await run('device resize', ['-y', small.join(':'), small[1]!, 'min']);
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ran.stdout).toMatch(/of erasure-coded data become plain data$/m);
    expect(compareManifests(before, manifest())).toEqual([]);
    const { complaints } = await kernelFsck(small);
    expect(complaints.filter(({ text }) => !OWN_WARNING.test(text))).toEqual([]);
  });

  test('nor when a member with blocks is emptied, and leaves', { timeout: patient(300_000) }, async () => {
    await succeed('device evacuate', ['-y', images.join(':'), images[1]!]);
    expect(stripeOf(CHECKED)).toBe(undefined);
    expect(await complaints()).toEqual([]);
    await succeed('device remove', ['-y', images.join(':'), images[1]!]);
    const left = [images[0]!, images[2]!];
    const { complaints: own } = await kernelFsck(left);
    expect(own.filter(({ text }) => !OWN_WARNING.test(text))).toEqual([]);
    const filesystem = openFilesystem(left);
    const { entries } = treeManifest(filesystem, () => undefined);
    filesystem.close();
    expect(compareManifests(expected, entries)).toEqual([]);
  });
});
