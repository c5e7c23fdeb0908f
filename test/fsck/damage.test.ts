// fsck on images with one damage each: -n names it and writes nothing, -y repairs it so that neither our check nor another fsck finds
// anything, and changes nothing when it runs again.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, describe, expect, test } from 'vitest';
import { run } from '../support/cli.ts';
import { damagedDevices, damagedImages, whyNoDamage } from '../support/damage.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { LEGAL, OPEN, TRUER } from '../support/repaired.ts';
import { hashFile } from '../support/sparse.ts';

const FEW = ['alloc-gen', 'bp-all-missing', 'leaf-csum-dirents', 'root-zero-deep-dirents', 'journal-root-garbage'];

interface Summary {
  readonly errors: readonly { readonly id: string; readonly found: number }[];
  readonly exit_code: number;
}

const summaryOf = (stdout: string): Summary => JSON.parse(stdout.trimEnd().split('\n').at(-1)!).summary;

const hashes = (paths: readonly string[]): readonly string[] => paths.map(path => hashFile(path));

if (whyNoDamage !== undefined) console.warn(`repairs of damaged images skipped: ${whyNoDamage}`);

describe.skipIf(whyNoDamage !== undefined)('damaged images', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-damage-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const done = damagedImages().filter(({ name }) => !OPEN.includes(name));

  test.each(sampleOf('damaged', done, FEW))('$name', { timeout: patient(60_000) }, async ({ name, aims }) => {
    const paths = damagedDevices(name, folder);
    const before = hashes(paths);
    const looked = await run('fsck', ['-n', '--json', ...paths]);
    const { errors } = summaryOf(looked.stdout);
    expect(hashes(paths)).toEqual(before);
    const isFound = !LEGAL.includes(name);
    expect(looked.exitCode, looked.stdout).toBe(isFound ? 4 : 0);
    const wanted = TRUER[name] === undefined ? aims : [TRUER[name]];
    if (isFound && wanted.length > 0)
      expect(
        errors.map(({ id }) => id).filter(id => wanted.includes(id)),
        `${errors.map(({ id }) => id).join()} has one of ${wanted.join()}`,
      ).not.toEqual([]);
    const repaired = await run('fsck', ['-y', '--json', `--quarantine=${join(folder, `${name}.lost`)}`, ...paths]);
    expect(repaired.exitCode, repaired.stdout).toBe(isFound ? 1 : 0);
    const filesystem = openFilesystem(paths);
    try {
      expect([...checkInvariants(filesystem).counts]).toEqual([]);
    } finally {
      filesystem.close();
    }
    const after = hashes(paths);
    const again = await run('fsck', ['-y', '--json', `--quarantine=${join(folder, `${name}.again`)}`, ...paths]);
    expect({ exitCode: again.exitCode, found: summaryOf(again.stdout).errors }).toEqual({ exitCode: 0, found: [] });
    expect(hashes(paths)).toEqual(after);
    for (const path of paths) rmSync(path);
  });
});
