// Scrub on images that were damaged elsewhere: bad copies beside good ones are replaced, and where there is no good copy the files are
// named and not a byte is written. On whole filesystems of all kinds it finds nothing.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, findingText, loadChecksums, loadCompression, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../support/cli.ts';
import { damagedDevices, whyNoDamage } from '../support/damage.ts';
import { fixture, fixtureNames, whyNoFixtures } from '../support/fixtures.ts';
import { isSoak } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';
import { copySparse, hashFile } from '../support/sparse.ts';
import { treeManifest } from '../support/tree-manifest.ts';

if (whyNoDamage !== undefined) console.warn(`scrubs of damaged images skipped: ${whyNoDamage}`);
if (whyNoFixtures !== undefined) console.warn(`scrubs of fixtures skipped: ${whyNoFixtures}`);

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-scrub-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

const hashes = (paths: readonly string[]): readonly string[] => paths.map(path => hashFile(path));

function contentsOf(paths: readonly string[]): unknown {
  const filesystem = openFilesystem(paths);
  try {
    expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    const { entries, complaints } = treeManifest(filesystem, () => undefined);
    expect(complaints).toEqual([]);
    return entries;
  } finally {
    filesystem.close();
  }
}

interface Line {
  readonly finding?: Record<string, unknown> & { readonly files?: readonly { readonly paths: readonly string[] }[] };
  readonly summary?: Record<string, unknown>;
}
const violations = validator('scrub');

function linesOf(stdout: string): readonly Line[] {
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
  expect(lines.flatMap(line => violations(line))).toEqual([]);
  return lines;
}

describe.skipIf(whyNoDamage !== undefined)('another copy is good', () => {
  test.each([
    ['extent-data-corrupt-one', 'data_read_csum_err', 'user'],
    ['replica-one-zero', 'btree_node_bad_magic', 'btree'],
  ])('%s', { timeout: patient(60_000) }, async (name, error, data_type) => {
    const base = damagedDevices('base-pair', folder);
    const expected = contentsOf(base);
    const paths = damagedDevices(name, folder);
    const before = hashes(paths);
    const looked = await run('scrub', ['-n', '--json', ...paths]);
    expect(looked.exitCode, looked.stdout).toBe(4);
    expect(hashes(paths)).toEqual(before);
    const found = linesOf(looked.stdout).flatMap(({ finding }) => finding ?? []);
    expect(found).toMatchObject([{ kind: 'bad_copy', id: error, data_type, outcome: 'correctable' }]);
    const repaired = await run('scrub', ['--json', ...paths]);
    expect(repaired.exitCode, repaired.stdout).toBe(1);
    expect(linesOf(repaired.stdout).at(-1)!.summary).toMatchObject({ corrected: 1, uncorrected: 0, lost: 0 });
    expect(contentsOf(paths)).toEqual(expected);
    const after = hashes(paths);
    const again = await run('scrub', paths);
    expect(again.exitCode, again.stdout).toBe(0);
    expect(hashes(paths)).toEqual(after);
    for (const path of [...paths, ...base]) rmSync(path);
  });

  test('a node without a good replica: nothing is written', { timeout: patient(60_000) }, async () => {
    const paths = damagedDevices('replica-both-zero', folder);
    const before = hashes(paths);
    const { exitCode, stdout } = await run('scrub', paths);
    expect(exitCode, stdout).toBe(4);
    expect(stdout).toContain('fsck repairs that');
    expect(hashes(paths)).toEqual(before);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('fixtures', () => {
  const imagesOf = (name: string) =>
    fixture(name).images.map((path, nr) => copySparse(path, join(folder, `${name}.${nr}.img`)));

  test('the only copy is bad: its file is named, and nothing is written', { timeout: patient(60_000) }, async () => {
    const paths = imagesOf('dmg-data-csum');
    const before = hashes(paths);
    const { exitCode, stdout } = await run('scrub', ['--json', ...paths]);
    expect(exitCode, stdout).toBe(4);
    expect(hashes(paths)).toEqual(before);
    const lost = linesOf(stdout).flatMap(({ finding }) => (finding?.kind === 'lost_data' ? [finding] : []));
    expect(lost.map(({ files }) => files!.flatMap(file => file.paths))).toEqual([['/a/b/c/f4']]);
  });

  test.each(['sb-backup-bitflip', 'sb-primary-bitflip', 'sb-primary-zeroed'])(
    '%s',
    { timeout: patient(60_000) },
    async name => {
      const paths = imagesOf(name);
      const looked = await run('scrub', ['-n', ...paths]);
      expect(looked.exitCode, looked.stdout).toBe(4);
      const repaired = await run('scrub', paths);
      expect(repaired.exitCode, repaired.stdout).toBe(1);
      const again = await run('scrub', ['-n', ...paths]);
      expect(again.exitCode, again.stdout).toBe(0);
    },
  );

  const FEW = ['ec-1.39', 'multi3-r2', 'csum-none', 'encrypted-wide-lz4', 'multi4-tiers', 'unclean'];
  const isWhole = (name: string) => !name.startsWith('dmg-') && !name.startsWith('sb-');
  const names = whyNoFixtures !== undefined ? [] : isSoak ? fixtureNames().filter(isWhole) : FEW;
  test.each(names.map(name => ({ name })))(
    '$name: every copy is good',
    { timeout: patient(60_000) },
    async ({ name }) => {
      const { images, json } = fixture(name);
      const { exitCode, stdout, stderr } = await run('scrub', ['-n', ...images], {
        env: { BCACHEFS_PASSPHRASE: json.passphrase ?? '' },
      });
      expect(exitCode, stdout + stderr).toBe(0);
      expect(stdout).toContain('every copy is good');
    },
  );

  test('a member is missing: the others are read, and nothing is written', { timeout: patient(60_000) }, async () => {
    const paths = imagesOf('multi3-r2').slice(0, 2);
    const before = hashes(paths);
    const refused = await run('scrub', paths);
    expect(refused.exitCode).toBe(16);
    const { exitCode, stdout } = await run('scrub', ['--allow_missing', '--json', ...paths]);
    expect(exitCode, stdout).toBe(4);
    const lines = linesOf(stdout);
    const { summary } = lines.at(-1)!;
    // The files there have one copy.
    const lost = lines.flatMap(({ finding }) => finding?.files?.flatMap(file => file.paths) ?? []);
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.filter(path => !path.startsWith('/one/'))).toEqual([]);
    expect(summary?.missing).toBeGreaterThan(0);
    expect(summary?.devices).toMatchObject([{}, {}, { device: null, checked: 0 }]);
    expect(hashes(paths)).toEqual(before);
  });
});
