import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NewFile } from './new-file.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-new-file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (text: string) => new TextEncoder().encode(text);

test('is there once it is whole, with its permissions', () => {
  const path = join(folder, 'x');
  const file = new NewFile(path, { overwrite: false, mode: 0o600 });
  file.setSize(8192);
  file.write(4096, bytes('contents'));
  expect(existsSync(path)).toBe(false);
  file.commit();
  expect(readdirSync(folder)).toEqual(['x']);
  expect(readFileSync(path, 'latin1').slice(4096, 4104)).toBe('contents');
  expect(statSync(path).size).toBe(8192);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('what is discarded leaves nothing', () => {
  const file = new NewFile(join(folder, 'x'), { overwrite: false });
  file.write(0, bytes('half'));
  file.discard();
  file.discard();
  expect(readdirSync(folder)).toEqual([]);
});

test('another file is kept, also one that came meanwhile', () => {
  const path = join(folder, 'x');
  const file = new NewFile(path, { overwrite: false });
  writeFileSync(path, 'other');
  expect(() => file.commit()).toThrow(`${path} is there already (--force overwrites it)`);
  file.discard();
  expect(() => new NewFile(path, { overwrite: false })).toThrow('is there already');
  expect(readFileSync(path, 'utf8')).toBe('other');
  expect(readdirSync(folder)).toEqual(['x']);
});

test('overwriting keeps the old file until the new one is whole; a link stays a link', () => {
  writeFileSync(join(folder, 'real'), 'old');
  symlinkSync('real', join(folder, 'link'));
  const file = new NewFile(join(folder, 'link'), { overwrite: true });
  file.write(0, bytes('new'));
  expect(readFileSync(join(folder, 'real'), 'utf8')).toBe('old');
  file.commit();
  expect(readFileSync(join(folder, 'real'), 'utf8')).toBe('new');
  expect(readdirSync(folder).toSorted()).toEqual(['link', 'real']);
});

test('only files are overwritten', () => {
  mkdirSync(join(folder, 'x'));
  expect(() => new NewFile(join(folder, 'x'), { overwrite: true })).toThrow('only files are overwritten');
  expect(() => new NewFile('/dev/null', { overwrite: true })).toThrow('only files are overwritten');
});

test('a folder that is not there', () => {
  expect(() => new NewFile(join(folder, 'no', 'x'), { overwrite: false })).toThrow(
    expect.objectContaining({ name: 'DeviceError', kind: 'missing' }),
  );
});

test.skipIf(!existsSync('/dev/full'))('a full disk is reported as such', () => {
  const file = new NewFile(join(folder, 'x'), { overwrite: false });
  // Nearly no filesystem takes a file of eight exabytes.
  expect(() => file.setSize(Number.MAX_SAFE_INTEGER)).toThrow(expect.objectContaining({ name: 'DeviceError' }));
  file.discard();
});

test('what somebody else puts under the temporary name does not get the name', () => {
  const path = join(folder, 'new');
  const file = new NewFile(path, { overwrite: false });
  file.write(0, Uint8Array.of(1));
  const [temporary = ''] = readdirSync(folder).filter(name => name.startsWith('new.unfinished'));
  writeFileSync(join(folder, 'victim'), 'secret');
  unlinkSync(join(folder, temporary));
  symlinkSync('victim', join(folder, temporary));
  expect(() => file.commit()).toThrow('something else changes its folder');
  file.discard();
  expect(existsSync(path)).toBe(false);
  expect(readFileSync(join(folder, 'victim'), 'utf8')).toBe('secret');
});

test.skipIf(process.geteuid?.() !== 0)(
  'a symlink that another user put there does not choose what is overwritten',
  () => {
    const home = join(folder, 'home');
    mkdirSync(home);
    chownSync(home, 54_321, 54_321);
    writeFileSync(join(folder, 'victim'), 'secret');
    symlinkSync(join(folder, 'victim'), join(home, 'out'));
    expect(() => new NewFile(join(home, 'out'), { overwrite: true })).toThrow('another user could have put there');
    expect(readdirSync(home)).toEqual(['out']);
  },
);
