// A lost btree of any size is made anew in bounded memory: millions of backpointers, in a process of its own.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import type { BuiltBackpointers } from './many-backpointers.ts';

const COUNT = sized(150_000, 200_000, 4_000_000);
/** Of the whole process. Measured: 110 for four million as for one, of which 56 before it begins. */
const MEGABYTES_MAX = 150;

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-many-'));
const image = join(folder, 'image');
// Bundled, as the program is: what runs TypeScript takes a hundred megabytes for itself.
const script = join(folder, 'many-backpointers.mjs');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  await build({
    entryPoints: [fileURLToPath(new URL('./many-backpointers.ts', import.meta.url))],
    outfile: script,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@bcachefs-ts/source'],
    logLevel: 'error',
  });
  // Sparse.
  await succeed('format', ['--fs_size=64G', image]);
}, patient(60_000));

test(`${COUNT} backpointers are built in less than ${MEGABYTES_MAX} MB`, { timeout: patient(300_000) }, () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, image, `${COUNT}`], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  const result = JSON.parse(stdout) as BuiltBackpointers;
  console.info(stdout);
  expect(result.keyCount).toBe(COUNT);
  expect(result.isSame).toBe(true);
  expect(result.nodeCount).toBeGreaterThan(COUNT / 6000);
  expect(result.memoryBytes.peak).toBeLessThan(MEGABYTES_MAX * 2 ** 20);
});
