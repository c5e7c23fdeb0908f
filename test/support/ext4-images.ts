// ext4 images for tests of migrations: made by mke2fs of a small tree, and what debugfs and dumpe2fs say of them.

import { spawnSync } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomFrom } from './random.ts';

const MIB = 2 ** 20;

/** Programs of e2fsprogs lie where only root looks. */
function e2fs(program: string, words: readonly string[]): { readonly status: number; readonly stdout: string } {
  const path = ['/usr/sbin', '/sbin', '/usr/bin', '/opt/homebrew/sbin'].map(dir => join(dir, program)).find(existsSync);
  const { status, stdout, stderr } = spawnSync(path ?? program, words, { encoding: 'utf8', maxBuffer: 64 * MIB });
  return { status: status ?? 127, stdout: `${stdout}${stderr}` };
}

/** Whether mke2fs, e2fsck and dumpe2fs are there. */
export const hasE2fsprogs: boolean = e2fs('mke2fs', ['-V']).status === 0;

export interface Ext4Recipe {
  readonly name: string;
  /** Of mke2fs. */
  readonly words: readonly string[];
  readonly sizeBytes?: number;
  /** Commands of debugfs, after the files are there. */
  readonly debugfs?: readonly string[];
}

/** A tree with what files can be: holes, tails, several names, long and short links, and something in each directory. */
export function makeSmallTree(folder: string, seed: number): void {
  const random = randomFrom(seed);
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => random.below(256)));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'a/b/c'), { recursive: true });
  writeFileSync(join(folder, 'empty'), '');
  writeFileSync(join(folder, 'tiny'), bytes(5));
  writeFileSync(join(folder, 'a/block'), bytes(4096));
  writeFileSync(join(folder, 'a/tail'), bytes(70_001));
  writeFileSync(join(folder, 'a/large'), Buffer.concat([bytes(64), Buffer.alloc(700_000, 7)]), { mode: 0o600 });
  writeFileSync(join(folder, 'a/b/hole'), 'begin');
  truncateSync(join(folder, 'a/b/hole'), 1_000_000);
  writeFileSync(join(folder, 'a/b/hole'), Buffer.from('end'), { flag: 'a' });
  linkSync(join(folder, 'tiny'), join(folder, 'a/b/c/other name'));
  symlinkSync('tiny', join(folder, 'short'));
  symlinkSync(`${'far/'.repeat(40)}away`, join(folder, 'long'));
  for (let i = 0; i < 60; i++) writeFileSync(join(folder, `a/b/c/file ${i}`), bytes(random.below(3000)));
}

export function makeExt4(image: string, tree: string, { words, sizeBytes = 96 * MIB, debugfs }: Ext4Recipe): void {
  rmSync(image, { force: true });
  writeFileSync(image, '');
  truncateSync(image, sizeBytes);
  const made = e2fs('mke2fs', ['-q', '-F', '-d', tree, ...words, image]);
  if (made.status !== 0) throw new Error(made.stdout);
  for (const command of debugfs ?? []) {
    const done = e2fs('debugfs', ['-w', '-R', command, image]);
    if (done.status !== 0) throw new Error(done.stdout);
  }
}

/** What e2fsck says against it; empty when it is clean. It writes nothing. */
export function e2fsckSays(image: string): string {
  const { status, stdout } = e2fs('e2fsck', ['-fn', image]);
  return status === 0 ? '' : stdout;
}

/** Runs a program of e2fsprogs. */
export const runE2fs = (program: string, ...words: readonly string[]): number => e2fs(program, words).status;

/** Blocks of the image that are in use, and how long one is. */
export function usedBlocks(image: string): {
  readonly blockBytes: number;
  readonly isFree: (block: number) => boolean;
} {
  const { stdout } = e2fs('dumpe2fs', [image]);
  const blockBytes = Number(/Block size:\s+(\d+)/.exec(stdout)?.[1]);
  const clusterBytes = Number(/Cluster size:\s+(\d+)/.exec(stdout)?.[1] ?? blockBytes);
  // With bigalloc a range ends at the first block of its last cluster.
  const more = clusterBytes / blockBytes - 1;
  const free = new Set<number>();
  for (const [, list = ''] of stdout.matchAll(/Free blocks: ([\d\-, ]+)\n/g)) {
    for (const range of list.split(',')) {
      const [from = Number.NaN, to = from] = range.trim().split('-').map(Number);
      for (let block = from; block <= to + more; block++) free.add(block);
    }
  }
  return { blockBytes, isFree: block => free.has(block) };
}
