// Filesystems that e2fsprogs makes: ext2, ext3 and ext4 of every kind that it can make without a kernel. Where a run must be complete
// (CI=true, --require-kernel) it is installed; elsewhere what needs it is skipped with a word.

import { spawnSync } from 'node:child_process';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { installMissingCommands } from '../kernel/vm/apt.ts';

if (process.env.CI === 'true' || process.env.BCACHEFS_REQUIRE_KERNEL === '1') {
  await installMissingCommands(
    line => process.stderr.write(`ext4 tests: ${line}\n`),
    [
      { command: 'mke2fs', package: 'e2fsprogs' },
      { command: 'debugfs', package: 'e2fsprogs' },
    ],
  );
}

/** System programs are not on every user's path. */
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' };

/** Why there are no filesystems to read; undefined when there are. */
export const whyNoE2fsprogs: string | undefined = ['mke2fs', 'debugfs', 'e2fsck'].every(
  command => spawnSync(command, ['-V'], { env }).status === 0,
)
  ? undefined
  : 'mke2fs, debugfs or e2fsck is not there (package e2fsprogs); with CI=true they are';

/** @returns what it prints @throws when its exit status is not one of those */
export function e2(command: string, words: readonly string[], statuses: readonly number[] = [0]): string {
  const { status, stdout, stderr } = spawnSync(command, words, { env, encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status === null || !statuses.includes(status))
    throw new Error(`${command} ${words.join(' ')}: exit status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** @param commands a line each */
export const debugfs = (image: string, ...commands: readonly string[]): string =>
  commands.map(line => e2('debugfs', ['-w', '-R', line, image])).join('');

/** What e2fsck says against it; empty when it is clean. It writes nothing. */
export function e2fsckSays(image: string): string {
  const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', image], { env, encoding: 'utf8' });
  return status === 0 ? '' : `exit status ${status}\n${stdout}${stderr}`;
}

/** The exit status of a program that may fail. */
export const e2Status = (command: string, ...words: readonly string[]): number | null =>
  spawnSync(command, words, { env }).status;

/** Blocks of the image that are in use, by dumpe2fs, and how long one is. */
export function usedBlocks(image: string): {
  readonly blockBytes: number;
  readonly isFree: (block: number) => boolean;
} {
  const text = e2('dumpe2fs', [image]);
  const blockBytes = Number(/Block size:\s+(\d+)/.exec(text)?.[1]);
  const clusterBytes = Number(/Cluster size:\s+(\d+)/.exec(text)?.[1] ?? blockBytes);
  // With bigalloc a range ends at the first block of its last cluster.
  const more = clusterBytes / blockBytes - 1;
  const free = new Set<number>();
  for (const [, list = ''] of text.matchAll(/Free blocks: ([\d\-, ]+)\n/g)) {
    for (const range of list.split(',')) {
      const [from = Number.NaN, to = from] = range.trim().split('-').map(Number);
      for (let block = from; block <= to + more; block++) free.add(block);
    }
  }
  return { blockBytes, isFree: block => free.has(block) };
}

/** How to make one. */
export interface Ext4Recipe {
  /** Bytes, or a number of them such as `32M`. */
  readonly size: number | string;
  /** Of mke2fs. */
  readonly words: readonly string[];
  /** Commands of debugfs, after the files are there. */
  readonly debugfs?: readonly string[];
}

export interface Ext4Kind extends Ext4Recipe {
  readonly name: string;
  /** What it has no place for; `holes` where mke2fs 1.47.0 -d gives files with holes a size that is too small. */
  readonly lacks?: 'xattrs' | 'holes';
}

// biome-ignore format: a kind on a line
export const ext4Kinds: readonly Ext4Kind[] = [
  { name: '4k', size: '32M', words: ['-t', 'ext4', '-b', '4096'] },
  { name: '1k', size: '24M', words: ['-t', 'ext4', '-b', '1024'] },
  { name: '2k', size: '24M', words: ['-t', 'ext4', '-b', '2048'] },
  { name: '64k', size: '256M', words: ['-t', 'ext4', '-b', '65536'] },
  { name: 'ext2', size: '24M', words: ['-t', 'ext2', '-b', '1024'] },
  { name: 'ext2 of 1995', size: '24M', words: ['-t', 'ext2', '-r', '0'], lacks: 'xattrs' },
  { name: 'ext3', size: '32M', words: ['-t', 'ext3', '-b', '4096'] },
  { name: 'no flex_bg', size: '300M', words: ['-t', 'ext4', '-O', '^flex_bg'] },
  { name: 'no 64bit', size: '24M', words: ['-t', 'ext4', '-O', '^64bit'] },
  { name: 'no checksums', size: '24M', words: ['-t', 'ext4', '-O', '^metadata_csum'] },
  { name: 'gdt_csum', size: '300M', words: ['-t', 'ext4', '-O', '^metadata_csum,uninit_bg'] },
  { name: 'gdt_csum, no 64bit', size: '24M', words: ['-t', 'ext4', '-O', '^metadata_csum,uninit_bg,^64bit'] },
  { name: 'bigalloc', size: '64M', words: ['-t', 'ext4', '-O', 'bigalloc'] },
  { name: 'bigalloc 1k', size: '64M', words: ['-t', 'ext4', '-O', 'bigalloc', '-b', '1024', '-C', '16384'] },
  { name: 'inline_data', size: '24M', words: ['-t', 'ext4', '-O', 'inline_data'], lacks: 'holes' },
  { name: 'inodes of 1 KiB', size: '24M', words: ['-t', 'ext4', '-O', 'inline_data', '-I', '1024'], lacks: 'holes' },
  { name: 'inodes of 128 bytes', size: '24M', words: ['-t', 'ext4', '-I', '128'] },
  { name: 'ea_inode', size: '24M', words: ['-t', 'ext4', '-O', 'ea_inode'] },
  { name: 'meta_bg', size: '600M', words: ['-t', 'ext4', '-O', 'meta_bg,^resize_inode', '-b', '1024'] },
  { name: 'sparse_super2', size: '600M', words: ['-t', 'ext4', '-O', 'sparse_super2'] },
  { name: 'no sparse_super', size: '64M', words: ['-t', 'ext4', '-O', '^sparse_super,^resize_inode', '-b', '1024'] },
  { name: 'large_dir', size: '24M', words: ['-t', 'ext4', '-O', 'large_dir'] },
  { name: 'quota, project', size: '24M', words: ['-t', 'ext4', '-O', 'quota,project'] },
  { name: 'mmp', size: '24M', words: ['-t', 'ext4', '-O', 'mmp'] },
  { name: 'csum_seed', size: '24M', words: ['-t', 'ext4', '-O', 'metadata_csum_seed'] },
  { name: 'orphan_file', size: '24M', words: ['-t', 'ext4', '-O', 'orphan_file'] },
  { name: 'no filetype', size: '24M', words: ['-t', 'ext2', '-O', '^filetype'] },
  { name: 'fast_commit', size: '24M', words: ['-t', 'ext4', '-O', 'fast_commit'] },
  { name: 'casefold, verity, encrypt', size: '24M', words: ['-t', 'ext4', '-O', 'casefold,verity,encrypt,stable_inodes'] },
  { name: 'a tail', size: '20003K', words: ['-t', 'ext4', '-b', '1024'] },
];

/** Makes one, filled from a folder. It has the same bytes each time but for times. */
export function makeExt4(image: string, { size, words, debugfs: commands = [] }: Ext4Recipe, folder?: string): void {
  rmSync(image, { force: true });
  writeFileSync(image, '');
  truncateSync(image, typeof size === 'number' ? size : sizeOf(size));
  const source = folder === undefined ? [] : ['-d', folder];
  const same = ['-U', '5ca1ab1e-0000-4000-8000-00000000e474', '-E', 'hash_seed=5ca1ab1e-0000-4000-8000-00000000e475'];
  e2('mke2fs', ['-q', '-F', ...same, ...source, ...words, image]);
  debugfs(image, ...commands);
}

function sizeOf(text: string): number {
  const unit = { K: 2 ** 10, M: 2 ** 20, T: 2 ** 40 }[text.at(-1)!];
  if (unit === undefined) throw new Error(`a size such as 32M: ${text}`);
  return Number(text.slice(0, -1)) * unit;
}
