// What stays as it is when not everything is to be repaired: nothing is written then that would end it, and nothing is said to be repaired
// that is not.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { damagedDevices, whyNoDamage } from '../support/damage.ts';
import { withDamaged } from './damaged.ts';

describe.skipIf(whyNoDamage !== undefined)('damaged images', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-left-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each([
    // Entries come after the hole: a commit would overwrite them.
    'journal-middle-many',
    // What the journal has cannot be put into a btree that is not to be repaired.
    'journal-root-garbage',
  ])('%s: -p stops at what is not safe, and writes nothing', async name => {
    const [path = ''] = damagedDevices(name, folder);
    const before = readFileSync(path);
    const { exitCode, stdout } = await run('fsck', ['-p', path]);
    expect({ exitCode, stdout }).toMatchObject({ exitCode: 4, stdout: expect.stringContaining(' found, 0 fixed, ') });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  // By its superblock it is clean, and a kernel refuses it.
  test.each(['sb-clean-missing', 'member-nbuckets-used'])('%s: -p does not take it for clean', async name => {
    const [path = ''] = damagedDevices(name, folder);
    const { exitCode, stdout } = await run('fsck', ['-p', path]);
    expect(exitCode & 4, stdout).toBe(4);
    expect(stdout).not.toMatch(/: clean(,|$)/m);
  });

  test('-n does not say that the journal was replayed', async () => {
    const [path = ''] = damagedDevices('base-dirty', folder);
    const { exitCode, stdout } = await run('fsck', ['-n', path]);
    expect({ exitCode, stdout }).toEqual({
      exitCode: 0,
      stdout: `${path}: nothing is wrong; it was not unmounted, and its journal has to be replayed\n`,
    });
    expect((await run('fsck', ['-n', '--json', path])).stdout).toContain('"replayed_journal":true,"journal_seq":null');
  });
});

test('a pass that was left out is still asked for', () =>
  withDamaged(undefined, async ({ image, fsck }) => {
    await succeed('recovery-pass', ['--set=check_inodes', image]);
    expect((await fsck('-y', '-o', 'recovery_passes_exclude=check_inodes')).exitCode).toBe(0);
    expect(await succeed('recovery-pass', [image])).toContain('check_inodes');
    expect((await fsck('-y')).exitCode).toBe(0);
    expect(await succeed('recovery-pass', [image])).not.toContain('check_inodes');
  }));
