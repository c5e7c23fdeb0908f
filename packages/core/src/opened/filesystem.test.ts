// Opening filesystems: members in any order and by list, missing ones, passphrases; and the documented example.

import { describe, expect, test } from 'vitest';
import { testImageContents, withTestImage } from '../../../../test/support/images.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { bposText } from '../ondisk/bpos.ts';
import { UsageError } from '../ondisk/errors.ts';
import { openMembers } from '../superblock/member-set.ts';
import { filesystemOf, openFilesystem } from './filesystem.ts';

const devicesOf = (name: string) =>
  testImageContents(name).map((bytes, i) => MemoryDevice.from(bytes, { name: `${name}.dev${i}.img` }));
const positions = (filesystem: ReturnType<typeof filesystemOf>) =>
  [...filesystem.btree('inodes').keys()].map(({ k }) => bposText(k.p));

describe('a filesystem', () => {
  test('is opened by paths, and its keys are walked', () =>
    withTestImage('basic', async images => {
      const fs = openFilesystem(images);
      try {
        const found = [];
        for (const key of fs.btree('dirents').keys()) found.push(bposText(key.k.p));
        expect(found.length).toBeGreaterThan(5);
        expect(fs.btree('dirents').name).toBe('dirents');
        expect(fs.btree(63).depth).toBe(0);
        expect([...fs.btree(63).keys()]).toEqual([]);
        expect(fs.replay.from).toBe('clean');
      } finally {
        fs.close();
      }
    }));

  test('does not care for the order of its members', () => {
    const [a, b] = devicesOf('multi');
    const expected = positions(filesystemOf(openMembers([a!, b!])));
    expect(expected.length).toBeGreaterThan(5);
    expect(positions(filesystemOf(openMembers([b!, a!])))).toEqual(expected);
  });

  test('says which member is missing, and reads without it when asked to', () => {
    const [a, b] = devicesOf('multi');
    const whole = positions(filesystemOf(openMembers([a!, b!])));
    const set = openMembers([b!]);
    expect(() => filesystemOf(set)).toThrow(UsageError);
    expect(() => filesystemOf(set)).toThrow(
      /^of 2 members, member 0 \(uuid [0-9a-f-]{36}, label ssd\.fast\) is missing$/,
    );
    expect(positions(filesystemOf(set, { degraded: true }))).toEqual(whole);
    expect(filesystemOf(set, { degraded: true }).textContext().device(0)).toMatchObject({
      name: 'dev-0',
      isOnline: false,
    });
  });

  test('needs its passphrase', () => {
    const set = openMembers(devicesOf('encrypted'));
    const passphrase = (text: string) => new TextEncoder().encode(text);
    expect(() => filesystemOf(set)).toThrow('the filesystem is encrypted: its passphrase is needed');
    expect(() => filesystemOf(set, { passphrase: passphrase('wrong') })).toThrow('wrong passphrase');
    expect(positions(filesystemOf(set, { passphrase: passphrase('correct horse') })).length).toBeGreaterThan(2);
  });

  test('that was not unmounted is read through its journal', () => {
    const filesystem = filesystemOf(openMembers(devicesOf('unclean')));
    expect(filesystem.replay.from).toBe('journal');
    expect(filesystem.replay.overlay.size).toBeGreaterThan(0);
    expect(positions(filesystem).length).toBeGreaterThan(3);
  });
});
