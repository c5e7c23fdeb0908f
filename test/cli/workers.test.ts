// The built program decodes compressed extents in worker threads, whose file it finds beside itself, and does without where it is missing.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { built } from '../support/built.ts';

const WORKER = 'decode-worker.js';
/** More than what has to be decompressed before workers are started. */
const FILE_BYTES = 24 * 2 ** 20;

let folder: string;
let image: string;
const contents = Buffer.alloc(FILE_BYTES, 'every line of this file says the same, which zstd makes very small\n');
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'workers-'));
  mkdirSync(join(folder, 'source'));
  writeFileSync(join(folder, 'source/file'), contents);
  image = join(folder, 'disk.img');
  const source = join(folder, 'source');
  const words = ['format', '--quiet', '--fs_size=64M', '--compression=zstd', `--source=${source}`, image];
  expect(spawnSync(process.execPath, [built('bcachefs'), ...words], { encoding: 'utf8' })).toMatchObject({ status: 0 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Restores with a profile of each thread. @returns how many threads there were */
function threadsOf(program: string, name: string): number {
  const out = join(folder, `${name}-out`);
  const profiles = join(folder, `${name}-profiles`);
  const words = ['--cpu-prof', `--cpu-prof-dir=${profiles}`, program, 'restore', '--quiet', image, out];
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(Buffer.compare(readFileSync(join(out, 'file')), contents)).toBe(0);
  return readdirSync(profiles).length;
}

test('the worker’s file is beside the bundle, and is used where there is a core for it', () => {
  expect(existsSync(join(dirname(built('bcachefs')), WORKER))).toBe(true);
  const threads = threadsOf(built('bcachefs'), 'with');
  if (availableParallelism() > 1) expect(threads).toBeGreaterThan(1);
  else expect(threads).toBe(1);
});

test('without it everything is there as well', () => {
  const alone = join(folder, 'alone');
  cpSync(dirname(built('bcachefs')), alone, { recursive: true, filter: path => !path.endsWith(WORKER) });
  writeFileSync(join(alone, 'package.json'), '{ "type": "module" }');
  expect(threadsOf(join(alone, 'bcachefs.cjs'), 'alone')).toBe(1);
});
