// corrupt and kill_btree_node: what they damage, and what they refuse.

import { readFileSync } from 'node:fs';
import { checkInvariants, findingText, openFilesystem } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';

function findings(images: readonly string[]): readonly string[] {
  const filesystem = openFilesystem(images);
  try {
    return checkInvariants(filesystem).findings.map(findingText);
  } finally {
    filesystem.close();
  }
}

describe('corrupt', () => {
  test('lists its recipes, and damages nothing', async () => {
    expect(await succeed('corrupt', ['--list'])).toMatch(
      /^btree nodes:\n {2}leaf-zero-extents +a leaf of extents is zeroes\n/,
    );
    const { recipes } = JSON.parse(await succeed('corrupt', ['--list', '--json']));
    expect(recipes).toContainEqual({
      name: 'inode-nlink-high',
      area: 'inodes',
      does: 'a file counts more names than it has',
    });
  });

  test('damages the same again with the same seed', async () => {
    const damaged = async (seed: string) =>
      await withTestImage('basic', async ([image = '']) => {
        const text = await succeed('corrupt', [`--seed=${seed}`, image, 'inode-nlink-high', 'random-superblock']);
        return { text: text.replaceAll(image, 'IMAGE'), bytes: readFileSync(image), found: findings([image]) };
      });
    const [one, again, other] = [await damaged('1'), await damaged('1'), await damaged('2')];
    expect(one.text).toMatch(/^inode-nlink-high: inodes 0:\d+:U32_MAX\nrandom-superblock: superblocks at IMAGE sector/);
    expect(one.found).toContainEqual(expect.stringContaining('nlink'));
    expect(again.text).toBe(one.text);
    expect(again.found).toEqual(one.found);
    expect(other.text).not.toBe(one.text);
  });

  test('is made on filesystems of several members too', async () => {
    await withTestImage('multi', async images => {
      const { damaged } = JSON.parse(await succeed('corrupt', ['--json', images.join(':'), 'replica-one-zero']));
      expect(damaged).toMatchObject([{ recipe: 'replica-one-zero', hit: expect.stringContaining('node of extents') }]);
    });
  });

  test('what it cannot do changes nothing and is an error', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      for (const [words, message] of [
        [[image, 'node-bad'], 'there is no recipe "node-bad"'],
        [[image, 'interior-zero-extents'], 'there is no interior node of extents to damage'],
        [[image], 'name an image and what to do to it'],
        [[], 'name an image and what to do to it'],
      ] as const) {
        const { exitCode, stderr } = await run('corrupt', words);
        expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)]);
      }
      expect(readFileSync(image).equals(before)).toBe(true);
    });
  });
});

describe('kill_btree_node', () => {
  test.each([
    ['zero', /magic/],
    ['csum', /checksum/],
    ['keys', /checksum/],
  ] as const)('%s makes a node unreadable', async (error, says) => {
    await withTestImage('basic', async ([image = '']) => {
      const text = await succeed('kill_btree_node', ['-n', 'inodes:0:0', '-e', error, image]);
      expect(text).toMatch(/^inodes:0:0 \(\w+\): .*, sector \d+, byte \d+\n$/);
      const { exitCode, stderr } = await run('list', ['-b', 'inodes', image]);
      expect([exitCode, stderr]).toEqual([1, expect.stringMatching(says)]);
    });
  });

  test('one copy of several: the other is read', async () => {
    await withTestImage('multi', async images => {
      const before = await succeed('list', ['-b', 'dirents', ...images]);
      const { nodes } = JSON.parse(await succeed('kill_btree_node', ['--json', '-n', 'dirents', '--dev=1', ...images]));
      expect(nodes).toMatchObject([{ btree: 'dirents', level: 0, index: 0, copies: [{ dev: 1, offset_bytes: 0 }] }]);
      expect(await succeed('list', ['-b', 'dirents', ...images])).toBe(before);
      await succeed('kill_btree_node', ['-n', 'dirents', '--dev=0', ...images]);
      expect((await run('list', ['-b', 'dirents', ...images])).exitCode).toBe(1);
    });
  });

  test('what it cannot do changes nothing and is an error', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      for (const [words, message] of [
        [['-n', 'inodes:0:0', '-n', 'inodes:0:99', image], 'inodes has 3 nodes of level 0, and none of index 99'],
        [['-n', 'inodes:9', image], 'level 9, the greatest is'],
        [['-n', 'inode', image], 'there is no btree called "inode"'],
        [['-n', 'inodes:0:0', '--dev=3', image], 'no copy of the node is on member 3, only on 0'],
        [[image], 'name the nodes that are to be damaged'],
      ] as const) {
        const { exitCode, stderr } = await run('kill_btree_node', words);
        expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)]);
      }
      expect(readFileSync(image).equals(before)).toBe(true);
    });
  });
});
