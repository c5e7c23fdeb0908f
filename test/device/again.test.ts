// device add and device replace, cut off by a disk that fails, and asked for once more with the same words: they complete what was begun. And
// what `device replace` refuses, with nothing written.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  addMembers,
  type BlockDevice,
  DeviceError,
  FaultyDevice,
  FilesystemWriter,
  loadChecksums,
  openDevice,
  openMembers,
  planAdd,
  planReplace,
  replaceSteps,
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { copySparse, hashFile } from '../support/sparse.ts';

const folder = mkdtempSync(join(tmpdir(), 'device-again-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const [a, b, fresh] = [path('a.img'), path('b.img'), path('fresh.img')];
const contents = 'what it holds\n'.repeat(100_000);

beforeAll(async () => {
  await loadChecksums();
  writeFileSync(path('file'), contents);
  await succeed('format', ['-q', '--fs_size=32M', path('kept-a.img'), path('kept-b.img')]);
  await succeed('put', ['-q', `${path('kept-a.img')}:${path('kept-b.img')}`, path('file'), 'file']);
}, patient(60_000));

beforeEach(() => {
  for (const name of ['a.img', 'b.img']) copySparse(path(`kept-${name}`), path(name));
  rmSync(fresh, { force: true });
  writeFileSync(fresh, '');
  truncateSync(fresh, 48 * MIB);
});

const options = { random: systemRandom, now: () => 1_800_000_000n };

/** Runs `act` with the images open and one of them failing from its n-th write on. @returns whether it failed */
function failing(which: string, writes: number, act: (writer: FilesystemWriter, device: BlockDevice) => void): boolean {
  const devices = [a, b, fresh].map(image => {
    const device = openDevice(image, { write: true });
    return image === which ? new FaultyDevice(device, [{ kind: 'write-error', skip: writes }]) : device;
  });
  try {
    act(new FilesystemWriter(openMembers(devices.slice(0, 2)), options), devices[2]!);
    return false;
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(DeviceError);
    return true;
  } finally {
    for (const device of devices) device.close();
  }
}

async function isWhole(members: string): Promise<void> {
  expect(await run('fsck', ['-n', ...members.split(':')])).toMatchObject({ exitCode: 0 });
  const { stdoutBytes } = await runForBytes('cat', [members, 'file']);
  expect(new TextDecoder().decode(stdoutBytes) === contents).toBe(true);
}

/** Before the first member hears of the new one, between the members, before the commit, in it, and at the end. */
test.each([
  [a, 0],
  [b, 0],
  [b, 6],
  [a, 9],
  [a, 14],
])('an addition that was cut off: %s fails after %d writes', { timeout: patient(60_000) }, async (which, writes) => {
  const joining = { durability: 1, discard: true, dataAllowed: 0b11100, signatures: [] };
  const hasFailed = failing(which, writes, (writer, device) => {
    const plan = planAdd(writer.filesystem, [{ ...joining, device }], { random: systemRandom, nowSeconds: 0n });
    addMembers(writer, plan, options);
  });
  expect(hasFailed).toBe(true);
  await succeed('device add', ['-y', `${a}:${b}`, fresh]);
  const { devices } = JSON.parse(await succeed('device list', ['--json', a, b, fresh])) as { devices: unknown[] };
  expect(devices).toHaveLength(3);
  await isWhole(`${a}:${b}:${fresh}`);
  expect(await succeed('device add', ['-y', `${a}:${b}`, fresh])).toContain('is member 2 already');
});

describe('replace', () => {
  /** In the copying, when the old device is to be wiped, in the middle of that, when the others hear of it, and in the growing. */
  test.each([
    [fresh, 3],
    [b, 0],
    [b, 1],
    [a, 0],
    [a, 9],
  ])('cut off: %s fails after %d writes', { timeout: patient(60_000) }, async (which, writes) => {
    const hasFailed = failing(which, writes, (writer, device) => {
      const plan = planReplace(writer.filesystem, 1, device);
      for (const _ of replaceSteps(writer, plan, device, { ...options, signatures: [] }));
    });
    expect(hasFailed).toBe(true);
    const words = ['-y', `${a}:${b}`, b, fresh];
    await succeed('device replace', words);
    const list = await succeed('device list', ['--json', a, fresh]);
    const { devices } = JSON.parse(list) as { devices: { path: string; size: number }[] };
    expect(devices.map(({ size }) => size)).toEqual([32 * MIB, 48 * MIB]);
    await isWhole(`${a}:${fresh}`);
    expect(await succeed('device replace', words)).toContain('nothing is left to do');
  });

  test('the old device was used after all: it is copied once more', { timeout: patient(60_000) }, async () => {
    failing(b, 0, (writer, device) => {
      const plan = planReplace(writer.filesystem, 1, device);
      for (const _ of replaceSteps(writer, plan, device, { ...options, signatures: [] }));
    });
    await succeed('put', ['-q', `${a}:${b}`, path('file'), 'later']);
    expect(await succeed('device replace', ['-y', `${a}:${b}`, '1', fresh])).toContain('will be copied');
    await isWhole(`${a}:${fresh}`);
    expect(await succeed('ls', [`${a}:${fresh}`])).toContain('later');
  });

  test('an undo file puts everything back', { timeout: patient(60_000) }, async () => {
    const hashes = () => [a, b, fresh].map(name => hashFile(name));
    const before = hashes();
    await succeed('device replace', ['-y', `--undo_file=${path('undo')}`, `${a}:${b}`, b, fresh]);
    await isWhole(`${a}:${fresh}`);
    await succeed('undo', [path('undo'), a, b, fresh]);
    expect(hashes()).toEqual(before);
  });

  test('the new device was used: the old one is not taken any more, and is wiped', {
    timeout: patient(60_000),
  }, async () => {
    failing(b, 0, (writer, device) => {
      const plan = planReplace(writer.filesystem, 1, device);
      for (const _ of replaceSteps(writer, plan, device, { ...options, signatures: [] }));
    });
    await succeed('put', ['-q', `${a}:${fresh}`, path('file'), 'later']);
    const { exitCode, stderr } = await run('put', ['-q', `${a}:${b}`, path('file'), 'other']);
    expect([exitCode, stderr]).toMatchObject([2, expect.stringContaining('another device has its place')]);
    const both = await run('ls', [`${a}:${b}:${fresh}`]);
    expect(both.stderr).toMatch(/`bcachefs device replace FS \S+b\.img \S+fresh\.img` finishes it/);
    expect(await succeed('device replace', ['-y', `${a}:${b}`, b, fresh])).toContain('has replaced');
    await isWhole(`${a}:${fresh}`);
    expect(await succeed('ls', [`${a}:${fresh}`])).toContain('later');
    expect((await run('show-super', [b])).exitCode).not.toBe(0);
  });

  test('the only member was used after all: it is copied once more', { timeout: patient(60_000) }, async () => {
    await succeed('format', ['-q', '-f', '--fs_size=32M', a]);
    const devices = [a, fresh].map(image => openDevice(image, { write: true }));
    try {
      const old = new FaultyDevice(devices[0]!, [{ kind: 'write-error' }]);
      const writer = new FilesystemWriter(openMembers([old]), options);
      const plan = planReplace(writer.filesystem, 0, devices[1]!);
      expect(() => [...replaceSteps(writer, plan, devices[1]!, { ...options, signatures: [] })]).toThrow('EIO');
    } finally {
      for (const device of devices) device.close();
    }
    await succeed('put', ['-q', a, path('file'), 'file']);
    expect(await succeed('device replace', ['-y', a, '0', fresh])).toContain('will be copied');
    await isWhole(fresh);
  });

  test('what is refused writes nothing', { timeout: patient(60_000) }, async () => {
    const hashes = () => [a, b, fresh].map(name => hashFile(name));
    const refused = async (...words: readonly string[]) => {
      const before = hashes();
      const { exitCode, stderr } = await run('device replace', ['-y', `${a}:${b}`, ...words]);
      expect(hashes()).toEqual(before);
      expect(exitCode).toBe(2);
      return stderr;
    };
    expect(await refused('b.img', a)).toContain('is a member of the filesystem already');
    expect(await refused('7', fresh)).toContain('"7" is not a member');
    await succeed('device resize', ['-y', `${a}:${b}`, b, '48M']);
    truncateSync(fresh, 40 * MIB);
    expect(await refused('b.img', fresh)).toMatch(
      /has 41943040 bytes, and .*b\.img has 50331648: .*`device resize FS .*b\.img 41943040`/,
    );
    truncateSync(fresh, 9 * MIB);
    expect(await refused('b.img', fresh)).toMatch(/cannot be made smaller than \d+/);
    await succeed('format', ['-q', '-f', '--fs_size=48M', fresh]);
    expect(await refused('b.img', fresh)).toMatch(/contains bcachefs .*; --force overwrites it/);
  });
});
