// device add, cut off by a disk that fails, and asked for once more with the same words: it completes what was begun.

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
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { copySparse } from '../support/sparse.ts';

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
