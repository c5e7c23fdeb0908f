import {
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { describeError } from '../errors.ts';
import { HostCallError, loadNativeCalls, type NativeCalls } from './native-calls.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-native-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const loaded = loadNativeCalls();
const native = loaded as NativeCalls;
const file = join(folder, 'file');

function refused(call: () => unknown): HostCallError {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof HostCallError) return thrown;
    throw thrown;
  }
  throw new Error('nothing was refused');
}

function takesXattrs(): boolean {
  writeFileSync(file, '');
  try {
    native.setXattr(bytes(file), bytes('user.try'), bytes(''));
    return true;
  } catch (thrown) {
    if (thrown instanceof HostCallError && thrown.code === 'EOPNOTSUPP') return false;
    throw thrown;
  }
}

test.skipIf(loaded === undefined)('times in nanoseconds, of a symlink too, also before 1970', () => {
  const link = join(folder, 'link');
  symlinkSync('nowhere', link);
  native.setTimes(bytes(link), 1_700_000_000_123_456_789n, -1n);
  const { atimeNs, mtimeNs } = lstatSync(link, { bigint: true });
  expect([atimeNs, mtimeNs]).toEqual([1_700_000_000_123_456_789n, -1n]);
});

test.skipIf(loaded === undefined || !takesXattrs())('attributes: set, listed, read, removed', () => {
  const path = bytes(file);
  native.removeXattr(path, bytes('user.try'));
  for (const [name, value] of [
    ['user.a', ''],
    ['user.b', 'x\0y'],
  ] as const) {
    native.setXattr(path, bytes(name), bytes(value));
  }
  const own = native.xattrNames(path).map(name => new TextDecoder().decode(name));
  expect(own.filter(name => name.startsWith('user.')).toSorted()).toEqual(['user.a', 'user.b']);
  expect(native.xattr(path, bytes('user.a'))).toEqual(bytes(''));
  expect(native.xattr(path, bytes('user.b'))).toEqual(bytes('x\0y'));
  expect(native.xattr(path, bytes('user.none'))).toBeUndefined();
});

test.skipIf(loaded === undefined)('fifos', () => {
  const path = join(folder, 'fifo');
  native.makeNode(bytes(path), 0o010600, { major: 0, minor: 0 });
  expect(lstatSync(path).isFIFO()).toBe(true);
});

test.skipIf(loaded === undefined)('data and holes', () => {
  const path = join(folder, 'sparse');
  const fd = openSync(path, 'w+');
  try {
    const mib = 2 ** 20;
    writeSync(fd, 'x', 4 * mib);
    expect(native.nextData(fd, 0)).toBeOneOf([0, 4 * mib]);
    expect(native.nextHole(fd, 4 * mib)).toBe(4 * mib + 1);
    expect(native.nextData(fd, 5 * mib)).toBeUndefined();
    if (native.punchHole(fd, 4 * mib, mib)) expect(readFileSync(path).every(byte => byte === 0)).toBe(true);
  } finally {
    closeSync(fd);
  }
});

test.skipIf(loaded === undefined)(
  'what the system refuses is an error of the system, with its words and the path',
  () => {
    const path = join(folder, 'no');
    const error = refused(() => native.xattrNames(bytes(path)));
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'llistxattr', path });
    expect(describeError(error)).toMatchObject({ kind: 'device', message: `${path}: No such file or directory` });
    expect(refused(() => native.xattrNames(bytes('/etc\0/no'))).code).toBe('EINVAL');
  },
);
