// The everyday door over images that a kernel filled, and one that we damage.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testImageContents } from '../../../../test/support/images.ts';
import { FaultyDevice } from '../device/faulty-device.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { FileError } from '../fs/file-error.ts';
import { DeviceError, UsageError } from '../ondisk/errors.ts';
import { Bcachefs } from './bcachefs.ts';

const devicesOf = (name: string) =>
  testImageContents(name).map((contents, nr) => MemoryDevice.from(contents, { name: `${name}.${nr}` }));
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function codeOf(ask: () => unknown): string | undefined {
  try {
    ask();
  } catch (thrown) {
    if (thrown instanceof UsageError) return thrown.code;
    throw thrown;
  }
  return undefined;
}

describe('files by path', () => {
  let fs: Bcachefs;
  beforeAll(async () => {
    fs = await Bcachefs.openDevices(devicesOf('basic'));
  });
  afterAll(() => fs.close());

  test('stat follows links and lstat does not; slashes around and `..` do not matter', async () => {
    const linked = await Bcachefs.openDevices(devicesOf('upgraded'));
    expect(linked.stat('symlink')).toEqual(linked.stat('/directory/../directory//file-4'));
    expect(linked.lstat('symlink')).toMatchObject({ type: 'lnk', nlink: 1 });
    linked.close();
    expect(fs.lstat('links/short')).toMatchObject({ type: 'lnk', nlink: 2 });
    expect(fs.stat('')).toEqual(fs.stat('/'));
    expect(fs.stat(new TextEncoder().encode('attributes/file')).sizeBytes).toBe(500n);
  });

  test('readdir names what walk finds one step down, in the same order', () => {
    const names = fs.readdir('links').map(({ name }) => name);
    const walked = [...fs.walk('/links/')];
    expect(walked[0]).toMatchObject({ path: 'links', name: 'links', depth: 0, stat: { type: 'dir' } });
    expect(walked.slice(1).map(({ name }) => name)).toEqual(names);
    expect(walked.slice(1).map(({ path }) => path)).toEqual(names.map(name => `links/${name}`));
    expect(fs.readdir('subvolumes').find(({ name }) => name === 'before')?.type).toBe('subvol');
  });

  test('a walk goes only where it is let', () => {
    const all = [...fs.walk()];
    const top = [...fs.walk('', { descend: ({ depth }) => depth === 0 })];
    expect(top.map(({ path }) => path)).toEqual(['', ...fs.readdir('').map(({ name }) => name)]);
    expect(all.length).toBeGreaterThan(top.length);
    for (const { path, pathBytes, stat } of all) {
      expect(fs.lstat(path)).toEqual(stat);
      expect(fs.lstat(pathBytes)).toEqual(stat);
    }
  });

  test('readFile, read and chunks give the same bytes', () => {
    const whole = fs.readFile('large/text');
    expect(whole.length).toBe(65_536);
    expect(fs.readFile('large/text', { from: 1000, to: 1100 })).toEqual(whole.subarray(1000, 1100));
    expect(fs.readFile('large/text', { from: 70_000 })).toHaveLength(0);
    const end = new Uint8Array(100);
    expect(fs.read('large/text', 65_500, end)).toBe(36);
    expect(end.subarray(0, 36)).toEqual(whole.subarray(65_500));
    const joined = new Uint8Array(whole.length);
    for (const chunk of fs.chunks('large/text')) if (chunk.kind === 'data') joined.set(chunk.bytes, chunk.offset);
    expect(joined).toEqual(whole);
  });

  test('a hole is one for chunks and zeroes for readFile', () => {
    const sparse = [...fs.walk()].find(({ stat, path }) => stat?.type === 'reg' && [...fs.chunks(path)].some(isHole))!;
    const hole = [...fs.chunks(sparse.path)].find(isHole)!;
    const bytes = fs.readFile(sparse.path, { from: hole.offset, to: hole.offset + Math.min(hole.length, 4096) });
    expect(bytes.every(byte => byte === 0)).toBe(true);
  });

  test('links and attributes', () => {
    expect(fs.readlink('links/short')).toBe('small/f0');
    expect([...fs.xattrs('attributes')].map(([name, value]) => [name, text(value)])).toEqual([
      ['user.on-directory', 'yes'],
    ]);
  });

  test('what cannot be done has an errno', () => {
    expect(fs.exists('links/many')).toBe(true);
    expect(fs.exists('links/dangling')).toBe(false);
    expect(fs.exists('small/f0/below')).toBe(false);
    expect(codeOf(() => fs.stat('nowhere'))).toBe('ENOENT');
    expect(codeOf(() => fs.stat('small/f0/'))).toBe('ENOTDIR');
    expect(codeOf(() => fs.readdir('small/f0'))).toBe('ENOTDIR');
    expect(codeOf(() => fs.readFile('small'))).toBe('EISDIR');
    expect(codeOf(() => [...fs.chunks('small')])).toBe('EISDIR');
    expect(codeOf(() => fs.readlink('small/f0'))).toBe('EINVAL');
    expect(codeOf(() => fs.read('small/f0', -1, new Uint8Array(1)))).toBe('EINVAL');
    expect(codeOf(() => fs.readFile('small/f0', { to: 1.5 }))).toBe('EINVAL');
    expect(codeOf(() => fs.view({ subvolume: 77 }))).toBe('ENOENT');
    expect(codeOf(() => fs.view({ subvolume: 'nowhere' }))).toBe('ENOENT');
    expect(() => fs.stat('nowhere')).toThrow(FileError);
  });

  test('subvolumes have paths, and each is a root of its own', () => {
    const found = fs.subvolumes();
    expect(found.map(({ id, path }) => [id, path])).toContainEqual([1, '']);
    for (const { path, id } of found) {
      const view = fs.view({ subvolume: path! });
      expect(view.stat('')).toEqual(fs.stat(path!));
      expect(view.stat('').subvolume).toBe(id);
    }
    const { snapshot } = found.find(({ id }) => id !== 1)!;
    expect(fs.view({ snapshot }).stat('').type).toBe('dir');
  });

  test('the summary and the space that it has', () => {
    const { members, ...summary } = fs.summary;
    expect(summary).toMatchObject({
      label: 'basic',
      version: '1.13',
      isClean: true,
      isEncrypted: false,
      blockBytes: 512,
    });
    expect(members).toMatchObject([{ index: 0, state: 'rw', name: 'basic.0', sizeBytes: 8 * 2 ** 20 }]);
    const { capacityBytes, usedBytes, freeBytes, availableBytes, inodes } = fs.usage();
    expect(usedBytes + freeBytes).toBe(capacityBytes);
    expect(availableBytes).toBeLessThanOrEqual(freeBytes);
    expect(inodes).toBeGreaterThan(100n);
  });
});

const isHole = ({ kind }: { readonly kind: string }) => kind === 'hole';

describe('opening', () => {
  test('by paths, and an unclean filesystem as after replay', async () => {
    const fs = await Bcachefs.openDevices(devicesOf('unclean'));
    expect(fs.summary.isClean).toBe(false);
    expect(text(fs.readFile('kept'))).toBe('on disk before the power went\n');
    fs.close();
  });

  test('a passphrase is needed, wrong, or right', async () => {
    const open = (passphrase?: string) => Bcachefs.openDevices(devicesOf('encrypted'), { passphrase });
    await expect(open()).rejects.toMatchObject({ code: 'passphrase_needed' });
    await expect(open('wrong')).rejects.toMatchObject({ code: 'wrong_passphrase' });
    const fs = await open('correct horse');
    expect(fs.summary.isEncrypted).toBe(true);
    expect(text(fs.readFile('secret'))).toBe('for nobody else');
    fs.close();
  });

  test('closes what it was given when it fails, and when it is closed', async () => {
    let closed = 0;
    const counted = (device: MemoryDevice) => Object.assign(device, { close: () => void closed++ });
    const [first, second] = devicesOf('multi') as [MemoryDevice, MemoryDevice];
    await expect(Bcachefs.openDevices([counted(first)])).rejects.toMatchObject({ code: 'member_missing' });
    expect(closed).toBeGreaterThan(0);
    closed = 0;
    const fs = await Bcachefs.openDevices([counted(second), counted(first)]);
    expect(closed).toBe(0);
    fs.close();
    expect(closed).toBe(2);
    await expect(Bcachefs.openDevices([])).rejects.toMatchObject({ code: 'member_missing' });
  });

  test('degraded: what a copy is left of is read', async () => {
    const [, second] = devicesOf('multi') as [MemoryDevice, MemoryDevice];
    const whole = await Bcachefs.openDevices(devicesOf('multi'));
    const half = await Bcachefs.openDevices([second], { degraded: true });
    expect(half.summary.members.map(({ name }) => name)).toEqual([undefined, 'multi.1']);
    expect(half.readFile('large/text')).toEqual(whole.readFile('large/text'));
    half.close();
    whole.close();
  });
});

test('what is lost is thrown without a listener, and a finding with one', async () => {
  const [disk] = devicesOf('basic') as [MemoryDevice];
  const sound = await Bcachefs.openDevices([disk]);
  const wanted = sound.readFile('large/random');
  const at = Buffer.from(disk.toBytes().buffer).indexOf(wanted.subarray(0, 512));
  expect(at).toBeGreaterThan(0);
  const fs = await Bcachefs.openDevices([new FaultyDevice(disk, [{ kind: 'read-error', offset: at, length: 512 }])]);
  expect(() => fs.readFile('large/random')).toThrow(DeviceError);
  const findings: string[] = [];
  const bytes = fs.readFile('large/random', { onFinding: ({ kind, offset }) => findings.push(`${kind} ${offset}`) });
  expect(findings).toEqual(['lost 0']);
  expect(bytes).toHaveLength(wanted.length);
  expect(bytes.subarray(0, 512).every(byte => byte === 0)).toBe(true);
  expect(bytes.subarray(-512)).toEqual(wanted.subarray(-512));
});
