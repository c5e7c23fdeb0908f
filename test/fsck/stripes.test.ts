// fsck on stripes: counts are made anew, and what leads into a stripe that is gone leaves it.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  extent,
  type Key,
  keyTypes,
  loadChecksums,
  makeBpos,
  makeKey,
  openFilesystem,
  type Transaction,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { saveImage } from '../support/memory-images.ts';
import { smallTree, tamper } from '../support/recovered.ts';
import { striped } from '../support/striped.ts';

const folder = mkdtempSync(join(tmpdir(), 'fsck-stripes-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(loadChecksums);

const EXTENT = keyTypes.idOf('extent');
const words = (...values: readonly bigint[]) => new Uint8Array(BigUint64Array.from(values).buffer);

/** Stripe 7: one block of 8 sectors without parity or checksums. @param ptr its pointer, as an extent has it @param count its block's */
const stripe = (ptr: bigint, count: bigint): Key =>
  makeKey(keyTypes.idOf('stripe'), makeBpos(0n, 7n, 0), words(8n | (1n << 24n), ptr, count));

/** Block 0 of stripe 7, of which all but one may be lost. */
const STRIPE_PTR = 16n | (1n << 13n) | (7n << 17n);

async function damaged(name: string, alter: (tx: Transaction) => void): Promise<string> {
  const image = join(folder, name);
  const devices = smallTree();
  tamper(devices, alter);
  saveImage(devices[0]!, image);
  return image;
}

test('a wrong count of sectors is counted anew', async () => {
  const image = await damaged('count.img', tx => tx.update('stripes', stripe(1n | (24_576n << 4n), 3n)));
  const { exitCode, stdout } = await run('fsck', ['-y', `--quarantine=${image}.lost`, image]);
  expect(stdout).toBe(
    `stripes 0:7:0: stripe_sector_count_wrong: found block 0: 3, expected 0: fixed\n${image}: 1 error found, 1 fixed, 0 left\n`,
  );
  expect(exitCode).toBe(1);
  await succeed('fsck', ['-n', image]);
});

test('a pointer into a stripe that is gone stays, and is in none', async () => {
  const image = await damaged('gone.img', tx => {
    const key = [...tx.btree('extents').keys()].find(({ k }) => k.type === EXTENT)!;
    const entries = [...new BigUint64Array(key.value.slice().buffer)];
    const ptr = entries.pop()!;
    tx.update('stripes', stripe(ptr, 0n));
    tx.update('extents', makeKey(EXTENT, key.k.p.slice(), words(...entries, STRIPE_PTR, ptr), key.k));
  });
  await succeed('kvdb', ['--raw', '-c', 'set stripes 0:7 deleted', image]);
  const { exitCode, stdout } = await run('fsck', ['-y', `--quarantine=${image}.lost`, image]);
  expect(exitCode, stdout).toBe(1);
  expect(stdout).toContain('ptr_to_missing_stripe: found stripe 7, expected a stripe: fixed');
  await succeed('fsck', ['-n', image]);
});

test('a member with blocks of stripes is given up: what the others give of them is kept, and the stripes end', async () => {
  for (const gone of [0, 2]) {
    const { devices, writer } = striped();
    const images = devices.map((_, nr) => join(folder, `member-${gone}-${nr}.img`)).filter((_, nr) => nr !== gone);
    const kept = devices.filter((_, nr) => nr !== gone);
    for (const [nr, image] of images.entries()) saveImage(kept[nr]!, image);
    const inStripes = [...writer.filesystem.btree('extents').keys()].filter(key => isOnlyIn(key, gone)).length;
    const { exitCode, stdout } = await run('fsck', [
      '-y',
      '--give_up_missing',
      `--quarantine=${images[0]}.lost`,
      ...images,
    ]);
    expect(exitCode, stdout).toBe(1);
    await succeed('fsck', ['-n', ...images]);
    // What was only there is known to be lost; all that is left is what was written.
    const { stdout: scrubbed } = await run('scrub', ['-n', ...images]);
    const bad = scrubbed.split('\n').filter(line => line.includes('have no good copy'));
    expect(bad).toEqual(bad.filter(line => line.includes('key_type_error')));
    expect(bad).toHaveLength(inStripes);
    const after = openFilesystem(images);
    // Member 0 has parity of the second one.
    expect([...after.btree('stripes').keys()].length).toBe(gone === 0 ? 0 : 1);
    const errors = [...after.btree('extents').keys()].filter(({ k }) => k.type === keyTypes.idOf('error')).length;
    after.close();
    expect(errors).toBe(inStripes);
  }
});

/** Whether nothing but a member has the data: it is in no stripe. */
const isOnlyIn = ({ k, value }: Key, dev: number): boolean =>
  k.type === EXTENT &&
  extent
    .decode(value)
    .entries.every(entry => entry.type !== 'stripe_ptr' && (entry.type !== 'ptr' || entry.dev === dev));
