// image update, the real program, killed (kill -9) at random moments: the image has its old files or the new ones, and the next update makes it
// what an update that was not killed would have made of it.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, findingText, loadChecksums, loadCompression, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compareManifests, type ManifestEntry } from '../kernel/vm/manifest.ts';
import { built } from '../support/built.ts';
import { run, succeed } from '../support/cli.ts';
import { copySparse } from '../support/fixtures.ts';
import { runUntil } from '../support/killed-process.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();
console.info(`image update killed: TEST_SEED=${seed}`);
const KILLS = sized(8, 8, 60);
const EPOCH = { SOURCE_DATE_EPOCH: '1700000000' };

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-update-kills-'));
const at = (...names: string[]) => join(folder, ...names);
const [source, base, image] = [at('source'), at('base.img'), at('disk.img')];
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Of buckets that have just come or are about to go, and of superblock copies on their way. */
const WHILE_RESIZING = [
  'freespace_hole_missing',
  'freespace_key_wrong',
  'accounting_mismatch',
  'alloc_key_data_type_wrong',
  'alloc_key_dirty_sectors_wrong',
];

function look(path: string) {
  const filesystem = openFilesystem([path]);
  try {
    const { entries, complaints } = treeManifest(filesystem, () => undefined);
    expect(complaints).toEqual([]);
    return { entries, findings: checkInvariants(filesystem).findings };
  } finally {
    filesystem.close();
  }
}

const isSame = (a: readonly ManifestEntry[], b: readonly ManifestEntry[]): boolean =>
  compareManifests(a, b, { ignore: ['ino'] }).length === 0;

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  built('bcachefs');
  for (let nr = 0; nr < 300; nr++) {
    mkdirSync(join(source, `d${nr % 7}`), { recursive: true });
    writeFileSync(
      join(source, `d${nr % 7}`, `f${nr}`),
      Buffer.alloc([0, 100, 4096, 30_000, 120_000][nr % 5]!, `${nr} `),
    );
  }
  await succeed('image create', ['--seed=base', `--source=${source}`, base], { env: EPOCH });
  for (let nr = 0; nr < 300; nr += 3) {
    const path = join(source, `d${nr % 7}`, `f${nr}`);
    if (nr % 2 === 0) rmSync(path);
    else writeFileSync(path, Buffer.alloc(50_000, `changed ${nr}`));
    writeFileSync(`${path} new`, Buffer.alloc(20_000, `new ${nr}`));
  }
}, patient(120_000));

test(`killed again and again (seed ${seed})`, { timeout: patient(200_000) }, async () => {
  const random = randomFrom(seed);
  const words = ['--seed=3', `--source=${source}`, image];
  copySparse(base, image);
  const before = look(image).entries;
  const course = await runUntil(['image', 'update', '-q', ...words], EPOCH);
  expect(course).toMatchObject({ exitCode: 0, stderr: '' });
  const after = look(image).entries;
  expect(isSame(before, after)).toBe(false);
  const bytes = readFileSync(image);

  const seen = { old: 0, new: 0, killed: 0 };
  for (let nr = 0; nr < KILLS; nr++) {
    copySparse(base, image);
    // The first comes early, so that on any machine one at least is in time.
    const moment = { writtenBytes: 1 + random.below(nr === 0 ? course.writtenBytes / 4 : course.writtenBytes) };
    const { signal, exitCode } = await runUntil(['image', 'update', '-q', ...words], EPOCH, moment);
    const where = `killed at ${JSON.stringify(moment)}, TEST_SEED=${seed}`;
    if (signal === 'SIGKILL') seen.killed++;
    else expect(exitCode, where).toBe(0);
    const { entries, findings } = look(image);
    const isNew = isSame(entries, after);
    expect(isNew || isSame(entries, before), where).toBe(true);
    seen[isNew ? 'new' : 'old']++;
    const others = findings.filter(({ error }) => !WHILE_RESIZING.includes(error));
    expect(others.map(findingText), where).toEqual([]);

    const again = await run('image update', ['--json', ...words], { env: EPOCH });
    expect(again.exitCode, `${where}: ${again.stderr}`).toBe(0);
    const made = look(image);
    expect(made.findings.map(findingText), where).toEqual([]);
    expect(compareManifests(made.entries, after, { ignore: ['ino'] }), where).toEqual([]);
    // Nodes may have come out differently, and with them a few buckets.
    expect(Math.abs(statSync(image).size - bytes.length), where).toBeLessThan(bytes.length / 20);
  }
  console.info(JSON.stringify(seen));
  expect(seen.killed).toBeGreaterThan(0);
});
