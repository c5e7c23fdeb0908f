// Sources of new filesystems: directories of the host, and archives made by GNU tar, by Python's tarfile and by `bcachefs tar`, must
// give the same stream; damaged archives one clear error.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { loadNativeCalls } from '@bcachefs-ts/command';
import {
  compress,
  compressionTypes,
  DeviceError,
  IncompatibleError,
  InputError,
  loadCompressors,
  option,
  parseOptionValue,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encodeRecords, padded, tarHeader } from '../../packages/files/src/tar/header.ts';
import { type DirectoryOptions, openDirectory } from '../../packages/sources/src/directory.ts';
import { exclusion } from '../../packages/sources/src/owner-map.ts';
import type { SourceEntry, SourceTree } from '../../packages/sources/src/source.ts';
import { openTar, type TarOptions } from '../../packages/sources/src/tar.ts';
import { succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { readTar, timeNs, whyNoPython } from '../support/read-tar.ts';

beforeAll(() => loadCompressors());

const isRoot = process.getuid?.() === 0;
const hasGnuTar = spawnSync('tar', ['--version'], { encoding: 'utf8' }).stdout?.includes('GNU tar') === true;
const hasReads = loadNativeCalls() !== undefined;
if (!isRoot) console.warn('device nodes and owners in sources skipped: root is needed');
if (!hasGnuTar) console.warn('archives of GNU tar skipped: it is not there');
if (whyNoPython !== undefined) console.warn(`archives of Python skipped: ${whyNoPython}`);

let scratch = '';
beforeEach(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'bcachefs-ts-source-'));
});
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
});

interface Shape {
  readonly contents?: boolean;
  readonly times?: boolean;
  readonly rootless?: boolean;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** Entries as plain values; chunks as text of where data is, and a copy of the data. */
function plain(entry: SourceEntry, { times = true }: Shape = {}): Record<string, unknown> {
  const place = { path: text(entry.path), name: text(entry.name), depth: entry.depth, type: entry.type };
  if (entry.type === 'link') return { ...place, linkId: 'later' };
  const { mode, uid, gid, mtimeNs, xattrs } = entry;
  const common = { ...place, mode, uid, gid, ...(times ? { mtimeNs } : {}) };
  const attributes = Object.fromEntries(
    xattrs.map(({ name, value }) => [text(name), Buffer.from(value).toString('hex')]),
  );
  const rest: Record<string, unknown> = { xattrs: attributes };
  if ('linkId' in entry) rest.linkId = entry.linkId === undefined ? 'none' : 'first';
  if (entry.type === 'file') {
    const parts: string[] = [];
    let at = 0;
    for (const chunk of entry.chunks()) {
      expect(chunk.offset).toBe(at);
      at += chunk.length;
      const data = chunk.kind === 'data' ? Buffer.from(chunk.bytes).toString('base64') : '';
      parts.push(`${chunk.kind} ${chunk.offset}+${chunk.length} ${data}`);
    }
    expect(at).toBe(entry.sizeBytes);
    rest.sizeBytes = entry.sizeBytes;
    rest.chunks = parts;
  }
  if (entry.type === 'symlink') rest.target = text(entry.target);
  if (entry.type === 'chr' || entry.type === 'blk') rest.rdev = entry.rdev;
  return { ...common, ...rest };
}

function stream(source: SourceTree, shape: Shape = {}): Record<string, unknown>[] {
  const entries = [...source.entries()].map(entry => plain(entry, shape));
  source.close();
  return entries;
}

const pathsOf = (entries: readonly Record<string, unknown>[]): readonly unknown[] => entries.map(entry => entry.path);
const directory = (folder: string, options: DirectoryOptions = {}) => stream(openDirectory(folder, options));
const archive = async (file: string, options: TarOptions = {}, shape: Shape = {}) =>
  stream(await openTar(file, options), shape);

function python(script: string, ...args: string[]): void {
  const { status, stderr } = spawnSync('python3', ['-c', script, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

function tar(...args: string[]): void {
  const { status, stderr } = spawnSync('tar', args, { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
  if (status !== 0) throw new Error(stderr);
}

/** Every type of file, in an order of names given by `order`. */
function fill(
  folder: string,
  order: (makers: (() => void)[]) => void = makers => {
    for (const make of makers) make();
  },
): void {
  mkdirSync(folder);
  for (const name of ['d', 'd/e']) mkdirSync(path.join(folder, name));
  const at = (name: string) => path.join(folder, name);
  const raw = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x6e, 0xff, 0x80])]);
  order([
    () => writeFileSync(at('d.txt'), 'between'),
    () => writeFileSync(at('d/z'), 'z'),
    () => writeFileSync(at('d/e/deep'), 'deep'),
    () => writeFileSync(raw, 'not UTF-8'),
    () => writeFileSync(at(`d/${'long'.repeat(60)}`), 'long'),
    () => writeFileSync(at('empty'), ''),
    () => writeFileSync(at('large'), Buffer.alloc(2_500_000, 'abcdefg')),
    () => symlinkSync(`${'../'.repeat(50)}nowhere`, at('d/symlink')),
    () => {
      const fd = openSync(at('sparse'), 'w');
      for (const offset of [0, 1_048_576, 5_000_000]) writeSync(fd, 'data', offset);
      ftruncateSync(fd, 9_000_001);
      closeSync(fd);
    },
    () => writeFileSync(at('zeroes'), new Uint8Array(100_000)),
  ]);
  linkSync(at('large'), at('d/also-large'));
  linkSync(at('large'), at('zz'));
  if (whyNoPython === undefined && isRoot) {
    python(
      `import os, socket, stat, struct, sys
os.chdir(sys.argv[1])
os.mkfifo('fifo'); os.mknod('chr', stat.S_IFCHR | 0o600, os.makedev(300, 70000)); os.mknod('blk', stat.S_IFBLK | 0o640, os.makedev(7, 3))
os.chown('d/z', 70000, 4000000000); os.lchown('d/symlink', 12, 34); os.chmod('d.txt', 0o6755)
none = 0xffffffff
acl = lambda *entries: struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
access = acl((1, 6, none), (2, 4, 1000), (2, 5, 70000), (4, 4, none), (8, 7, 20), (16, 6, none), (32, 0, none))
try:
  os.setxattr('d/z', 'user.binary', bytes(range(256))); os.setxattr('d/z', 'user.a=b%c', b'='); os.setxattr('d', 'trusted.t', b'')
  os.setxattr('d.txt', 'system.posix_acl_access', access); os.setxattr('d', 'system.posix_acl_default', access)
except OSError: pass`,
      folder,
    );
  }
  utimesSync(at('d/z'), 1, 1_700_000_000.5);
  utimesSync(at('empty'), 1, new Date(-1_000_000));
  lutimesSync(at('d/symlink'), 5, 6);
  for (const name of ['d/e', 'd', '.']) utimesSync(at(name), 1, 1_600_000_000);
}

describe('directories', () => {
  test('all types of files, parents first, siblings by bytes', () => {
    const folder = path.join(scratch, 'tree');
    fill(folder);
    const entries = directory(folder);
    const special = isRoot && whyNoPython === undefined;
    expect(pathsOf(entries)).toEqual([
      ...['', ...(special ? ['blk', 'chr'] : []), 'd', 'd/also-large', 'd/e', 'd/e/deep', `d/${'long'.repeat(60)}`],
      ...[
        'd/symlink',
        'd/z',
        'd.txt',
        'empty',
        ...(special ? ['fifo'] : []),
        'large',
        'n\xff\x80',
        'sparse',
        'zeroes',
        'zz',
      ],
    ]);
    const of = (name: string) => entries.find(entry => entry.path === name);
    expect([of('d/also-large')?.linkId, of('large')?.type, of('zz')?.type]).toEqual(['first', 'link', 'link']);
    expect(of('sparse')?.chunks).toMatchObject([
      expect.stringMatching(/^data 0\+4096 /),
      'hole 4096+1044480 ',
      expect.stringMatching(/^data 1048576\+4096 /),
      'hole 1052672+3944448 ',
      expect.stringMatching(/^data 4997120\+4096 /),
      'hole 5001216+3998785 ',
    ]);
    expect(of('zeroes')?.chunks).toEqual(['hole 0+100000 ']);
    expect(of('empty')).toMatchObject({ sizeBytes: 0, chunks: [], mtimeNs: -1_000_000_000_000n });
    if (special) {
      expect(of('chr')?.rdev).toEqual({ major: 300, minor: 70_000 });
      expect(of('d/z')).toMatchObject({ uid: 70_000, gid: 4_000_000_000, mtimeNs: 1_700_000_000_500_000_000n });
      // Of the ACL that it was given, or of chmod where the filesystem has none.
      expect(of('d.txt')?.mode).toBe(Object.keys(of('d.txt')?.xattrs as object).length > 0 ? 0o6660 : 0o6755);
    }
  });

  test('the order in which files were made does not matter', () => {
    const seed = testSeed();
    const [one, other] = [path.join(scratch, 'one'), path.join(scratch, 'other')];
    const random = randomFrom(seed);
    fill(one);
    fill(other, makers => {
      while (makers.length > 0) makers.splice(random.below(makers.length), 1)[0]!();
    });
    const timeless = (folder: string) => stream(openDirectory(folder), { times: false });
    expect(timeless(other), `TEST_SEED=${seed}`).toEqual(timeless(one));
  });

  test('without system calls holes are the same, and attributes are reported as not kept', () => {
    const folder = path.join(scratch, 'tree');
    fill(folder);
    const notices: string[] = [];
    const plain = directory(folder, { native: undefined, onNotice: notice => notices.push(notice.text) });
    expect(notices).toEqual(['extended attributes and ACLs are not kept: this needs Linux and the package koffi']);
    const without = (entries: Record<string, unknown>[]) => entries.map(({ xattrs: _, ...rest }) => rest);
    expect(without(plain)).toEqual(without(directory(folder)));
  });

  test('a file that changes is an error with its name', () => {
    writeFileSync(path.join(scratch, 'f'), 'before');
    for (const entry of openDirectory(scratch).entries()) {
      if (entry.type !== 'file') continue;
      appendFileSync(path.join(scratch, 'f'), ' and after');
      expect(() => [...entry.chunks()]).toThrow(DeviceError);
      expect(() => [...entry.chunks()]).toThrow(`${scratch}/f: changed while it was being read`);
    }
    expect.assertions(2);
  });

  test('what is left out: patterns, and the file that is being written', () => {
    for (const name of ['keep', 'a.tmp', 'image']) writeFileSync(path.join(scratch, name), '');
    mkdirSync(path.join(scratch, 'cache'));
    writeFileSync(path.join(scratch, 'cache/x'), '');
    const options = {
      isExcluded: exclusion(['*.tmp', '/cache']),
      omit: [path.join(scratch, 'image'), '/no/such/file'],
    };
    expect(pathsOf(directory(scratch, options))).toEqual(['', 'keep']);
  });

  test('what does not exist, and what is not a directory', () => {
    expect(() => openDirectory(path.join(scratch, 'no'))).toThrow(DeviceError);
    writeFileSync(path.join(scratch, 'f'), '');
    expect(() => openDirectory(path.join(scratch, 'f'))).toThrow(UsageError);
  });

  test.skipIf(!isRoot || whyNoPython !== undefined)('sockets', () => {
    python('import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])', path.join(scratch, 's'));
    expect(directory(scratch)[1]).toMatchObject({ path: 's', type: 'sock' });
  });
});

describe('archives of GNU tar', () => {
  const formats = [
    ['pax', '--sparse-version=1.0'],
    ['pax', '--sparse-version=0.1'],
    ['pax', '--sparse-version=0.0'],
    ['gnu', '--sparse-version=1.0'],
  ] as const;
  test.skipIf(!hasGnuTar).each(formats)('%s %s: the same as the directory', async (format, version) => {
    const folder = path.join(scratch, 'tree');
    fill(folder);
    const file = path.join(scratch, 'a.tar');
    const attributes = format === 'pax' ? ['--xattrs', '--xattrs-include=*', '--acls'] : [];
    tar('-C', folder, '-cSf', file, '--numeric-owner', `--format=${format}`, version, ...attributes, '.');
    const plain = (entries: Record<string, unknown>[]) =>
      format === 'pax'
        ? entries
        : // The old format has whole seconds and no attributes.
          entries.map(({ xattrs: _, mtimeNs: __, ...rest }) => rest);
    expect(plain(await archive(file))).toEqual(plain(directory(folder)));
    if (format !== 'pax' || !isRoot || !hasReads) return;
    const z = (await archive(file)).find(entry => entry.path === 'd/z');
    expect(z?.xattrs).toMatchObject({
      'user.a=b%c': '3d',
      'user.binary': Buffer.from([...Array(256).keys()]).toString('hex'),
    });
  });

  test.skipIf(!hasGnuTar)('very sparse files: tables of more than one block', async () => {
    const folder = path.join(scratch, 'tree');
    mkdirSync(folder);
    const fd = openSync(path.join(folder, 'f'), 'w');
    for (let i = 0; i < 300; i++) writeSync(fd, `${i}`, i * 50_000);
    closeSync(fd);
    for (const [i, [format, version]] of formats.entries()) {
      const file = path.join(scratch, `${i}.tar`);
      tar('-C', folder, '-cSf', file, '--numeric-owner', `--format=${format}`, version, '.');
      expect((await archive(file))[1]?.chunks).toEqual(directory(folder)[1]?.chunks);
    }
  });

  test.skipIf(!hasGnuTar)('ustar, v7 and sorting: members in any order are the same stream', async () => {
    const folder = path.join(scratch, 'tree');
    mkdirSync(folder);
    for (const name of ['b', 'b/x', 'a-c']) mkdirSync(path.join(folder, name));
    for (const name of ['b/x/1', 'b/2', 'a', 'a-c/3']) writeFileSync(path.join(folder, name), name);
    const [one, other] = [path.join(scratch, 'one.tar'), path.join(scratch, 'other.tar')];
    const names = ['b/x/1', 'a-c/3', './a', 'b/2', 'b/x', 'b', 'a-c', '.'];
    tar('-C', folder, '-cf', one, '--no-recursion', '--format=ustar', ...names);
    tar('-C', folder, '-cf', other, '--no-recursion', '--format=v7', ...names.toReversed());
    const entries = await archive(one);
    expect(pathsOf(entries)).toEqual(['', 'a', 'a-c', 'a-c/3', 'b', 'b/2', 'b/x', 'b/x/1']);
    expect(await archive(other)).toEqual(entries);
  });
});

describe('archives of bcachefs tar', () => {
  test.skipIf(whyNoPython !== undefined)("the project's own image: the members that Python sees", async () => {
    await withTestImage('basic', async ([image]) => {
      const file = path.join(scratch, 'own.tar');
      await succeed('tar', ['--exclude=socket', '--output', file, image!]);
      const members = readTar(file);
      const entries = await archive(file);
      const byPath = new Map(entries.map(entry => [entry.path, entry]));
      const nameOf = ({ path_b64 }: { path_b64: string }) =>
        Buffer.from(path_b64, 'base64')
          .toString('latin1')
          .replace(/^\.\/?|\/$/g, '');
      expect(new Set(['', ...members.map(nameOf)])).toEqual(new Set(byPath.keys()));
      const types: Readonly<Record<string, string>> = { reg: 'file', lnk: 'symlink' };
      let compared = 0;
      for (const member of members) {
        const entry = byPath.get(nameOf(member));
        if (entry === undefined || entry.type === 'link' || member.type === 'link') continue;
        expect(entry).toMatchObject({
          type: types[member.type] ?? member.type,
          ...{ mode: member.mode, uid: member.uid, gid: member.gid, mtimeNs: timeNs(member.mtime) },
        });
        if (member.type === 'reg' && member.size <= 2 ** 30) {
          expect(entry.sizeBytes).toBe(member.size);
          expect(createHash('sha256').update(contentsOf(entry)).digest('hex')).toBe(member.sha256);
        }
        const userXattrs = Object.entries(member.xattrs).length;
        expect(Object.keys(entry.xattrs as object).length).toBe(userXattrs + Object.keys(member.acls).length);
        compared++;
      }
      expect(compared).toBeGreaterThan(10);
    });
  });
});

/** The contents of a file from its plain value. */
function contentsOf(entry: Record<string, unknown>): Buffer {
  const whole = Buffer.alloc(Number(entry.sizeBytes));
  for (const chunk of entry.chunks as string[]) {
    const [, offset, data] = /^data (\d+)\+\d+ (.*)$/.exec(chunk) ?? [];
    if (offset !== undefined) whole.set(Buffer.from(data!, 'base64'), Number(offset));
  }
  return whole;
}

type Made = Parameters<typeof tarHeader>[0];
const noTimes = { mtimeNs: 0n, atimeNs: 0n, ctimeNs: 0n };
const end = new Uint8Array(1024);

/** One member. */
function member(
  type: Made['type'],
  name: string,
  more: Partial<Omit<Made, 'target'>> & { data?: string; target?: string } = {},
): Uint8Array {
  const { data = '', target, ...rest } = more as { data?: string; target?: string };
  const body = Buffer.from(data);
  const header = tarHeader({
    ...{ type, path: Buffer.from(name), mode: 0o644, uid: 0, gid: 0, sizeBytes: body.length, times: noTimes },
    ...(target === undefined ? {} : { target: Buffer.from(target) }),
    ...rest,
  });
  return Buffer.concat([header, padded(body)]);
}

function write(...parts: readonly Uint8Array[]): string {
  const file = path.join(scratch, 'made.tar');
  writeFileSync(file, Buffer.concat(parts));
  return file;
}

/** Text that does not become much smaller: 70 kB. */
const NOISE = Array.from({ length: 1100 }, (_, i) => createHash('sha256').update(`${i}`).digest('hex')).join('');

/** As the engine compresses: a frame for each 64 KiB. */
function zstdFrames(bytes: Uint8Array): Buffer {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += 65_536) {
    const { type, bytes: packed } = compress(ZSTD_OPTION, bytes.subarray(at, at + 65_536), 512);
    expect(compressionTypes.nameOf(type)).toBe('zstd');
    frames.push(packed.slice(4, 4 + Buffer.from(packed).readUInt32LE(0)));
  }
  return Buffer.concat(frames);
}
const ZSTD_OPTION = Number(parseOptionValue(option('compression'), 'zstd', '1.13'));

/** `xz --check=crc64` over an archive with a file `f` that holds `data`. */
const SMALL_XZ =
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Av/AHddACgYSwSGSBse52d9jIBR94u8JfqnCJaFcCSZ4i0OP9AC6DyvzCbeHHVmW5tqzisZYRS/7rfxVt6LixKlgWduXwWJ/xZ+JQk14mhlXx5D/5bOOJ8i2b94Yi77SD1rUEB1YDQL0m4n6dIRn6wL/JrYRLodtTraIYoAAAAxL/+qT9Z3ZgABkwGAGAAAc92rmrHEZ/sCAAAAAARZWg==';

/** Sets bytes of a header and makes its checksum right. */
function edited(block: Uint8Array, at: number, bytes: Uint8Array | string): Uint8Array {
  const copy = Buffer.from(block);
  copy.set(Buffer.from(bytes), at);
  copy.write('        ', 148);
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return copy;
}

describe('archives with surprises', () => {
  test('slashes in front, the same path twice, directories that are implied', async () => {
    const notices: string[] = [];
    const file = write(
      member('file', '/etc/hosts', { data: 'first' }),
      member('link', 'old', { target: '/etc/hosts' }),
      member('file', './etc//hosts', { data: 'second' }),
      end,
      Buffer.from('what follows is not looked at'),
    );
    const entries = await archive(file, { onNotice: notice => notices.push(notice.text) });
    expect(entries).toMatchObject([
      { path: '', type: 'dir', mode: 0o755, mtimeNs: undefined },
      { path: 'etc', type: 'dir', mode: 0o755, uid: 0, mtimeNs: undefined },
      { path: 'etc/hosts', chunks: [`data 0+6 ${btoa('second')}`], linkId: 'none' },
      { path: 'old', type: 'file', chunks: [`data 0+5 ${btoa('first')}`], linkId: 'none' },
    ]);
    expect(notices).toEqual(['the slash in front of paths is left out']);
  });

  test('the first name that is not left out has the contents', async () => {
    const file = write(
      member('file', 'a', { data: 'x' }),
      member('link', 'b', { target: 'a' }),
      member('link', 'c', { target: 'b' }),
      end,
    );
    const entries = await archive(file, { isExcluded: exclusion(['a']) });
    expect(entries.slice(1)).toMatchObject([
      { path: 'b', type: 'file', sizeBytes: 1 },
      { path: 'c', type: 'link' },
    ]);
  });

  test('numbers in binary, long names of GNU, a size in an extended header', async () => {
    const long = 'n'.repeat(200);
    const gnu = (flag: string, text: string) =>
      Buffer.concat([
        edited(member('file', 'x', { sizeBytes: text.length + 1 }).slice(-512), 156, flag),
        padded(Buffer.from(`${text}\0`)),
      ]);
    const large = Buffer.alloc(8);
    large[0] = 0x80;
    large.writeUInt32BE(4_000_000_000, 4);
    const negative = Buffer.alloc(12, 0xff);
    const base = edited(edited(member('symlink', 'short', { target: 't' }).slice(-512), 108, large), 136, negative);
    const entries = await archive(write(gnu('L', `d/${long}`), gnu('K', 'k'.repeat(300)), base, end));
    expect(entries[2]).toMatchObject({
      path: `d/${long}`,
      target: 'k'.repeat(300),
      uid: 4_000_000_000,
      mtimeNs: -1_000_000_000n,
    });
  });

  test('ACLs and attributes as text', async () => {
    const records = [
      { keyword: 'SCHILY.acl.access', value: 'user::rw-,group::r--,user:anna:rwx:1000,mask::rwx,other::---' },
      { keyword: 'LIBARCHIVE.xattr.user.b', value: Buffer.from([0, 255]).toString('base64').replace(/=+$/, '') },
      { keyword: 'SCHILY.xattr.com.apple.quarantine', value: 'q' },
    ];
    const notices: string[] = [];
    const [, entry] = await archive(write(member('file', 'f', { records }), end), {
      onNotice: one => notices.push(one.text),
    });
    expect(entry?.xattrs).toEqual({
      'system.posix_acl_access':
        '0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000000ffffffff',
      'user.b': '00ff',
    });
    expect(notices).toEqual(['com.apple.quarantine: such attributes are not kept: bcachefs has no place for them']);
  });

  const ordinary = () => member('file', 'f', { data: 'data' });
  const hostile: readonly (readonly [what: string, parts: () => readonly Uint8Array[], message: string | RegExp])[] = [
    ['..', () => [member('file', 'a/../../b'), end], "a path that has '..' in it"],
    ['.. in a link', () => [member('link', 'a', { target: '../b' }), end], "a path that has '..' in it"],
    [
      'a link to nowhere',
      () => [member('link', 'a', { target: 'b' }), end],
      'a: a link to b, which did not come before it',
    ],
    [
      'a link to a directory',
      () => [member('dir', 'd/'), member('link', 'a', { target: 'd' }), end],
      'a: a link to the directory d',
    ],
    ['a file as a directory', () => [ordinary(), member('file', 'f/g'), end], 'f/g: f is not a directory'],
    [
      'a symlink as a directory',
      () => [member('symlink', 'l', { target: '/' }), member('file', 'l/g'), end],
      'l/g: l is not a directory',
    ],
    [
      'a file for a directory',
      () => [member('file', 'd/g'), member('file', 'd'), end],
      'in the place of a directory that is not empty',
    ],
    ['a root that is a file', () => [member('file', './.'), end], 'the root can only be a directory'],
    [
      'a symlink to nothing',
      () => [member('symlink', 'l', { target: '' }), end],
      'a symbolic link to a path of 0 bytes',
    ],
    ['a long name', () => [member('file', 'n'.repeat(256)), end], 'a name of 256 bytes, expected 255 or fewer'],
    ['a long path', () => [member('file', 'n/'.repeat(2100).concat('f')), end], 'a path of 4201 bytes'],
    ['nothing', () => [], 'is empty'],
    ['no end', () => [ordinary()], 'it is cut off'],
    ['half a file', () => [ordinary().subarray(0, -512)], 'it is cut off in the middle of a file'],
    ['half a header', () => [ordinary(), ordinary().subarray(0, 100)], 'it ends in the middle of a header'],
    [
      'a huge size',
      () => [edited(ordinary(), 124, Buffer.from([0x80, 0, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255]))],
      'it is cut off: a member says it has',
    ],
    ['a negative size', () => [edited(ordinary(), 124, Buffer.alloc(12, 0xff)), end], 'a size of -1 bytes'],
    [
      'a checksum',
      () => [ordinary(), ordinary().with(0, 0x41), end],
      /the checksum of a header is \d+, expected \d+ \(at byte \d+/,
    ],
    ['another file', () => [Buffer.alloc(2048, 'text ')], 'is not a tar archive'],
    ['an unknown type', () => [edited(member('file', 'f').slice(-512), 156, 'Z'), end], "a member of type 'Z'"],
    [
      'an ACL with names',
      () => [
        member('file', 'f', { records: [{ keyword: 'SCHILY.acl.access', value: 'user:no one we know:rwx' }] }),
        end,
      ],
      "an ACL names the user 'no one we know', who is not known on this machine",
    ],
    [
      'a sparse map',
      () => [
        member('file', 'f', {
          data: '9\n0\n5\n'.padEnd(512, '\0'),
          records: [
            { keyword: 'GNU.sparse.major', value: '1' },
            { keyword: 'GNU.sparse.minor', value: '0' },
            { keyword: 'GNU.sparse.realsize', value: '99' },
          ],
        }),
        end,
      ],
      'the map of a sparse file is damaged',
    ],
    [
      'sparse parts that overlap',
      () => [
        member('file', 'f', {
          data: 'abcdef',
          records: [
            { keyword: 'GNU.sparse.size', value: '99' },
            { keyword: 'GNU.sparse.map', value: '5,3,4,3' },
          ],
        }),
        end,
      ],
      'part 1 of a sparse file is out of order',
    ],
  ];
  test.each(hostile)('%s: one clear error', async (_, parts, message) => {
    const opened = openTar(write(...parts()));
    await expect(opened).rejects.toThrow(InputError);
    await expect(opened).rejects.toThrow(message);
  });

  test('records that do not add up', async () => {
    const good = member('file', 'f', { records: [{ keyword: 'k', value: 'v' }] });
    expect(encodeRecords([{ keyword: 'k', value: 'v' }]).length).toBe(6);
    for (const body of ['0 k=v\n', '99999 k=v\n', '6 k=v ', 'x', '6k=vv\n', '6 kvv\n']) {
      const copy = Buffer.from(good);
      copy.fill(0, 512, 1024);
      copy.write(body, 512);
      await expect(openTar(write(copy, end))).rejects.toThrow('an extended header is damaged');
    }
  });

  describe('compressed', () => {
    const plain = () =>
      write(member('file', 'f', { data: 'data '.repeat(20_000) }), member('file', 'e', { data: NOISE }), end);
    /** By a program; undefined where it is not installed. */
    const packedBy = (program: string, ...words: string[]): Buffer | undefined => {
      const { status, stdout } = spawnSync(program, words, { input: readFileSync(plain()), maxBuffer: 1 << 24 });
      return status === 0 ? stdout : undefined;
    };
    const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
    const tarBytes = () => readFileSync(plain());
    const packings: readonly (readonly [name: string, by: string, packed: () => Buffer | undefined])[] = [
      ['gzip', 'us', () => gzipSync(tarBytes())],
      ['zstd', 'us', () => zstdFrames(tarBytes())],
      ['zstd', 'us, between frames to be skipped', () => Buffer.concat([skippable, zstdFrames(tarBytes()), skippable])],
      ['zstd', 'the program, with the largest window', () => packedBy('zstd', '-c', '--ultra', '-22')],
      ['xz', 'the program', () => packedBy('xz', '-c')],
      ['xz', 'the program, in many blocks', () => packedBy('xz', '-c', '-T2', '--block-size=64KiB')],
    ];
    const file = () => path.join(scratch, 'packed');

    test.each(packings)('%s by %s: undone; cut off or damaged it is an error', async (name, _by, pack) => {
      const packed = pack();
      if (packed === undefined) return;
      const expected = await archive(plain());
      writeFileSync(file(), packed);
      expect(await archive(file())).toEqual(expected);
      // What is left out at an end that is to be skipped is not missed.
      for (const length of [9, packed.length >> 1, packed.length - 20]) {
        writeFileSync(file(), packed.subarray(0, length));
        const opened = openTar(file());
        await expect(opened, `${length} of ${packed.length} bytes`).rejects.toThrow(InputError);
        await expect(opened).rejects.toThrow(`the ${name} data is damaged or cut off`);
      }
      const damaged = Uint8Array.from(packed);
      for (let i = 20; i < 24; i++) damaged[i]! ^= 0xff;
      writeFileSync(file(), damaged);
      await expect(openTar(file())).rejects.toThrow(`the ${name} data is damaged or cut off`);
    });

    test('xz as it was made elsewhere; a changed bit is an error or changes nothing', async () => {
      const packed = Buffer.from(SMALL_XZ, 'base64');
      writeFileSync(file(), packed);
      const expected = await archive(write(member('file', 'f', { data: 'data' }), end));
      expect(await archive(file())).toEqual(expected);
      let errors = 0;
      for (let at = 6; at < packed.length; at++) {
        const damaged = Uint8Array.from(packed);
        damaged[at]! ^= 1;
        writeFileSync(file(), damaged);
        try {
          // The first byte of LZMA data is 0 and says nothing.
          expect(await archive(file()), `byte ${at}`).toEqual(expected);
        } catch (thrown) {
          if (!(thrown instanceof InputError) && !(thrown instanceof IncompatibleError)) throw thrown;
          errors++;
        }
      }
      expect(errors).toBeGreaterThanOrEqual(packed.length - 7);
    });

    test.skipIf(process.platform === 'win32')('through a pipe', async () => {
      const fifo = path.join(scratch, 'fifo');
      expect(spawnSync('mkfifo', [fifo]).status).toBe(0);
      for (const packed of [zstdFrames(tarBytes()), gzipSync(tarBytes()), Buffer.from(SMALL_XZ, 'base64')]) {
        writeFileSync(file(), packed);
        const expected = await archive(file());
        const writer = spawn('sh', ['-c', 'cat "$1" > "$2"', 'sh', file(), fifo]);
        expect(await archive(fifo)).toEqual(expected);
        writer.kill();
      }
    });

    test('what cannot be undone is reported with the program', async () => {
      for (const [magic, program] of [
        ['BZh9', 'bzip2'],
        ['\x04"M\x18', 'lz4'],
      ] as const) {
        writeFileSync(file(), Buffer.from(`${magic}.....`, 'latin1'));
        await expect(openTar(file())).rejects.toThrow(IncompatibleError);
        await expect(openTar(file())).rejects.toThrow(`use: ${program} -dc ARCHIVE`);
      }
      await expect(openTar(path.join(scratch, 'missing'))).rejects.toThrow(DeviceError);
    });

    test('an archive that is refused early disturbs no other one that is opened next', async () => {
      const packed = Buffer.from(SMALL_XZ, 'base64');
      const expected = await archive(write(member('file', 'f', { data: 'data' }), end));
      const bad = path.join(scratch, 'bad');
      // Its header is wrong, and there is more to read ahead of.
      writeFileSync(bad, Buffer.concat([packed.subarray(0, 6), Buffer.alloc(2 ** 21, 0xff)]));
      writeFileSync(file(), packed);
      for (let nr = 0; nr < 50; nr++) {
        await expect(openTar(bad)).rejects.toThrow(InputError);
        expect(await archive(file()), `round ${nr}`).toEqual(expected);
      }
    });

    test('xz with a check or a filter that the decoder lacks is reported with the program', async () => {
      for (const words of [['--check=sha256'], ['--x86', '--lzma2'], ['--lzma2=dict=128MiB']]) {
        const packed = packedBy('xz', '-c', ...words);
        if (packed === undefined) return;
        writeFileSync(file(), packed);
        await expect(openTar(file())).rejects.toThrow(IncompatibleError);
        await expect(openTar(file())).rejects.toThrow('use: xz -dc ARCHIVE');
      }
    });
  });

  test.skipIf(process.platform === 'win32')('an archive that comes through a pipe', async () => {
    const file = write(member('file', 'b', { data: 'b' }), member('file', 'a', { data: 'a' }), end);
    const fifo = path.join(scratch, 'fifo');
    expect(spawnSync('mkfifo', [fifo]).status).toBe(0);
    const writer = spawn('sh', ['-c', 'cat "$1" > "$2"', 'sh', file, fifo]);
    expect(await archive(fifo)).toEqual(await archive(file));
    writer.kill();
  });

  test('whatever is damaged: typed errors, in bounded time', async () => {
    const seed = testSeed();
    const random = randomFrom(seed);
    const records = [
      { keyword: 'GNU.sparse.size', value: '99' },
      { keyword: 'GNU.sparse.map', value: '1,3,50,3' },
    ];
    const acl = [{ keyword: 'SCHILY.acl.access', value: 'user::rw-,group::r--,other::---' }];
    const old = edited(member('file', 'old', { data: 'abc' }).slice(-1024), 156, 'S');
    const whole = Buffer.concat([
      member('dir', 'd/'),
      member('file', 'd/sparse', { data: 'abcdef', records }),
      member('file', 'd/acl', { records: acl }),
      edited(edited(old, 386, '00000000000\0' + '00000000003\0'), 483, '00000000003\0'),
      member('link', 'l', { target: 'd/acl' }),
      member('symlink', 's', { target: 'nowhere' }),
      member('chr', 'c', { rdev: { major: 1, minor: 2 } }),
      end,
    ]);
    expect(await archive(write(whole))).toHaveLength(8);
    let [read, refused] = [0, 0];
    for (let round = 0; round < 600; round++) {
      const bytes = Buffer.from(whole);
      const at = 512 * random.below(whole.length / 512);
      for (let i = random.below(3); i >= 0; i--)
        bytes[at + random.below(512)] = random.pick([0, 255, 48, 55, 83, random.below(256)]);
      // With a right checksum most of the time, or nothing after it would be tried.
      const block =
        random.below(4) === 0
          ? bytes
          : Buffer.concat([
              bytes.subarray(0, at),
              edited(bytes.subarray(at, at + 512), 0, ''),
              bytes.subarray(at + 512),
            ]);
      const cut = random.below(8) === 0 ? block.subarray(0, random.below(block.length)) : block;
      try {
        for (const entry of await archive(write(cut))) expect(entry.depth).toBeLessThan(512);
        read++;
      } catch (error) {
        if (!(error instanceof InputError || error instanceof IncompatibleError))
          throw new Error(`TEST_SEED=${seed}`, { cause: error });
        refused++;
      }
    }
    expect(read, `TEST_SEED=${seed}`).toBeGreaterThan(20);
    expect(refused, `TEST_SEED=${seed}`).toBeGreaterThan(100);
  });
});
