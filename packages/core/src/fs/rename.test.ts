// Names that link and rename refuse, and names that move: between subvolumes, and between directories with options of their own. What is
// refused has changed nothing.

import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { FileEdit } from '../change/file-edit.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { checkInvariants } from '../check/check.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { findingText } from '../report/finding.ts';
import type { FileRef } from './edit-state.ts';

beforeAll(loadChecksums);

const name = (text: string): Uint8Array => new TextEncoder().encode(text);
const REGULAR = 0o100644;
const DIRECTORY = 0o040755;

let writer: FilesystemWriter;
let edit: FileEdit;
let root: FileRef;
/** With an option of its own, which `file` and `directory` in the root do not have. */
let replicated: FileRef;
let volume: FileRef;

beforeEach(() => {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB });
  const made = writerOn(devices, undefined, 1);
  writer = made.writer;
  const first = new FileEdit(writer, made.options);
  root = first.files.root();
  for (const [text, mode] of [
    ['file', REGULAR],
    ['other', REGULAR],
    ['directory', DIRECTORY],
    ['replicated', DIRECTORY],
  ] as const) {
    first.files.create(root, name(text), { mode });
  }
  replicated = first.files.lookup(root, name('replicated'))!;
  first.files.setOption(replicated, 'data_replicas', 2);
  volume = first.files.createSubvolume(root, name('volume'));
  first.files.create(volume, name('inside'), { mode: REGULAR });
  first.files.create(first.files.lookup(root, name('directory'))!, name('below'), { mode: DIRECTORY });
  first.commit();
  edit = new FileEdit(writer, made.options);
});

const at = (text: string, directory = root): FileRef => edit.files.lookup(directory, name(text))!;
const namesIn = (directory: FileRef): string[] =>
  [...edit.files.entries(directory)].map(entry => new TextDecoder().decode(entry.name)).sort();

function expectRefusal(code: string, change: () => void): void {
  const before = [namesIn(root), namesIn(volume), namesIn(replicated)];
  const inodes = [root, volume, replicated, at('file'), at('directory')].map(file => ({ ...edit.files.inode(file) }));
  const changes = edit.tx.size;
  expect(change).toThrow(expect.objectContaining({ code }));
  expect([namesIn(root), namesIn(volume), namesIn(replicated)]).toEqual(before);
  expect([root, volume, replicated, at('file'), at('directory')].map(file => edit.files.inode(file))).toEqual(inodes);
  expect(edit.tx.size).toBe(changes);
}

function expectSound(): void {
  edit.commit();
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
}

describe('link', () => {
  test('into another subvolume is EXDEV', () =>
    expectRefusal('EXDEV', () => edit.files.link(volume, name('new'), at('file'))));

  test('into a directory whose options the file would have to take on is EXDEV', () =>
    expectRefusal('EXDEV', () => edit.files.link(replicated, name('new'), at('file'))));

  test('of a directory is EISDIR', () =>
    expectRefusal('EISDIR', () => edit.files.link(root, name('new'), at('directory'))));

  test('to a name that is taken is EEXIST', () =>
    expectRefusal('EEXIST', () => edit.files.link(root, name('other'), at('file'))));

  test('of a file that has the option of its own is made', () => {
    edit.files.setOption(at('file'), 'data_replicas', 2);
    edit.files.link(replicated, name('new'), at('file'));
    expect(edit.files.inode(at('file')).bi_nlink).toBe(1);
    expectSound();
  });
});

describe('rename', () => {
  const rename = (from: string, toDirectory: FileRef, to: string, options = {}) =>
    edit.files.rename(root, name(from), toDirectory, name(to), options);

  test.each([
    ['a file into another subvolume', 'EXDEV', () => rename('file', volume, 'new')],
    ['a file over one of another subvolume', 'EXDEV', () => rename('file', volume, 'inside')],
    ['a subvolume over a file of another one', 'EXDEV', () => rename('volume', volume, 'inside')],
    ['a directory to where it would get options', 'EXDEV', () => rename('directory', replicated, 'new')],
    ['a subvolume into itself', 'EINVAL', () => rename('volume', volume, 'new')],
    ['a directory into one below', 'EINVAL', () => rename('directory', at('below', at('directory')), 'new')],
    [
      'a directory in exchange with one above',
      'EINVAL',
      () => {
        const above = at('directory');
        edit.files.rename(above, name('below'), root, name('directory'), { exchange: true });
      },
    ],
    ['what is not there', 'ENOENT', () => rename('missing', root, 'new')],
    ['in exchange with what is not there', 'ENOENT', () => rename('file', root, 'missing', { exchange: true })],
    ['over what is there, with noReplace', 'EEXIST', () => rename('file', root, 'other', { noReplace: true })],
    ['a directory over a file', 'ENOTDIR', () => rename('directory', root, 'file')],
    ['a file over a directory', 'EISDIR', () => rename('file', root, 'directory')],
    ['a directory over one with names in it', 'ENOTEMPTY', () => rename('replicated', root, 'directory')],
    ['a directory over a subvolume', 'EISDIR', () => rename('directory', root, 'volume')],
    ['to a name with a slash', 'EINVAL', () => rename('file', root, 'a/b')],
    ['to a name of 256 bytes', 'ENAMETOOLONG', () => rename('file', root, 'x'.repeat(256))],
  ] as const)('%s is %s', (_, code, change) => expectRefusal(code, change));

  test('of a file takes on the options of its new directory', () => {
    const file = at('file');
    rename('file', replicated, 'moved');
    expect(namesIn(replicated)).toEqual(['moved']);
    expect(edit.files.inode(file).bi_data_replicas).toBe(3); // one more than the value
    expectSound();
  });

  test('in exchange gives each file the options of the other directory', () => {
    const inside = edit.files.create(replicated, name('inside'), { mode: REGULAR });
    const file = at('file');
    edit.files.rename(root, name('file'), replicated, name('inside'), { exchange: true });
    expect([at('file'), at('inside', replicated)]).toEqual([inside, file]);
    expect(edit.files.inode(inside).bi_data_replicas).toBe(0);
    expect(edit.files.inode(file).bi_data_replicas).toBe(3);
    expectSound();
  });

  test('in place of a file: what was there is gone', () => {
    const [file, other] = [at('file'), at('other')];
    rename('file', root, 'other');
    expect(at('other')).toEqual(file);
    expect(() => edit.files.inode(other)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expectSound();
  });

  test('of a directory counts in the links of both directories', () => {
    const below = at('below', at('directory'));
    const links = () => [root, at('directory')].map(file => edit.files.inode(file).bi_nlink);
    const [above, own] = links();
    edit.files.rename(at('directory'), name('below'), root, name('moved'));
    expect(at('moved')).toEqual(below);
    expect(links()).toEqual([above! + 1, own! - 1]);
    expectSound();
  });

  test('of a subvolume into a directory of another one', () => {
    const second = edit.files.createSubvolume(root, name('second'));
    rename('volume', second, 'moved');
    expect(edit.files.lookup(second, name('moved'))).toEqual(volume);
    expect(edit.files.table.subvolume(volume.subvolume)?.fsPathParent).toBe(second.subvolume);
    expectSound();
  });

  test('to the same file is nothing', () => {
    edit.files.link(root, name('again'), at('file'));
    rename('again', root, 'file');
    expect(namesIn(root)).toContain('again');
    expectSound();
  });
});
