// The command: what it says before, what it does, and what it refuses. The change itself is core's (recovery/change-version.test.ts), and
// what kernels say of it is test/kernel/upgrade.test.ts.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { validator } from '../support/schemas.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-upgrade-command-'));
const image = join(folder, 'disk.img');
const undoFile = join(folder, 'undo');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  const file = join(folder, 'file');
  writeFileSync(file, 'contents\n'.repeat(1000));
  await succeed('format', ['-q', '--encrypted', '--no_passphrase', '--fs_size=32M', image]);
  await succeed('put', [image, file, 'file']);
});

const versionOf = async () =>
  JSON.parse(await succeed('show-super', ['--json', image])).superblocks[0].superblock.version.number as string;

test('says what it would do, does it, and is undone', async () => {
  const before = readFileSync(image);
  const plan = await succeed('upgrade', ['--dry_run', '--to=1.28', image]);
  expect(plan.replaceAll(image, 'DISK')).toMatchInlineSnapshot(`
    "DISK: from version inode_has_child_snapshots (1.13) to inode_has_case_insensitive (1.28)
    Checks: everything, since check_allocations, check_extents_to_backpointers, check_inodes are due
    Then mounts with Linux 6.12: read-write (checks it, and makes it 1.13)
    Then mounts with Linux 6.16: read-write
    Then mounts with the driver of 1.39: read-write (makes it 1.39, unless version_upgrade=none is given)
    dry run, nothing was written
    "
  `);
  expect(readFileSync(image).equals(before)).toBe(true);

  const refused = await run('upgrade', ['--to=1.28', image]);
  expect([refused.exitCode, readFileSync(image).equals(before)]).toEqual([2, true]);
  expect(refused.stderr).toContain('--yes');

  const json = JSON.parse(await succeed('upgrade', ['--json', '--yes', '--to=1.28', `--undo_file=${undoFile}`, image]));
  expect(validator('upgrade')(json)).toEqual([]);
  expect(json).toMatchObject({ action: 'done', from: '1.13', to: '1.28' });
  expect(await versionOf()).toBe('1.28');
  await succeed('fsck', ['-n', image]);
  expect(JSON.parse(await succeed('upgrade', ['--json', '--to=1.28', image])).action).toBe('none needed');

  await succeed('undo', [undoFile, image]);
  expect(readFileSync(image).equals(before)).toBe(true);
});

test.each<[string, readonly string[], RegExp]>([
  ['a version that cannot be written', ['--to=1.39'], /cannot be written/],
  ['a version without optional features', ['--to=1.13', '--incompatible'], /no incompatible features/],
  ['no version', ['--to=new'], /expected a metadata version/],
])('refuses %s, and writes nothing', async (_, words, message) => {
  const before = readFileSync(image);
  const { exitCode, stderr } = await run('upgrade', ['--yes', ...words, image]);
  expect(stderr).toMatch(message);
  expect(exitCode).toBe(2);
  expect(readFileSync(image).equals(before)).toBe(true);
});
