// Every kind of ext2, ext3 and ext4 that mke2fs can make, filled from a folder: the reader gives what the folder holds, and its map of blocks is
// what dumpe2fs says of the bitmaps.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BlockDevice, openDevice } from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { openDirectory, openSource, type SourceEntry, type SourceTree } from '@bcachefs-ts/sources';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { debugfs, e2, ext4Kinds, makeExt4, whyNoE2fsprogs } from '../support/ext4.ts';
import { makeExt4Tree, setXattrs } from '../support/ext4-trees.ts';
import { sampleOf } from '../support/long.ts';

if (whyNoE2fsprogs !== undefined) console.warn(`ext4 skipped: ${whyNoE2fsprogs}`);
const isRoot = process.getuid?.() === 0;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** An entry as a value. Times are those that mke2fs keeps: whole seconds of change. */
function plain(entry: SourceEntry): Record<string, unknown> {
  const place = { path: text(entry.path), type: entry.type };
  if (entry.type === 'link') return place;
  const { mode, uid, gid, mtimeNs, xattrs } = entry;
  const rest: Record<string, unknown> = {};
  if (entry.type === 'file') {
    rest.size = entry.sizeBytes;
    rest.chunks = [...entry.chunks()].map(
      ({ offset, length, ...chunk }) =>
        `${offset}+${length} ${'bytes' in chunk ? Buffer.from(chunk.bytes).toString('base64') : 'hole'}`,
    );
  }
  if (entry.type === 'symlink') rest.target = text(entry.target);
  if ('rdev' in entry) rest.rdev = entry.rdev;
  if ('linkId' in entry) rest.hasNames = entry.linkId !== undefined;
  const seconds = mtimeNs === undefined ? undefined : mtimeNs / 1_000_000_000n;
  return {
    ...place,
    mode,
    uid,
    gid,
    seconds,
    xattrs: xattrs.map(({ name, value }) => [text(name), text(value)]),
    ...rest,
  };
}

function streamOf(source: SourceTree): Record<string, unknown>[] {
  const entries = [...source.entries()].map(plain).filter(({ path }) => path !== 'lost+found');
  source.close();
  // What mke2fs has put into the root afterwards has changed its times.
  return entries.map(entry => (entry.path === '' ? { ...entry, seconds: undefined } : entry));
}

/** Numbers of blocks that dumpe2fs calls free. */
function freeOf(image: string): string {
  const words = e2('dumpe2fs', [image]).matchAll(/^ {2}Free (?:blocks|clusters): (.*)$/gm);
  return [...words]
    .map(([, runs = '']) => runs)
    .filter(runs => runs !== '')
    .join(', ');
}

describe.skipIf(whyNoE2fsprogs !== undefined)('ext2, ext3 and ext4', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-ext4-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  const folder = join(scratch, 'tree');
  const image = join(scratch, 'image');
  beforeAll(() => {
    makeExt4Tree(folder);
    setXattrs(folder, {
      linked: { 'user.small': Buffer.from('value'), 'user.empty': Buffer.alloc(0) },
      'deep/one': { 'user.large': Buffer.alloc(700, 'x'), 'user.a': Buffer.from([0, 1, 255]) },
      ...(isRoot
        ? {
            deep: {
              'trusted.overlay': Buffer.from('y'),
              'system.posix_acl_access': Buffer.from(
                '020000000100070' +
                  '0ffffffff' +
                  '02000600e8030000' +
                  '04000500ffffffff' +
                  '10000700ffffffff' +
                  '20000500ffffffff',
                'hex',
              ),
            },
          }
        : {}),
    });
  });

  const kinds = sampleOf('kinds of ext4', ext4Kinds, [
    '4k',
    '1k',
    '64k',
    'ext2',
    'inline_data',
    'bigalloc',
    'meta_bg',
    'gdt_csum',
  ]);
  test.each(kinds)('$name', async kind => {
    makeExt4(image, kind, folder);
    const kept = ({ path }: Record<string, unknown>) => kind.lacks !== 'holes' || path !== 'holes';
    const expected = streamOf(openDirectory(folder))
      .filter(kept)
      .map(entry => (kind.lacks === 'xattrs' && 'xattrs' in entry ? { ...entry, xattrs: [] } : entry));
    expect(expected.length).toBeGreaterThan(1400);
    expect(streamOf(await openSource(image)).filter(kept)).toEqual(expected);

    const device = openDevice(image, { write: false });
    try {
      const fs = openExt4(device);
      const usage = fs.usage();
      const { blocks, blocksPerCluster, firstDataBlock } = fs.facts;
      // What dumpe2fs counts, and lists as runs of blocks or, with bigalloc, of clusters.
      const list = [...usage.map.freeRuns()].map(run => [run.block, run.block + run.blocks - 1]);
      const theirs = new Set<number>();
      for (const run of freeOf(image).split(', ')) {
        const [from = NaN, to = from] = run.split('-').map(Number);
        for (let at = from; at <= to; at++) theirs.add(at);
      }
      const ours = new Set<number>();
      for (const [from = 0, to = -1] of list) for (let at = from; at <= to; at++) ours.add(at);
      expect(ours.size).toBe(fs.facts.freeBlocks);
      if (blocksPerCluster === 1) expect(ours).toEqual(theirs);
      expect(usage.map.usedBlocks + ours.size).toBe(blocks);
      expect(usage.map.isUsed(firstDataBlock)).toBe(true);
      expect(usage.metadata.usedBlocks).toBeLessThan(usage.map.usedBlocks);
      expect(usage.inodes.symlink).toBe(3);
    } finally {
      device.close();
    }
  });

  /** An opened image, and the inode of a path. */
  function opened<T>(look: (fs: ReturnType<typeof openExt4>, device: BlockDevice) => T): T {
    const device = openDevice(image, { write: false });
    try {
      return look(openExt4(device), device);
    } finally {
      device.close();
    }
  }
  const find = (fs: ReturnType<typeof openExt4>, path: string) => {
    for (const name of fs.tree()) if (text(name.path) === path) return name.inode;
    throw new Error(`there is no ${path}`);
  };

  test('a directory with an htree of two levels of nodes is read whole', () => {
    const crowd = join(scratch, 'crowd');
    mkdirSync(crowd);
    const names = Array.from({ length: 1500 }, (_, i) => `${i} ${'n'.repeat(150)}`).sort();
    for (const name of names) writeFileSync(join(crowd, name), '');
    makeExt4(image, { size: '48M', words: ['-t', 'ext4', '-b', '1024', '-N', '2000'] }, crowd);
    e2('e2fsck', ['-fyD', image], [0, 1]);
    opened(fs => {
      const root = fs.inode(2);
      expect(root.flags.index).toBe(true);
      expect(debugfs(image, 'htree /')).toMatch(/Indirect levels: [12]/);
      const found = [...fs.directory(root)].map(({ name }) => text(name)).filter(name => name !== 'lost+found');
      expect(found.sort()).toEqual(names);
      fs.usage();
    });
    rmSync(crowd, { recursive: true });
  });

  test('a fragmented file: its extents are those of debugfs', () => {
    makeExt4(image, { size: '16M', words: ['-t', 'ext4', '-b', '1024', '-N', '4000'] });
    const piece = join(scratch, 'piece');
    writeFileSync(piece, 'p'.repeat(900));
    const script = join(scratch, 'script');
    const made = Array.from({ length: 1200 }, (_, i) => i);
    writeFileSync(script, made.map(i => `write ${piece} p${i}\n`).join(''));
    e2('debugfs', ['-w', '-f', script, image]);
    writeFileSync(
      script,
      made
        .filter(i => i % 2 === 0)
        .map(i => `rm p${i}\n`)
        .join(''),
    );
    e2('debugfs', ['-w', '-f', script, image]);
    const large = join(scratch, 'large');
    const bytes = Buffer.from(Uint8Array.from({ length: 9_000_000 }, (_, i) => (i * 31 + (i >> 10)) % 253));
    writeFileSync(large, bytes);
    debugfs(image, `write ${large} large`);
    opened(fs => {
      const inode = find(fs, 'large');
      const lines = e2('debugfs', ['-R', 'dump_extents /large', image]).split('\n');
      // Level 0/ 0 …: the leaves of a tree of any depth, as logical and physical runs.
      const leaves = lines.flatMap(line => {
        const [, level, depth, from, to, block] =
          /^\s*(\d+)\/\s*(\d+)\s+\d+\/\s*\d+\s+(\d+)\s+-\s+(\d+)\s+(\d+)/.exec(line) ?? [];
        return level !== undefined && level === depth
          ? [[Number(from), Number(block), Number(to) - Number(from) + 1]]
          : [];
      });
      expect(leaves.length).toBeGreaterThan(300);
      const ours = [...fs.extents(inode)].map(({ fileBlock, block, blocks }) => [fileBlock, block, blocks]);
      expect(ours).toEqual(joined(leaves));
      expect([...fs.metadataBlocks(inode)].length).toBeGreaterThan(4);
      const read = new Uint8Array(bytes.length);
      fs.read(inode, 0, read);
      expect(Buffer.from(read).equals(bytes)).toBe(true);
      const part = new Uint8Array(100_000);
      fs.read(inode, 1_234_567, part);
      expect(Buffer.from(part).equals(bytes.subarray(1_234_567, 1_334_567))).toBe(true);
      fs.usage();
    });
  });

  test('a file of 4 TiB is mostly a hole', () => {
    makeExt4(image, { size: '24M', words: ['-t', 'ext4', '-b', '4096'] });
    const small = join(scratch, 'small');
    writeFileSync(small, 'end of it');
    debugfs(
      image,
      `write ${small} sparse`,
      'set_inode_field sparse size 4398046511105',
      'set_inode_field sparse block[IND] 0',
    );
    opened(fs => {
      const inode = find(fs, 'sparse');
      expect(inode.sizeBytes).toBe(2 ** 42 + 1);
      const end = new Uint8Array(100);
      fs.read(inode, 2 ** 42 - 99, end);
      expect(end.every(byte => byte === 0)).toBe(true);
      fs.read(inode, 0, end);
      expect(text(end.subarray(0, 9))).toBe('end of it');
    });
  });

  test('times, owners, flags and numbers are those that debugfs sets, and a copy has them', async () => {
    makeExt4(image, { size: '24M', words: ['-t', 'ext4', '-O', 'project', '-I', '256'] });
    const small = join(scratch, 'small');
    writeFileSync(small, 'text');
    const set = (field: string, value: string) => `set_inode_field f ${field} ${value}`;
    debugfs(
      image,
      `write ${small} f`,
      set('mtime', '@0x7fffffff'),
      set('mtime_extra', '0xee6b27fd'),
      set('atime', '@0x80000000'),
      set('atime_extra', '0'),
      set('ctime', '@0x00000001'),
      set('ctime_extra', '4'),
      set('crtime', '@1234567890'),
      set('crtime_extra', '0x1d6f3454'),
      set('uid', '4294967293'),
      set('gid', '65536'),
      set('generation', '77'),
      set('projid', '4242'),
      set('flags', '0x800f8'),
    );
    opened(fs => {
      const inode = find(fs, 'f');
      expect(inode).toMatchObject({ uid: 4294967293, gid: 65536, generation: 77, projectId: 4242, sizeBytes: 4 });
      expect(inode.flags).toMatchObject({ sync: true, immutable: true, append: true, nodump: true, noatime: true });
      expect(inode.mtimeNs).toBe((0x7fffffffn + (1n << 32n)) * 1_000_000_000n + BigInt(0xee6b27fd >>> 2));
      expect(inode.atimeNs).toBe(-0x80000000n * 1_000_000_000n);
      expect(inode.ctimeNs).toBe(1_000_000_001n);
      expect(inode.crtimeNs).toBe(1_234_567_890n * 1_000_000_000n + BigInt(0x1d6f3454 >>> 2));
    });
    const copy = join(scratch, 'copy');
    await succeed('image create', [`--source=${image}`, copy]);
    const [stat] = JSON.parse(await succeed('stat', ['--json', copy, 'f'])).files;
    expect(stat).toMatchObject({
      uid: 4294967293,
      gid: 65536,
      project: 4242,
      flags: ['sync', 'immutable', 'append', 'nodump', 'noatime'],
      mtime_ns: `${(0x7fffffffn + (1n << 32n)) * 1_000_000_000n + BigInt(0xee6b27fd >>> 2)}`,
      atime_ns: `${-0x80000000n * 1_000_000_000n}`,
      ctime_ns: '1000000001',
      btime_ns: `${1_234_567_890n * 1_000_000_000n + BigInt(0x1d6f3454 >>> 2)}`,
    });
  });

  test('values of attributes in inodes of their own, and what is lost of them', async () => {
    makeExt4(image, { size: '24M', words: ['-t', 'ext4', '-O', 'ea_inode'] });
    const small = join(scratch, 'small');
    writeFileSync(small, 'text');
    debugfs(
      image,
      `write ${small} f`,
      `ea_set f user.huge ${'v'.repeat(9000)}`,
      'ea_set f user.tiny t',
      'ea_set f security.x 1',
    );
    opened(fs => {
      const found = fs.xattrs(find(fs, 'f')).map(({ name, value: is }) => [text(name), is.length]);
      expect(found).toEqual([
        ['security.x', 1],
        ['user.huge', 9000],
        ['user.tiny', 1],
      ]);
      const { inodes, losses } = fs.usage();
      expect(inodes.ea_inode).toBe(1);
      expect(losses.largeXattrs).toEqual({ count: 1, inodes: [find(fs, 'f').number] });
    });
    const notices: string[] = [];
    const source = await openSource(image, { onNotice: ({ text: words }) => notices.push(words) });
    const f = [...source.entries()].find(({ path }) => text(path) === 'f');
    source.close();
    expect(f !== undefined && 'xattrs' in f ? f.xattrs.map(({ name }) => text(name)) : []).toEqual([
      'security.x',
      'user.tiny',
    ]);
    expect(notices.join()).toContain('user.huge');
  });
});

/** Neighbouring runs as one. */
function joined(runs: readonly (readonly number[])[]): number[][] {
  const result: number[][] = [];
  for (const [fileBlock = 0, block = 0, blocks = 0] of runs) {
    const last = result.at(-1);
    if (last !== undefined && last[0]! + last[2]! === fileBlock && last[1]! + last[2]! === block) last[2]! += blocks;
    else result.push([fileBlock, block, blocks]);
  }
  return result;
}
