// device set-state, resize and resize-journal as commands: what they say first, what they refuse and that nothing is written then, missing
// members, and what is left when they are undone. And the files that depend on members, as `device list` and `fs failure-domains` have them.

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { copySparse, hashFile } from '../support/sparse.ts';

const folder = mkdtempSync(join(tmpdir(), 'device-states-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const names = ['a.img', 'b.img', 'c.img'];
const [a, b, c] = names.map(path) as [string, string, string];
const all = names.map(path).join(':');

/** Metadata has two copies, /twice too; what is in /once has one. */
beforeAll(async () => {
  const kept = names.map(name => path(`kept-${name}`));
  writeFileSync(path('file'), 'x'.repeat(MIB));
  await succeed('format', ['-q', '--metadata_replicas=2', '--fs_size=64M', ...kept]);
  await succeed('mkdir', ['-q', kept.join(':'), 'twice']);
  await succeed('set-file-option', ['-q', '--data_replicas=2', kept.join(':'), 'twice']);
  for (const to of ['twice/file', 'once']) await succeed('put', ['-q', kept.join(':'), path('file'), to]);
}, patient(60_000));

beforeEach(() => {
  for (const name of names) copySparse(path(`kept-${name}`), path(name));
});

const hashes = () => names.map(name => hashFile(path(name)));

/** Runs what has to be refused, and nothing may have been written. */
async function refused(
  command: 'device set-state' | 'device resize' | 'device resize-journal',
  words: readonly string[],
) {
  const before = hashes();
  const { exitCode, stderr } = await run(command, words);
  expect(hashes()).toEqual(before);
  expect([exitCode, stderr.trimEnd().split('\n').length]).toEqual([2, 1]);
  return stderr;
}

async function stateOf(index: number): Promise<string> {
  return JSON.parse((await run('device list', ['--json', a, b, c])).stdout).devices[index].state;
}

describe('set-state', () => {
  test('fewer copies need --force, lost data --force_if_data_lost', async () => {
    expect(await refused('device set-state', ['-y', 'failed', all, a])).toMatch(
      /--force(_if_data_lost)? sets it anyway/,
    );
    await succeed('device set-state', ['-y', '--force_if_data_lost', 'failed', all, a]);
    expect(await stateOf(0)).toBe('evacuating');
    await succeed('device set-state', ['-y', 'rw', all, '0']);
    expect(await stateOf(0)).toBe('rw');
  });

  test('of what has failed nothing can be read, and so no more of what has its other copy there', async () => {
    const losses = async (index: string) =>
      JSON.parse((await run('device set-state', ['--json', '-n', 'failed', all, index])).stdout).plan.losses;
    expect((await losses('1')).lost_metadata).toBe(0);
    await succeed('device set-state', ['-y', '--force_if_data_lost', 'failed', all, '0']);
    expect((await losses('1')).lost_metadata).toBeGreaterThan(0);
  });

  test('the last writable member of a target: what waits for it is counted anew', async () => {
    await succeed('set-fs-option', ['-q', `--background_target=${c}`, `--foreground_target=${a}`, a, b, c]);
    await succeed('put', ['-q', all, path('file'), 'waits']);
    const waiting = async () => (await succeed('list', ['--btree=rebalance_work', a, b, c])).trim().split('\n').length;
    const counted = async () => (await succeed('list', ['--btree=accounting', a, b, c])).match(/rebalance_work.*/)?.[0];
    const before = [await waiting(), await counted()];
    for (const state of ['ro', 'rw']) {
      await succeed('device set-state', ['-y', '--force', state, all, '2']);
      expect(await run('fsck', ['-n', a, b, c])).toMatchObject({ exitCode: 0 });
      const now = [await waiting(), await counted()];
      if (state === 'rw') expect(now).toEqual(before);
      else expect(now).not.toEqual(before);
    }
  });

  test('failed and evacuating are one state; what is so already is left alone', async () => {
    await succeed('device set-state', ['-y', '--force_if_data_lost', 'evacuating', all, '1']);
    const before = hashes();
    expect(await succeed('device set-state', ['failed', all, '1'])).toBe(`${b} is failed already\n`);
    expect(hashes()).toEqual(before);
  });

  test('a missing member: by index, with --allow_missing, and a mount asks for it no more', async () => {
    const two = `${a}:${b}`;
    expect(await refused('device set-state', ['-y', 'failed', two, '2'])).toContain('--allow_missing');
    const words = ['--allow_missing', '--force_if_data_lost', 'failed', two, '2'];
    const before = hashes();
    const { stdout } = await run('device set-state', ['-n', '--json', ...words]);
    const { action, plan, result } = JSON.parse(stdout);
    expect({ action, result }).toEqual({ action: 'dry run', result: null });
    expect(plan).toMatchObject({ member: 2, from: 'rw', to: 'evacuating', mount_after: 'nothing' });
    expect(plan.mount_before).not.toBe('nothing');
    expect(hashes()).toEqual(before);
    await succeed('device set-state', ['-y', ...words]);
    const { devices } = JSON.parse((await run('device list', ['--json', a, b])).stdout);
    expect(devices[2]).toMatchObject({ standing: 'missing', state: 'evacuating' });
  });

  test('both sides of a split brain are refused, by all that write and by every check', async () => {
    await succeed('set-fs-option', ['-q', '--allow_missing', '--fs_label=one', a, b]);
    await succeed('set-fs-option', ['-q', '--allow_missing', '--fs_label=two', c]);
    expect(await refused('device set-state', ['-y', 'ro', all, '0'])).toContain('split brain');
    const rows = [
      ['set-fs-option', 2, '--fs_label=three', a, b, c],
      ['recovery-pass', 2, '--set=check_inodes', a, b, c],
      ['mkdir', 2, all, 'new'],
      ['device remove', 2, '-y', all, '0'],
      ['fsck', 16, '-n', a, b, c],
      ['fsck', 16, '-y', a, b, c],
      // A mount would not take what looks clean.
      ['fsck', 16, '-p', a, b, c],
    ] as const;
    const before = hashes();
    for (const [command, code, ...words] of rows) {
      const { exitCode, stderr } = await run(command, words);
      expect({ command, exitCode, stderr }).toMatchObject({
        exitCode: code,
        stderr: expect.stringContaining('split brain'),
      });
      expect(hashes()).toEqual(before);
    }
  });
});

describe('what a kernel makes of a state', () => {
  const one = [path('one-0.img'), path('one-1.img')];
  beforeAll(async () => {
    const labels = ['--label=ssd.x', one[0]!, '--label=hdd.y', one[1]!];
    const targets = ['--foreground_target=ssd', '--background_target=hdd', '--metadata_target=ssd'];
    await succeed('format', ['-q', '--fs_size=32M', ...targets, ...labels]);
    await succeed('put', ['-q', one.join(':'), path('file'), 'file']);
  }, patient(60_000));
  const planFor = async (...words: readonly string[]) =>
    JSON.parse((await run('device set-state', ['--json', '-n', ...words])).stdout).plan;

  test('with the only nodes on a member that has failed, nothing mounts it', async () => {
    const plans = [await planFor('failed', one.join(':'), '0'), await planFor('failed', one.join(':'), '1')];
    expect(plans.some(({ losses }) => losses.lost_metadata > 0)).toBe(true);
    for (const { losses, mount_before, mount_after } of plans) {
      expect(mount_before).toBe('nothing');
      expect(mount_after).toBe(losses.lost_metadata > 0 ? 'impossible' : 'nothing');
    }
    const held = plans.findIndex(({ losses }) => losses.lost_metadata > 0);
    await succeed('device set-state', ['-y', '--force_if_data_lost', 'failed', one.join(':'), `${held}`]);
    expect(await planFor('rw', one.join(':'), `${held}`)).toMatchObject({
      mount_before: 'impossible',
      mount_after: 'nothing',
    });
    const text = await succeed('device set-state', ['-y', 'rw', one.join(':'), `${held}`]);
    expect(text).toContain('mounts the members that are here with no option, and did not mount them before');
  });

  test('targets without a writable member are named, with what becomes of them', async () => {
    const ssd = await succeed('device set-state', ['-n', 'ro', one.join(':'), '0']);
    expect(ssd).toContain('foreground_target has no writable member left: new data goes to the other members\n');
    expect(ssd).toContain('metadata_target has no writable member left');
    expect(ssd).not.toContain('background_target');
    const hdd = await succeed('device set-state', ['-n', 'ro', one.join(':'), '1']);
    expect(hdd).toContain('background_target has no writable member left: data stays where it is first written\n');
    expect(hdd).not.toContain('foreground_target');
  });
});

describe('resize', () => {
  test('larger, undone, and too small', async () => {
    const before = hashes();
    await succeed('device resize', ['-y', `--undo_file=${path('undo')}`, all, a, '100M']);
    expect(statSync(a).size).toBe(100 * MIB);
    await succeed('undo', [path('undo'), a, b, c]);
    expect(hashes()).toEqual(before);
    expect(await refused('device resize', ['-y', all, a, '5M'])).toContain('cannot be smaller than');
    expect(await refused('device resize', ['-y', all, a, 'much'])).not.toBe('');
    expect(await refused('device resize', ['-y', all, 'd.img', '80M'])).toContain('is not a member');
  });
});

describe('resize-journal', () => {
  test('what it cannot have is refused', async () => {
    expect(await refused('device resize-journal', ['-y', all, b, '1k'])).toContain('can have');
    expect(await refused('device resize-journal', ['-y', all, b, '1T'])).toContain('can have');
  });
});

test('the files that depend on one member are those of one copy', async () => {
  const { stdout } = await run('device list', ['--json', '--paths', a, b, c]);
  const lost: { readonly bytes: number; readonly paths: readonly string[] }[] = JSON.parse(stdout).devices.flatMap(
    ({ if_lost: { files } }: { readonly if_lost: { readonly files: readonly object[] } }) => files,
  );
  expect(lost.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(MIB);
  expect(new Set(lost.flatMap(({ paths }) => paths))).toEqual(new Set(['/once']));
  const domains = await succeed('fs failure-domains', ['--paths', a, b, c]);
  expect(domains).toContain(' of /once');
  expect(domains).not.toContain('/twice');
});
