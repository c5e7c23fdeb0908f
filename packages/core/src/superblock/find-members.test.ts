// From words to members: lists, folders, links, folders with several filesystems, copies of one member, and members that are gone or stale.

import {
  copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testImageContents } from '../../../../test/support/images.ts';
import { openDevice } from '../device/file-device.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { editSuperblock } from './edit.ts';
import { findFilesystems, findMembers, listedPaths, memberPaths } from './find-members.ts';
import { type MemberSet, memberText, missingText, openMembers, staleMembers } from './member-set.ts';
import { writeSuperblocks } from './write.ts';

const BASIC = 'f51f9d0c-f950-4a13-98ec-f8bd38787ce1';
const MULTI = '54bb44e5-2386-4620-a354-4c73a54c682b';

let folder = '';
let basic = '';
let multi: readonly [string, string] = ['', ''];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-members-'));
  basic = join(folder, 'basic.img');
  multi = [join(folder, 'multi.dev0.img'), join(folder, 'multi.dev1.img')];
  writeFileSync(basic, testImageContents('basic')[0]!);
  for (const [i, contents] of testImageContents('multi').entries()) writeFileSync(multi[i]!, contents);
  writeFileSync(join(folder, 'notes.txt'), 'not a member');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A folder inside of the first one, for what a single test needs. */
function subfolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

/** The files in the folder that this process has open, as far as the system reports them. */
function openFiles(): readonly string[] {
  if (process.platform !== 'linux') return [];
  const links = readdirSync('/proc/self/fd').map(fd => `/proc/self/fd/${fd}`);
  return links.flatMap(link => (existsSync(link) ? [readlinkSync(link)] : [])).filter(path => path.startsWith(folder));
}

/** The names of a set's devices; closes them. */
function namesOf(set: MemberSet): readonly string[] {
  for (const { device } of set.members) device.close();
  return set.members.map(({ device }) => device.name);
}

describe('paths of members', () => {
  test('lists are taken apart, folders replaced by the members in them', () => {
    expect(memberPaths(['/dev/one:/dev/two', 'three'])).toEqual(['/dev/one', '/dev/two', 'three']);
    const own = subfolder('paths');
    const colon = join(own, 'a:b.img');
    writeFileSync(colon, 'x');
    expect(memberPaths([colon])).toEqual([colon]);
    expect(() => memberPaths([own])).toThrow(`no member of a bcachefs filesystem is in ${own}`);
    expect(memberPaths([folder])).toEqual([basic, ...multi]);
  });

  test.each([
    ['win32', 'C:\\x.img', ['C:\\x.img']],
    ['win32', 'c:/x.img', ['c:/x.img']],
    ['win32', 'C:\\x.img:D:/y.img:z.img', ['C:\\x.img', 'D:/y.img', 'z.img']],
    ['win32', 'a.img:C:\\x.img', ['a.img', 'C:\\x.img']],
    ['win32', '\\\\?\\C:\\x.img:\\\\.\\PhysicalDrive1', ['\\\\?\\C:\\x.img', '\\\\.\\PhysicalDrive1']],
    ['win32', 'a:b', ['a', 'b']],
    ['linux', 'a:/dev/sdb', ['a', '/dev/sdb']],
    ['darwin', '/dev/disk2:/dev/disk3', ['/dev/disk2', '/dev/disk3']],
  ] as const)('on %s, %s', (platform, word, paths) => {
    expect(listedPaths(word, { platform, exists: () => false })).toEqual(paths);
    expect(listedPaths(word, { platform, exists: () => true })).toEqual([word]);
  });

  test('a file that is named twice is one member, under its first name', () => {
    const own = subfolder('links');
    const link = join(own, 'link.img');
    symlinkSync(basic, link);
    expect(memberPaths([link, basic, `${folder}/./basic.img`])).toEqual([link]);
    expect(memberPaths([`${basic}:${link}`, own])).toEqual([basic]);
    expect(memberPaths(['missing', 'missing'])).toEqual(['missing']);
  });
});

describe('the members of one filesystem', () => {
  test('in a folder', () => {
    const own = subfolder('one');
    const copies = multi.map((path, i) => {
      const copy = join(own, `${1 - i}.img`);
      copyFileSync(path, copy);
      return copy;
    });
    const set = findMembers([own]);
    expect(set.members.map(({ sb }) => sb.dev_idx)).toEqual([1, 0]);
    expect(namesOf(set).toSorted()).toEqual(copies.toSorted());
  });

  test('of several, a UUID chooses', () => {
    const list = `${BASIC} (label basic): ${basic}; ${MULTI}: ${multi.join(', ')}`;
    expect(() => findMembers([folder])).toThrow(UsageError);
    expect(() => findMembers([folder])).toThrow(`the devices belong to 2 filesystems: ${list}; choose one with --uuid`);
    expect(namesOf(findMembers([folder], { uuid: MULTI.toUpperCase() }))).toEqual(multi);
    expect(namesOf(findMembers([...multi, basic], { uuid: BASIC }))).toEqual([basic]);
    const other = '01234567-89ab-cdef-0123-456789abcdef';
    expect(() => findMembers([folder], { uuid: other })).toThrow(
      `no device belongs to filesystem ${other}, only to ${list}`,
    );
    expect(findFilesystems([multi[1], basic, multi[0]]).map(namesOf)).toEqual([[multi[1], multi[0]], [basic]]);
  });

  test('two filesystems of one UUID are kept apart', () => {
    const own = subfolder('twins');
    const copies = [basic, multi[0]].map((path, i) => {
      const copy = join(own, `${i}.img`);
      copyFileSync(path, copy);
      return copy;
    });
    const device = openDevice(copies[0]!, { write: true });
    writeSuperblocks(openMembers([device]).members.map(({ sb }) => ({ device, sb: { ...sb, user_uuid: MULTI } })));
    device.close();
    expect(() => findMembers([own], { uuid: MULTI })).toThrow(
      `2 filesystems have this UUID: ${MULTI} (label basic): ${copies[0]}; ${MULTI}: ${copies[1]}; name the devices of one`,
    );
  });

  test('copies of one member are an error that names both', () => {
    const copy = join(subfolder('copies'), 'copy.img');
    copyFileSync(multi[0], copy);
    expect(() => findMembers([multi[0], multi[1], copy])).toThrow(
      `${multi[0]} and ${copy} both are member 0 of filesystem ${MULTI}: one is a copy of the other`,
    );
  });

  test('a device that cannot be read is left out only where a UUID says what is looked for', () => {
    const own = subfolder('unreadable');
    const broken = join(own, 'broken.img');
    const contents = testImageContents('basic')[0]!.slice(0, 1 << 20);
    contents.fill(0xff, 4096 + 200); // the magic of the first superblock stays
    writeFileSync(broken, contents);
    copyFileSync(multi[0], join(own, 'multi.img'));
    const unreadable: string[] = [];
    const onUnreadable = (error: Error) => unreadable.push(error.message);
    expect(() => findMembers([own], { onUnreadable })).toThrow(CorruptError);
    expect(() => findMembers([own], { uuid: MULTI })).toThrow(CorruptError);
    expect(unreadable).toEqual([]);
    expect(namesOf(findMembers([own], { uuid: MULTI, onUnreadable }))).toEqual([join(own, 'multi.img')]);
    expect(unreadable).toEqual([expect.stringContaining(broken)]);
  });

  test('nothing stays open after an error', () => {
    expect(() => findMembers([folder])).toThrow(UsageError);
    expect(() => findMembers([folder], { uuid: '01234567-89ab-cdef-0123-456789abcdef' })).toThrow(UsageError);
    expect(openFiles()).toEqual([]);
    const set = findMembers([folder], { uuid: BASIC });
    expect(openFiles()).toEqual(process.platform === 'linux' ? [basic] : []);
    namesOf(set);
    expect(openFiles()).toEqual([]);
  });
});

describe('members that are not as they should be', () => {
  const devices = () =>
    testImageContents('multi').map((bytes, i) => MemoryDevice.from(bytes, { name: `multi.dev${i}.img` }));

  test('missing ones are named by index, UUID and label', () => {
    const [a, b] = devices();
    const whole = openMembers([a!, b!]);
    const uuids = [0, 1].map(index => memberText(whole.newest.sb, index).match(/uuid ([0-9a-f-]{36})/)?.[1]);
    expect(new Set(uuids).size).toBe(2);
    expect(missingText(openMembers([b!]))).toBe(`of 2 members, member 0 (uuid ${uuids[0]}, label ssd.fast) is missing`);
    expect(memberText(whole.newest.sb, 7)).toBe('member 7');
  });

  test('one that missed an edit is stale', () => {
    const [a, b] = devices();
    expect(staleMembers(openMembers([a!, b!]))).toEqual([]);
    editSuperblock(openMembers([b!]), sb => sb, { now: 0n, allowMissing: true });
    const set = openMembers([a!, b!]);
    expect(staleMembers(set).map(({ device }) => device.name)).toEqual(['multi.dev0.img']);
    expect(set.newest.device.name).toBe('multi.dev1.img');
  });

  test('those of two filesystems are not one set', () => {
    const other = MemoryDevice.from(testImageContents('basic')[0]!, { name: 'basic.img' });
    expect(() => openMembers([...devices(), other])).toThrow(
      `the devices belong to 2 filesystems: ${MULTI}: multi.dev0.img, multi.dev1.img; ${BASIC} (label basic): basic.img; name those of one`,
    );
  });
});
