import { describe, expect, test } from 'vitest';
import { decodeAcl } from '../ondisk/keys/xattr.ts';
import { type Acl, aclForSystemCall, aclModeBits, chmodAcl, encodeAcl, isOnlyMode, maskAcl, parseAcl } from './acl.ts';

const acl = (...entries: readonly (readonly [string, number, number?])[]): Acl =>
  entries.map(([tag, perm, id]) => (id === undefined ? { tag, perm } : { tag, id, perm }));

const plain = acl(['user_obj', 7], ['group_obj', 5], ['other', 4]);
const named = acl(['user_obj', 7], ['user', 6, 1000], ['group_obj', 5], ['mask', 7], ['other', 1]);

const permsOf = (entries: Acl): string => entries.map(({ tag, perm }) => `${tag}:${perm}`).join(' ');

describe('ACLs', () => {
  test('from the system call to the disk and back', () => {
    for (const entries of [plain, named]) {
      expect(parseAcl(aclForSystemCall(entries))).toEqual(entries);
      expect(decodeAcl(encodeAcl(entries))).toEqual(entries);
    }
  });

  test('what a kernel refuses', () => {
    const refused = (entries: Acl) => () => parseAcl(aclForSystemCall(entries));
    expect(() => parseAcl(Uint8Array.of(1, 0, 0, 0))).toThrow('version 1');
    expect(() => parseAcl(Uint8Array.of(2, 0, 0))).toThrow('3 bytes');
    expect(refused(acl(['user_obj', 7], ['other', 0]))).toThrow('owner, group or others are missing');
    expect(refused(acl(['group_obj', 7], ['user_obj', 7], ['other', 0]))).toThrow('out of order');
    expect(refused(acl(['user_obj', 7], ['user_obj', 7], ['group_obj', 7], ['other', 0]))).toThrow('out of order');
    expect(refused(acl(['user_obj', 8], ['group_obj', 7], ['other', 0]))).toThrow('permissions 8');
    expect(refused(named.filter(({ tag }) => tag !== 'mask'))).toThrow('without a mask');
  });

  test('the mode that they are: with a mask, that is its middle', () => {
    expect([aclModeBits(plain), isOnlyMode(plain)]).toEqual([0o754, true]);
    expect([aclModeBits(named), isOnlyMode(named)]).toEqual([0o771, false]);
  });

  test('chmod sets owner, mask or group, and others', () => {
    expect(permsOf(chmodAcl(named, 0o640))).toBe('user_obj:6 user:6 group_obj:5 mask:4 other:0');
    expect(permsOf(chmodAcl(plain, 0o1777))).toBe('user_obj:7 group_obj:7 other:7');
  });

  test('a new file gets no more than its mode and the default ACL allow', () => {
    expect(permsOf(maskAcl(named, 0o100644))).toBe('user_obj:6 user:6 group_obj:5 mask:4 other:0');
    expect(permsOf(maskAcl(named, 0o777))).toBe(permsOf(named));
    expect(permsOf(maskAcl(plain, 0o640))).toBe('user_obj:6 group_obj:4 other:0');
  });
});
