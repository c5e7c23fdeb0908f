// show-super as a command: headings, warnings, choices of sections and exit codes. Its text is held against the reference's in
// test/show-super.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { BCHFS_MAGIC, BchSb, encodeSuperblock, type SbSection, type Superblock } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { showSuperCommand } from './command.ts';

const IMAGE_BYTES = 4 * 2 ** 20;
const SECTOR_BYTES = 512;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'show-super-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const member = (digit: number) => {
  const entry = new Uint8Array(144);
  entry.fill(digit, 0, 16);
  new DataView(entry.buffer).setUint32(16, 1024, true); // nbuckets
  new DataView(entry.buffer).setUint16(26, 256, true); // bucket_size
  return entry;
};
const membersV2: SbSection = {
  type: 11,
  payload: Uint8Array.from([144, 0, 0, 0, 0, 0, 0, 0, ...member(1), ...member(2)]),
};

/** The defaults of version 1.13, as the reference's format stores them. */
const DEFAULT_FLAGS = [
  ...[0x8111_1100_8010_0100n, 0x0111_c102n, 0n, 0xfa_3000_0000n],
  ...[0x1_0000_0064n, 0x1e_0000n, 0n],
];

/** A superblock of two members without a checksum (csum type none), as format --no_initialize writes it. */
function superblock(change: Partial<Superblock> = {}): Superblock {
  const blank = BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0);
  const sb_offset = [8n, 2056n, ...blank.layout.sb_offset.slice(2)];
  return {
    ...blank,
    magic: BCHFS_MAGIC,
    uuid: '11111111-0000-4000-8000-000000000000',
    user_uuid: '22222222-0000-4000-8000-000000000000',
    version: 1037,
    version_min: 1037,
    offset: 8n,
    seq: 5,
    block_size: 8,
    nr_devices: 2,
    time_precision: 1,
    flags: DEFAULT_FLAGS,
    layout: { ...blank.layout, magic: BCHFS_MAGIC, sb_max_size_bits: 11, nr_superblocks: 2, sb_offset },
    sections: [membersV2, { type: 9, payload: Uint8Array.of(17, ...Array(7).fill(0), 8, ...Array(7).fill(0)) }],
    ...change,
  };
}

function image(name: string, copies: readonly (Superblock | undefined)[], layout = superblock().layout): string {
  const bytes = new Uint8Array(IMAGE_BYTES);
  const head = encodeSuperblock(superblock({ layout }));
  bytes.set(head.subarray(BchSb.offset.layout, BchSb.size), 7 * SECTOR_BYTES);
  copies.forEach((copy, i) => {
    const sector = [8, 2056][i]!;
    if (copy !== undefined) bytes.set(encodeSuperblock({ ...copy, offset: BigInt(sector) }), sector * SECTOR_BYTES);
  });
  const file = path.join(folder, name);
  writeFileSync(file, bytes);
  // As long as its superblock says.
  truncateSync(file, 128 * 2 ** 20);
  return file;
}

const show = (...words: string[]) => runCli(showSuperCommand, words);

describe('one device', () => {
  test('is printed without a heading, by the path given', async () => {
    const file = image('one.img', [superblock(), superblock()]);
    const { exitCode, stdout, stderr } = await show(file);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(/^External UUID: +22222222-/);
    expect(stdout).toContain(`\nDevice 0:                                  ${file}\t\n`);
    expect(stdout).toContain('\nDevice 1:                                  (not found)\t\n');
    expect(stdout).not.toContain('layout:');
    expect(stdout).not.toContain('journal_v2 (size');
  });

  test('sections and layout on request', async () => {
    const file = image('one.img', [superblock(), superblock()]);
    const { stdout } = await show('--layout', '--fields=journal_v2,clean', file);
    expect(stdout).toContain('  Offsets:                 8, 2056\n');
    expect(stdout).toMatch(/\njournal_v2 \(size 24\):\nBuckets: {2}17-25\n$/);
    expect((await show('--field-only=journal_v2', file)).stdout).toBe('Buckets:  17-25\n');
    expect((await show('-f', 'all', file)).stdout).toContain('\nDevice 1: ');
  });

  test('which kernels can mount it', async () => {
    const { stdout } = await show('--kernels', image('one.img', [superblock(), superblock()]));
    expect(stdout.slice(stdout.indexOf('\nKernels:'))).toMatchInlineSnapshot(`
      "
      Kernels:
        Linux 6.12:         read-write
        Linux 6.16:         read-write (makes it 1.28, unless version_upgrade=none is given)
        the driver of 1.39: read-write (makes it 1.39, unless version_upgrade=none is given)
      "
    `);
    const json = JSON.parse((await show('--json', path.join(folder, 'one.img'))).stdout);
    expect(json.superblocks[0].kernels.map(({ access }: { access: string }) => access)).toEqual([
      'read-write',
      'read-write',
      'read-write',
    ]);
  });

  test('a lost primary: the copy is shown, and stderr says so', async () => {
    const file = image('backup.img', [undefined, superblock({ seq: 6 })]);
    const { exitCode, stdout, stderr } = await show(file);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Sequence number: +6$/m);
    expect(stderr).toMatch(/sector 8: not a bcachefs superblock/);
    expect(stderr).toMatch(/showing the copy at sector 2056/);
  });

  test('what is wrong with a superblock is reported on stderr, and the rest printed', async () => {
    const file = image('odd.img', [
      superblock({ sections: [membersV2, { type: 13, payload: new Uint8Array(8) }] }),
      superblock(),
    ]);
    const { exitCode, stdout, stderr } = await show(file);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('\next (size 16):\n  (damaged: ext: 8 bytes, expected 80 or more)\nDevice 0:');
    expect(stderr).toMatch(/odd\.img sector 8, ext: 8 bytes, expected 80 or more/);
  });

  test('no superblock at all', async () => {
    const file = path.join(folder, 'empty.img');
    writeFileSync(file, new Uint8Array(IMAGE_BYTES));
    const { exitCode, stdout, stderr } = await show(file);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toMatch(/no bcachefs superblock found/);
  });
});

describe('several devices', () => {
  test('have headings, and know each other', async () => {
    const first = image('a.img', [superblock(), superblock()]);
    const second = image('b.img', [superblock({ dev_idx: 1 }), superblock({ dev_idx: 1 })]);
    const { exitCode, stdout } = await show(first, second);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(new RegExp(`^${first}:\nExternal UUID`));
    expect(stdout).toContain(`\n\n${second}:\nExternal UUID`);
    expect(stdout.split(`Device 1:                                  ${second}`)).toHaveLength(3);
  });

  test('one that fails does not stop the others', async () => {
    const file = image('a.img', [superblock(), superblock()]);
    const missing = path.join(folder, 'missing.img');
    const { exitCode, stdout, stderr } = await show(missing, file);
    expect(exitCode).toBe(5);
    expect(stdout).toMatch(new RegExp(`^${file}:\nExternal UUID`));
    expect(stderr).toContain(missing);
  });
});

describe('usage', () => {
  test('unknown sections', async () => {
    const { exitCode, stderr } = await show('--fields=ext,foo', 'x');
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/--fields: there is no superblock section called "foo"/);
  });

  test('field_only stands alone', async () => {
    expect((await show('--field_only=ext', '--layout', 'x')).exitCode).toBe(2);
  });
});
