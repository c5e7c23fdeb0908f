// kvdb: what it shows and edits, with what follows from it and without, and what it refuses.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, findingText, openFilesystem } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';

function findings(image: string): readonly string[] {
  const filesystem = openFilesystem([image]);
  try {
    return checkInvariants(filesystem).findings.map(findingText);
  } finally {
    filesystem.close();
  }
}

const ROOT = 'inodes 0:4096:U32_MAX';
const words = (commands: readonly string[]) => commands.flatMap(command => ['-c', command]);
const kvdb = (image: string, ...commands: readonly string[]) => succeed('kvdb', [...words(commands), image]);
const edit = (image: string, how: '--rw' | '--raw', ...commands: readonly string[]) =>
  succeed('kvdb', [how, ...words(commands), image]);

/** The positions of keys of a btree that have a field with a value. */
async function positions(image: string, btree: string, isWanted: (key: never) => boolean): Promise<readonly string[]> {
  const lines = (await succeed('kvdb', ['--json', '-c', `list ${btree}`, image])).trim().split('\n').slice(1);
  return lines
    .map(line => JSON.parse(line))
    .filter(key => isWanted(key as never))
    .map(({ pos }) => pos);
}

describe('reading', () => {
  test('a key, its neighbours, its fields', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const listed = await succeed('list', ['-b', 'subvolumes', image]);
      expect(await kvdb(image, 'list subvolumes')).toBe(listed);
      expect(await kvdb(image, 'get subvolumes 0:1')).toBe(`${listed.split('\n')[0]}\n`);
      expect(await kvdb(image, 'peek subvolumes POS_MIN', 'peek_prev subvolumes 0:1')).toBe(
        `${listed.split('\n')[0]}\n`.repeat(2),
      );
      expect(await kvdb(image, `get ${ROOT} bi_size bi_flags.unlinked`)).toBe('0\n0\n');
      expect(await kvdb(image, 'get -k subvolumes 0:1')).toMatch(/^u64s \d+ type subvolume 0:1:0 len 0 ver 0\n$/);
      expect(await kvdb(image, 'get snapshots 0:4294967295 children')).toMatch(/^\d+ \d+\n$/);
      expect(await kvdb(image, 'snapshot 4294967295', 'snapshot', 'get inodes 0:4096 bi_version')).toMatch(
        /^snapshot 4294967295\n\d+\n$/,
      );
    });
  });

  test('commands come from standard input too, and end with the first that fails', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const stdin = 'get subvolumes 0:1 inode\n\n# a remark\nget subvolumes 0:1 inodes\nget subvolumes 0:1 inode\n';
      const { exitCode, stdout, stderr } = await run('kvdb', [image], { stdin });
      expect([exitCode, stdout]).toEqual([2, '4096\n']);
      expect(stderr).toContain('get subvolumes 0:1 inodes: there is no field inodes, only flags, snapshot, inode');
    });
  });

  test('fields of the superblock, without a look at the btrees', async () => {
    await withTestImage('basic', async ([image = '']) => {
      expect(await succeed('kvdb', ['--nostart', ...words(['sb get clean', 'sb get block_size']), image])).toMatch(
        /^clean = 1 \(0x1\)\nblock_size = (\d+) /,
      );
      const { exitCode, stderr } = await run('kvdb', ['--nostart', '-c', `get ${ROOT}`, image]);
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining('only the sb commands work')]);
    });
  });
});

describe('the journal', () => {
  test('who has touched a key, by transaction', async () => {
    await withTestImage('unclean', async ([image = '']) => {
      const command = ['--journal', '-c', 'list_journal -k inodes:0:4096'];
      const text = await succeed('kvdb', [...command, image]);
      expect(text).toMatch(/^journal entry \d+\n {2,}\S/);
      expect(text).toContain('btree=inodes level=0');
      expect(text).not.toContain('btree=alloc');
      const lines = (await succeed('kvdb', ['--json', ...command, image])).trim().split('\n').slice(1);
      expect(JSON.parse(lines[0]!)).toMatchObject({ kind: 'entry', seq: expect.any(Number) });
      expect(lines.length).toBe(text.match(/^journal entry/gm)?.length);
    });
  });

  test('is read only when it is asked for', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const { exitCode, stderr } = await run('kvdb', ['-c', 'list_journal', image]);
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining('the journal was not read: --journal reads it')]);
    });
  });
});

describe('at a terminal', () => {
  test('commands are typed; one that fails is shown, and the next one runs', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const stdin = 'get subvolumes 0:1 inode\nget subvolumes 0:1 inodes\nsnapshot 4294967295\nsnapshot\nquit\nget\n';
      const { exitCode, stdout, stderr } = await run('kvdb', [image], { stdin, isTerminal: true });
      expect([exitCode, stdout]).toEqual([0, '4096\nsnapshot 4294967295\n']);
      expect(stderr).toContain('there is no field inodes');
    });
  });

  test('with --rw each command is a commit, and what is refused leaves all as it was', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const stdin = `update ${ROOT} bi_uid=5\nupdate ${ROOT} bi_mode=0x10000\nget ${ROOT} bi_uid\n`;
      const { exitCode, stdout, stderr } = await run('kvdb', ['--rw', image], { stdin, isTerminal: true });
      expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/^updated: .*\n5\n$/)]);
      expect(stderr).toContain('does not fit into 16 bits');
      expect(findings(image)).toEqual([]);
    });
  });
});

describe('editing', () => {
  test('with what follows: the filesystem stays sound', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const [file = ''] = await positions(
        image,
        'inodes',
        ({ value }: { value: { type: string } }) => value.type === 'reg',
      );
      await edit(image, '--rw', `update inodes ${file} bi_uid=1000 bi_atime=0x1234`, `update inodes ${file} nodump=1`);
      expect(await kvdb(image, `get inodes ${file} bi_uid bi_atime nodump`)).toBe('1000\n4660\n1\n');
      const [extent = ''] = await positions(image, 'extents', ({ type }: { type: string }) => type === 'extent');
      const inode = `inodes 0:${extent.split(':')[0]}:${extent.split(':')[2]}`;
      const sectors = Number(await kvdb(image, `get ${inode} bi_sectors`));
      const size = Number(await kvdb(image, `get extents ${extent} k.size`));
      // Buckets, backpointers and counters are changed with it.
      await edit(image, '--rw', `set extents ${extent} deleted`, `update ${inode} bi_sectors=${sectors - size}`);
      expect(findings(image)).toEqual([]);
    });
  });

  test('raw: nothing follows', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const [extent = ''] = await positions(image, 'extents', ({ type }: { type: string }) => type === 'extent');
      await edit(image, '--raw', `update extents ${extent} ptr.dev=7 ptr[0].gen=9`, `update ${ROOT} bi_nlink=77`);
      expect(await kvdb(image, `get extents ${extent} ptr.dev ptr.gen`)).toBe('7\n9\n');
      expect(await kvdb(image, `get ${ROOT} bi_nlink`)).toBe('77\n');
      const [dirent = ''] = await positions(image, 'dirents', ({ type }: { type: string }) => type === 'dirent');
      await edit(image, '--raw', `update dirents ${dirent} d_name=a\\x00b`, 'set quotas 5:0 quota c[1].hardlimit=3');
      expect(await kvdb(image, `get dirents ${dirent} d_name`, 'get quotas 5:0 c[1].hardlimit')).toBe('a\\x00b\n3\n');
      await edit(image, '--raw', `set dirents ${dirent} deleted`, 'sb set seq=4711');
      expect((await run('kvdb', ['-c', `get dirents ${dirent}`, image])).exitCode).toBe(2);
      expect(findings(image).length).toBeGreaterThan(3);
    });
  });

  test('the superblock', async () => {
    await withTestImage('basic', async ([image = '']) => {
      await succeed('kvdb', ['--nostart', '-c', 'sb set gc_reserve=11', image]);
      expect(await succeed('kvdb', ['--nostart', '-c', 'sb get gc_reserve', image])).toBe('gc_reserve = 11 (0xb)\n');
      expect(findings(image)).toEqual([]);
    });
  });

  test('an extent over another one is refused, and written with --raw', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      const [extent = ''] = await positions(image, 'extents', ({ type }: { type: string }) => type === 'extent');
      const [inum = '', end = '', snapshot = ''] = extent.split(':');
      const later = `set extents ${inum}:${Number(end) + 3}:${snapshot} reservation k.size=4 nr_replicas=1`;
      const { exitCode, stderr } = await run('kvdb', ['--rw', '-c', later, image]);
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`overlap extent ${extent} len`)]);
      expect(readFileSync(image).equals(before)).toBe(true);
      await edit(image, '--raw', later);
      expect(findings(image).join()).toContain('extent_overlapping');
    });
  });

  test('an undo file takes the edits back', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      const folder = mkdtempSync(join(tmpdir(), 'kvdb-'));
      try {
        const file = join(folder, 'undo');
        const commands = words([`update ${ROOT} bi_nlink=77`, 'sb set seq=4711']);
        await succeed('kvdb', ['--raw', `--undo_file=${file}`, ...commands, image]);
        expect(readFileSync(image).equals(before)).toBe(false);
        await succeed('undo', [file, image]);
        expect(readFileSync(image).equals(before)).toBe(true);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });

  test('what is refused changes nothing', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      for (const [options, command, code, message] of [
        [[], `update ${ROOT} bi_uid=1`, 2, 'nothing is written without --rw or --raw'],
        [['--rw'], `update ${ROOT} bi_uid`, 2, "'bi_uid' is not FIELD=VALUE"],
        [['--rw'], `update ${ROOT} bi_uid=x`, 2, "found 'x', expected a number"],
        [['--rw'], `update ${ROOT} bi_nlinks=1`, 2, 'an inode has no field bi_nlinks'],
        [['--rw'], `update ${ROOT} bi_mode=0x10000`, 2, 'does not fit into 16 bits'],
        [['--rw'], 'update inodes 0:99999 bi_uid=1', 2, 'there is no key at 0:99999:0'],
        [['--rw'], `set inodes 7:4096 inode_v3 bi_mode=0x81a4`, 3, 'would not be valid'],
        [['--rw'], `set extents 4096:8 inode`, 3, 'would not be valid'],
        [['--rw'], 'wipe', 2, "there is no command 'wipe'"],
        [['--rw'], 'set -s subvolumes 0:1 subvolume', 2, '-s is for deletions only'],
      ] as const) {
        const { exitCode, stderr } = await run('kvdb', [...options, '-c', command, image]);
        expect([command, exitCode, stderr]).toEqual([command, code, expect.stringContaining(message)]);
      }
      expect(readFileSync(image).equals(before)).toBe(true);
    });
  });
});
