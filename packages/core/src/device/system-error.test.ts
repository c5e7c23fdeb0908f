import { expect, it } from 'vitest';
import { systemError, systemErrorCode } from './system-error.ts';

const nodeError = (code: string, message: string) => Object.assign(new Error(`${code}: ${message}, write`), { code });

it.each([
  ['ENOENT', 'missing'],
  ['EBUSY', 'busy'],
  ['EACCES', 'permission'],
  ['EROFS', 'read-only'],
  ['ENOSPC', 'full'],
  ['EDQUOT', 'full'],
  ['EIO', 'io'],
  ['EWHATEVER', 'io'],
])('%s is kind %s', (code, kind) => {
  expect(systemError('disk.img', 'opening', nodeError(code, 'words')).kind).toBe(kind);
});

it('says what was done where, the reason and what to do next', () => {
  const cause = nodeError('EIO', 'i/o error');
  const error = systemError('/dev/sdb', 'reading 4096 bytes at byte 8192', cause);
  expect(error.message).toBe(
    '/dev/sdb: reading 4096 bytes at byte 8192 failed: i/o error (EIO); ' +
      'the device or its connection may be failing; see the system log',
  );
  expect(error.cause).toBe(cause);
});

it('takes what did not come from the system as it is', () => {
  expect(systemErrorCode(new Error('x'))).toBeUndefined();
  expect(systemErrorCode('x')).toBeUndefined();
  expect(systemError('disk.img', 'opening', 'x').message).toMatch('disk.img: opening failed: x;');
});
