// An ext4 image of every kind that mke2fs makes becomes bcachefs and is turned back: by our own reader and checker the new filesystem is whole and has every
// byte, ext4 is untouched outside of its free blocks, and after a rollback it is what it was.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { checkInvariants, findingText, loadChecksums, loadCompression, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { type Ext4Recipe, e2fsckSays, e2Status, makeExt4, usedBlocks, whyNoE2fsprogs } from '../support/ext4.ts';
import { makeSmallTree } from '../support/ext4-trees.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { validator } from '../support/schemas.ts';

/** Through the whole program, as documents and `migrate DEVICE` have their names from there. */
const run = (command: string, words: readonly string[]) => runCli(bcachefs, [...command.split(' '), ...words]);
async function succeed(command: string, words: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run(command, words);
  if (exitCode !== 0) throw new Error(`${command} ${words.join(' ')}: exit code ${exitCode}\n${stderr}`);
  return stdout;
}

const MIB = 2 ** 20;
// biome-ignore format: a kind on a line
const all: readonly (Partial<Ext4Recipe> & { readonly name: string; readonly words: readonly string[] })[] = [
  { name: 'usual', words: ['-t', 'ext4', '-b', '4096'] },
  { name: '1k', words: ['-t', 'ext4', '-b', '1024'] },
  { name: '2k', words: ['-t', 'ext4', '-b', '2048'] },
  { name: '64k', words: ['-t', 'ext4', '-b', '65536'], size: 192 * MIB },
  { name: 'ext2', words: ['-t', 'ext2', '-b', '4096'] },
  { name: 'ext3', words: ['-t', 'ext3', '-b', '1024'] },
  { name: 'no flex_bg', words: ['-t', 'ext4', '-O', '^flex_bg,^64bit,^metadata_csum', '-b', '1024'] },
  { name: 'inline_data', words: ['-t', 'ext4', '-O', 'inline_data', '-I', '512', '-b', '4096'] },
  { name: 'bigalloc', words: ['-t', 'ext4', '-O', 'bigalloc', '-b', '4096'] },
  { name: 'meta_bg', words: ['-t', 'ext4', '-O', 'meta_bg,^resize_inode', '-b', '1024'] },
  { name: 'sparse_super2', words: ['-t', 'ext4', '-O', 'sparse_super2', '-b', '4096'] },
  { name: 'ea_inode', words: ['-t', 'ext4', '-O', 'ea_inode,casefold', '-b', '4096'] },
  { name: 'tail', words: ['-t', 'ext4', '-b', '1024'], size: 96 * MIB + 77 * 1024 },
  { name: 'gdt_csum', words: ['-t', 'ext4', '-O', '^metadata_csum,uninit_bg', '-b', '4096'] },
];
const kinds = sampleOf('ext4 images that are migrated', all, ['usual', '1k', 'tail']);

describe.skipIf(whyNoE2fsprogs !== undefined)('migrate', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-migrate-'));
  const tree = join(folder, 'tree');
  const seed = testSeed();
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    makeSmallTree(tree, seed);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }), patient(60_000));
  const imageOf = (recipe: (typeof all)[number]) => {
    const image = join(folder, `${recipe.name}.img`);
    makeExt4(image, { size: '96M', ...recipe }, tree);
    return image;
  };
  const wholeness = (image: string) => {
    const filesystem = openFilesystem([image]);
    try {
      return checkInvariants(filesystem).findings.map(findingText);
    } finally {
      filesystem.close();
    }
  };

  test.each(kinds)('$name, there and back', { timeout: patient(120_000) }, async recipe => {
    const image = imageOf(recipe);
    const original = readFileSync(image);
    const { blockBytes, isFree } = usedBlocks(image);
    const isSame = () => {
      const now = readFileSync(image);
      const differing: number[] = [];
      for (let at = 0; at < now.length; at += blockBytes) {
        const block = at / blockBytes;
        if (
          !isFree(block) &&
          Buffer.compare(now.subarray(at, at + blockBytes), original.subarray(at, at + blockBytes)) !== 0
        )
          differing.push(block);
      }
      return differing;
    };
    await succeed('migrate', ['-n', image]);
    expect(Buffer.compare(readFileSync(image), original), 'a dry run writes nothing').toBe(0);
    const done = JSON.parse(await succeed('migrate', ['-y', '--json', '--verify=data', image]));
    expect(validator('migrate')(done)).toEqual([]);
    expect(done.result.files).toBeGreaterThan(60);
    expect(wholeness(image)).toEqual([]);
    expect(await run('fsck', ['-n', image])).toMatchObject({ exitCode: 0, stderr: '' });
    // The mark and the commit are all in the first block or two.
    const touched = isSame();
    expect(touched.every(block => (block + 1) * blockBytes <= Math.max(4096, blockBytes))).toBe(true);
    expect(e2Status('e2fsck', '-fy', image), 'a closed ext4 is not written to').toBe(8);
    expect(isSame()).toEqual(touched);

    const status = JSON.parse(await succeed('migrate status', ['--json', image]));
    expect(validator('migrate')(status)).toEqual([]);
    expect(status).toMatchObject({ state: 'migrated', mark: 'closed', rollback_possible: true });
    await succeed('migrate rollback', ['-y', image]);
    expect(isSame()).toEqual([]);
    expect(e2fsckSays(image)).toBe('');
    expect((await run('show-super', [image])).exitCode).not.toBe(0);
  });

  test.each(kinds)('$name, finished', { timeout: patient(120_000) }, async recipe => {
    const image = imageOf(recipe);
    const before = readFileSync(join(tree, 'a/tail'));
    await succeed('migrate', ['-y', '--data_checksum=none', image]);
    const finished = JSON.parse(await succeed('migrate finish', ['-y', '--json', image]));
    expect(validator('migrate')(finished)).toEqual([]);
    expect(wholeness(image)).toEqual([]);
    const restored = join(folder, 'restored');
    rmSync(restored, { recursive: true, force: true });
    await succeed('get', [image, 'a/tail', restored]);
    expect(Buffer.compare(readFileSync(restored), before)).toBe(0);
    const status = JSON.parse(await succeed('migrate status', ['--json', image]));
    expect(status).toMatchObject({ state: 'bcachefs', rollback_possible: null });
    const again = await run('migrate finish', ['-y', image]);
    expect(again.exitCode).toBe(2);
    expect(again.stderr).toContain('there is nothing to finish');
    const back = await run('migrate rollback', ['-y', image]);
    expect(back.stderr).toContain('there is no way back');
  });

  test('what has been deleted since ends the way back, and is named', { timeout: patient(120_000) }, async () => {
    const image = imageOf(all[0]!);
    await succeed('migrate', ['-y', image]);
    await succeed('put', [image, join(tree, 'a/block'), 'new']);
    expect(JSON.parse(await succeed('migrate status', ['--json', image]))).toMatchObject({ rollback_possible: true });
    await succeed('rm', [image, 'a/large']);
    const before = readFileSync(image);
    const { exitCode, stderr } = await run('migrate rollback', ['-y', image]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('of a/large');
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });

  test('an undo file brings ext4 back, byte for byte, after finishing too', { timeout: patient(120_000) }, async () => {
    const image = imageOf(all[1]!);
    const original = readFileSync(image);
    const undo = join(folder, 'undo');
    await succeed('migrate', ['-y', '--finish', `--undo_file=${undo}`, image]);
    await succeed('undo', [undo, image]);
    expect(Buffer.compare(readFileSync(image), original)).toBe(0);
  });

  test.each([
    ['not unmounted', ['ssv state 0'], /e2fsck -f/],
    ['needs recovery', ['feature +needs_recovery'], /e2fsck -f/],
    ['an unknown feature', ['feature FEATURE_I20'], /FEATURE_I20/],
  ])('refuses what is %s, and not a byte changes', { timeout: patient(60_000) }, async (_, debugfs, message) => {
    const image = imageOf({ ...all[0]!, name: 'refused', debugfs });
    const before = readFileSync(image);
    const { exitCode, stderr } = await run('migrate', ['-y', image]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(message);
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });

  test('refuses a disk that is too full, with the numbers', { timeout: patient(60_000) }, async () => {
    const image = imageOf({ name: 'full', words: ['-t', 'ext4', '-b', '4096', '-N', '200000'], size: 65 * MIB });
    const before = readFileSync(image);
    const { exitCode, stderr } = await run('migrate', ['-y', image]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('too full');
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });
});
