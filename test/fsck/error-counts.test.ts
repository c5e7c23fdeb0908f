// What fsck leaves in the superblock: how often each error was found and when last, and nothing more for a mount to check.

import { expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { loadImage, saveImage } from '../support/memory-images.ts';
import { tamper, wrongCounts } from '../support/recovered.ts';
import { withDamaged } from './damaged.ts';

/** Lines of `show-super`: the error and how often it was found. */
async function countsIn(image: string): Promise<readonly string[]> {
  const text = await succeed('show-super', ['--fields=errors', image]);
  return [...text.matchAll(/^([a-z_]+) +(\d+) +\S+ \S+ +\d+ [\d:]+ \d{4}$/gm)].map(
    ([, name, count]) => `${name} ${count}`,
  );
}

test('errors are counted, beside those that were found before', () =>
  withDamaged(wrongCounts, async ({ image, fsck }) => {
    expect((await fsck('-n')).exitCode).toBe(4);
    expect(await countsIn(image)).toEqual([]);
    expect((await fsck('-y')).exitCode).toBe(1);
    expect(await countsIn(image)).toEqual(['inode_dir_wrong_nlink 5']);
    const device = loadImage(image);
    tamper([device], wrongCounts);
    saveImage(device, image);
    expect((await fsck('-y')).exitCode).toBe(1);
    expect(await countsIn(image)).toEqual(['inode_dir_wrong_nlink 10']);
  }));

test('what a mount was asked to check was checked: nothing is left of it, and a third run changes nothing', () =>
  withDamaged(undefined, async ({ image, fsck, contents }) => {
    await succeed('recovery-pass', ['--set=check_inodes', image]);
    const before = contents();
    expect((await fsck('-n')).exitCode).toBe(0);
    expect(contents().equals(before)).toBe(true);
    const { exitCode, stdout } = await fsck('-p');
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: `${image}: clean\n` });
    expect(await succeed('recovery-pass', [image])).not.toContain('check_inodes');
    const after = contents();
    expect((await fsck('-y')).exitCode).toBe(0);
    expect(contents().equals(after)).toBe(true);
  }));
