// device replace of a member that is missing: what is planned and refused, what comes of it, and that the same words finish what was cut off.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import {
  type BlockDevice,
  DeviceError,
  FaultyDevice,
  FilesystemWriter,
  loadChecksums,
  openDevice,
  openMembers,
  planReplace,
  planReplaceMissing,
  replaceMissingSteps,
  replaceSteps,
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';
import { copySparse, hashFile } from '../support/sparse.ts';

const folder = mkdtempSync(join(tmpdir(), 'replace-missing-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const [a, b, c, fresh] = [path('a.img'), path('b.img'), path('c.img'), path('fresh.img')];
const left = `${a}:${b}`;
const contents = 'what it holds\n'.repeat(100_000);
const problemsOf = validator('device');

interface Listed {
  readonly index: number;
  readonly label: string | null;
  readonly durability: number;
  readonly state: string;
  readonly bucket_size: number;
  readonly if_lost: { readonly lost: number };
}

beforeAll(async () => {
  await loadChecksums();
  writeFileSync(path('file'), contents);
  const devices = ['--fs_size=32M', path('kept-a.img'), path('kept-b.img'), '--label=old.one', path('kept-c.img')];
  await succeed('format', ['-q', '--replicas=2', ...devices]);
  const all = ['a', 'b', 'c'].map(name => path(`kept-${name}.img`));
  for (const name of ['one', 'two', 'three', 'four']) await succeed('put', ['-q', all.join(':'), path('file'), name]);
  await succeed('set-fs-option', ['-q', `--promote_target=${all[2]}`, ...all]);
}, patient(60_000));

beforeEach(() => {
  for (const name of ['a.img', 'b.img', 'c.img']) copySparse(path(`kept-${name}`), path(name));
  rmSync(fresh, { force: true });
  writeFileSync(fresh, '');
  truncateSync(fresh, 48 * MIB);
});

const hashes = () => [a, b, c, fresh].map(name => hashFile(name));

async function documentOf(words: readonly string[]) {
  const { stdout, exitCode } = await runCli(bcachefs, ['device', 'replace', '--json', ...words]);
  expect(exitCode).toBe(0);
  const document = JSON.parse(stdout);
  expect(problemsOf(document)).toEqual([]);
  return document as { action: string; plan: Record<string, unknown>; result: Record<string, unknown> };
}

async function listed(members: string): Promise<readonly Listed[]> {
  return (JSON.parse(await succeed('device list', ['--json', ...members.split(':')])) as { devices: Listed[] }).devices;
}

async function isWhole(members: string): Promise<void> {
  expect(await run('fsck', ['-n', ...members.split(':')])).toMatchObject({ exitCode: 0 });
  for (const name of ['one', 'four']) {
    const { stdoutBytes } = await runForBytes('cat', [members, name]);
    expect(new TextDecoder().decode(stdoutBytes) === contents).toBe(true);
  }
}

test('a device comes instead of it, with its settings', { timeout: patient(60_000) }, async () => {
  const words = [left, '2', fresh];
  const before = hashes();
  const dry = await documentOf(['-n', '--allow_missing', ...words]);
  expect(dry.plan).toMatchObject({ member: 3, completes: false, size: 48 * MIB, missing: { member: 2, lost: 0 } });
  expect(dry.plan.missing).toMatchObject({ label: 'old.one', targets_moved: ['promote_target'], no_member: 0 });
  expect(hashes()).toEqual(before);
  const { exitCode, stderr } = await run('device replace', ['-y', ...words]);
  expect([exitCode, stderr]).toMatchObject([2, expect.stringContaining('--allow_missing')]);
  expect(hashes()).toEqual(before);

  const done = await documentOf(['-y', '--allow_missing', ...words]);
  expect(done.result).toMatchObject({ removed: true, lost_extents: 0, left_keys: 0 });
  const all = `${left}:${fresh}`;
  const members = await listed(all);
  expect(members.map(({ index }) => index)).toEqual([0, 1, 3]);
  const [, , joined] = members;
  expect(joined).toMatchObject({ label: 'old.one', durability: 1, state: 'rw', bucket_size: members[0]!.bucket_size });
  expect(members.map(({ if_lost }) => if_lost.lost)).toEqual([0, 0, 0]);
  expect((await run('show-super', ['--json', a])).stdout).toContain(`"promote_target": "Device`);
  await isWhole(all);
  const again = await documentOf(['-y', ...words]);
  expect(again.action).toBe('none needed');
});

test('an undo file puts everything back', { timeout: patient(60_000) }, async () => {
  const before = hashes();
  const undo = path('undo');
  await succeed('device replace', ['-y', '--allow_missing', `--undo_file=${undo}`, left, '2', fresh]);
  expect(hashes()).not.toEqual(before);
  await succeed('undo', [undo, a, b, fresh]);
  expect(hashes()).toEqual(before);
});

test('data with no other copy is listed, and lost', { timeout: patient(60_000) }, async () => {
  const all = `${left}:${c}`;
  await succeed('set-fs-option', ['-q', '--data_replicas=1', `--foreground_target=${c}`, a, b, c]);
  await succeed('put', ['-q', all, path('file'), 'only there']);
  const { plan } = await documentOf(['-n', '--allow_missing', left, '2', fresh]);
  expect(plan.missing).toMatchObject({ lost_files: ['/only there'], lost_files_complete: true });
  const { result } = await documentOf(['-y', '--allow_missing', left, '2', fresh]);
  expect(result).toMatchObject({ removed: true });
  expect(result.lost_extents).toBeGreaterThan(0);
  await isWhole(`${left}:${fresh}`);
});

test('metadata with no other copy, and what does not fit, is refused', { timeout: patient(60_000) }, async () => {
  const refused = async (...words: readonly string[]) => {
    const before = hashes();
    const { exitCode, stderr } = await run('device replace', ['-y', '--allow_missing', ...words]);
    expect(hashes()).toEqual(before);
    expect(exitCode).toBe(2);
    return stderr;
  };
  truncateSync(fresh, 2 * MIB);
  expect(await refused(left, '2', fresh)).toContain('fresh.img');
  truncateSync(fresh, 48 * MIB);
  await succeed('format', ['-q', '-f', '--fs_size=48M', fresh]);
  expect(await refused(left, '2', fresh)).toMatch(/contains bcachefs .*; --force overwrites it/);
  expect(await refused(left, c, fresh)).toContain('is not a member');
  await succeed('set-fs-option', ['-q', '--metadata_replicas=1', a, b, c]);
  await succeed('device set-state', ['-y', '--force', 'ro', `${left}:${c}`, '0']);
  await succeed('device set-state', ['-y', '--force', 'ro', `${left}:${c}`, '1']);
  await succeed('mkdir', ['-q', `${left}:${c}`, 'made']);
  expect((await run('device replace', ['-y', '--allow_missing', left, '2', fresh])).exitCode).not.toBe(0);
});

test('a member with other settings is not taken for the new one', { timeout: patient(60_000) }, async () => {
  await succeed('device add', ['-y', '--label=of.its.own', `${left}:${c}`, fresh]);
  const { exitCode, stderr } = await run('device replace', ['-y', '--allow_missing', left, '2', fresh]);
  expect([exitCode, stderr]).toMatchObject([2, expect.stringContaining('has other settings')]);
});

describe('cut off', () => {
  /** When it joins, in its commit, when copies are made, and when the old one leaves. */
  test.each([
    [fresh, 1],
    [a, 14],
    [a, 60],
  ])('%s fails after %d writes', { timeout: patient(60_000) }, async (which, writes) => {
    const devices = [a, b, fresh].map(image => {
      const device = openDevice(image, { write: true });
      return image === which ? new FaultyDevice(device, [{ kind: 'write-error', skip: writes }]) : device;
    });
    const options = { random: systemRandom, now: () => 1_800_000_000n, allowMissing: true };
    try {
      const writer = new FilesystemWriter(openMembers(devices.slice(0, 2)), options);
      const replacing = { device: devices[2] as BlockDevice, signatures: [] };
      const steps = replaceMissingSteps(writer, planReplaceMissing(writer, 2, replacing, options), {
        ...options,
        keysPerCommit: 20,
      });
      expect(() => [...steps]).toThrow(DeviceError);
    } finally {
      for (const device of devices) device.close();
    }
    await succeed('device replace', ['-y', '--allow_missing', left, '2', fresh]);
    expect((await listed(`${left}:${fresh}`)).map(({ index }) => index)).toEqual([0, 1, 3]);
    await isWhole(`${left}:${fresh}`);
    expect(await succeed('device replace', ['-y', left, '2', fresh])).toContain('nothing is left to do');
  });
});

test('old and new of a replacement that was cut off, opened together: it is said what finishes it', async () => {
  const devices = [a, b, c, fresh].map(image => openDevice(image, { write: true }));
  const options = { random: systemRandom, now: () => 1_800_000_000n };
  try {
    const old = new FaultyDevice(devices[2]!, [{ kind: 'write-error' }]);
    const writer = new FilesystemWriter(openMembers([devices[0]!, devices[1]!, old]), options);
    const plan = planReplace(writer.filesystem, 2, devices[3]!);
    expect(() => [...replaceSteps(writer, plan, devices[3]!, { ...options, signatures: [] })]).toThrow('EIO');
  } finally {
    for (const device of devices) device.close();
  }
  const { stderr } = await run('ls', [`${left}:${c}:${fresh}`]);
  expect(stderr).toMatch(/`bcachefs device replace FS \S+c\.img \S+fresh\.img` finishes it/);
});
