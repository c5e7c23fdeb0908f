// ext4 filesystems to be migrated, of every kind: those that the kernel makes files in, and those that only the host can make, from a folder.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDevice } from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { debugfs, type Ext4Recipe, e2, makeExt4 } from '../support/ext4.ts';
import { makeExt4Tree } from '../support/ext4-trees.ts';
import { isSoak } from '../support/long.ts';
import type { Step } from './vm/index.ts';

const MIB = 2 ** 20;

export interface MigratedKind extends Ext4Recipe {
  readonly name: string;
  readonly type: 'ext2' | 'ext3' | 'ext4';
  /** What the kernel does in it, besides the usual mixture of files; undefined where the host fills it. */
  readonly steps?: readonly Step[];
  /** Makes the folder that it is filled from. */
  readonly tree?: (folder: string) => void;
  /** What mke2fs cannot make; the folder is changed alike. */
  readonly change?: (image: string, folder: string) => void;
  /** Of migrate: what may be lost. */
  readonly accepts?: readonly string[];
  /** Nothing is written to it before it is finished: a kernel would move what is in its way. */
  readonly isFull?: boolean;
}

const sh = (script: string): Step => ({ do: 'sh', script, timeoutSeconds: 600 });
const NAMES = isSoak ? 100_000 : 8_000;
const MANY = sh(`mkdir crowd && cd crowd && seq ${NAMES} | xargs touch`);
const LINKS = sh('echo named > linked && mkdir names && for i in $(seq 1000); do ln linked names/$i; done');
/** Every second of many small files is deleted, the rest of the disk is taken, and a large file gets what is in between. */
const FRAGMENTS = sh(
  'mkdir pieces && cd pieces && for i in $(seq 6000); do echo $i > $i; done && sync && seq 1 2 6000 | xargs rm && cd .. && sync && ' +
    'fallocate -l $(($(stat -f -c %f .) * 4096 - 16 * 1048576)) rest && head -c 12582912 /dev/urandom > scattered && sync && rm rest',
);
/** Some of it is allocated and never written, so that it takes no room on the host. */
const UP_TO_95_PERCENT = sh(
  'mkdir heap && for i in $(seq 40); do head -c $((i % 7 * 300000 + 50000)) /dev/urandom > heap/$i || exit 1; done && sync && ' +
    'fallocate -l $(($(stat -f -c %f .) * 4096 - $(stat -f -c %b .) * 204)) rest',
);
const HOLE = sh('echo begin > sparse && truncate -s 4398046511104 sparse && echo end >> sparse');

const usual = { type: 'ext4', size: '160M', steps: [] } as const;
const host = {
  type: 'ext4',
  size: '96M',
  tree: (folder: string) => makeExt4Tree(folder, { files: 100, links: 1000 }),
} as const;

// biome-ignore format: a kind on a line
export const migratedKinds: readonly MigratedKind[] = [
  { ...usual, name: 'usual', words: ['-t', 'ext4', '-b', '4096'] },
  { ...usual, name: '1k', words: ['-t', 'ext4', '-b', '1024', '-O', 'project,ea_inode', '-I', '256'] },
  { ...usual, name: '2k', words: ['-t', 'ext4', '-b', '2048', '-O', 'inline_data', '-I', '512'] },
  { ...usual, name: 'bigalloc', words: ['-t', 'ext4', '-b', '4096', '-O', 'bigalloc'] },
  { ...usual, name: 'ext2', type: 'ext2', words: ['-t', 'ext2', '-b', '4096'] },
  { ...usual, name: 'ext3', type: 'ext3', words: ['-t', 'ext3', '-b', '1024'] },
  { ...usual, name: 'no flex_bg', words: ['-t', 'ext4', '-b', '1024', '-O', '^flex_bg,^64bit,^metadata_csum'] },
  { ...usual, name: 'meta_bg', words: ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode'] },
  { ...usual, name: 'sparse_super2', words: ['-t', 'ext4', '-b', '4096', '-O', 'sparse_super2'] },
  { ...usual, name: 'large_dir', words: ['-t', 'ext4', '-b', '1024', '-O', 'large_dir', '-N', '120000'], steps: [MANY, LINKS] },
  { ...usual, name: 'tail', size: 160 * MIB + 77 * 1024, words: ['-t', 'ext4', '-b', '1024'], steps: [LINKS] },
  { ...usual, name: 'fragmented', words: ['-t', 'ext4', '-b', '4096', '-m', '0', '-N', '20000'], steps: [FRAGMENTS] },
  { ...usual, name: 'full', size: '1024M', words: ['-t', 'ext4', '-b', '4096', '-m', '0', '-N', '4000', '-J', 'size=4'], steps: [UP_TO_95_PERCENT], isFull: true },
  { ...usual, name: 'casefold', words: ['-t', 'ext4', '-b', '4096', '-O', 'casefold'], debugfs: ['mkdir folded', 'set_inode_field folded flags 0x40080000'],
    steps: [sh('echo 1 > folded/One && test -e folded/oNE')], accepts: ['--ignore_casefold'] },
  { ...usual, name: '4 TiB', size: '4T', steps: [HOLE],
    words: ['-t', 'ext4', '-b', '4096', '-O', 'sparse_super2,^resize_inode', '-G', '4096', '-N', '600000', '-J', 'size=16', '-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard'] },
  { ...host, name: '64k', size: '192M', words: ['-t', 'ext4', '-b', '65536'] },
  { ...host, name: 'a real tree', size: '256M', tree: realTree, words: ['-t', 'ext4', '-b', '4096', '-N', '20000'] },
  { ...host, name: 'shared_blocks', words: ['-t', 'ext4', '-b', '4096', '-N', '4000'], change: shareBlocks },
  { ...host, name: 'verity', words: ['-t', 'ext4', '-b', '4096', '-O', 'verity', '-N', '4000'], change: protect, accepts: ['--ignore_verity'] },
];

/** A part of the root of this machine. */
function realTree(folder: string): void {
  mkdirSync(folder);
  const parts = ['etc/alternatives', 'usr/sbin', 'usr/lib/git-core', 'usr/share/perl', 'usr/share/zoneinfo'];
  const there = parts.filter(part => existsSync(`/${part}`));
  const { status, stderr } = spawnSync('cp', ['-a', '--parents', ...there, folder], { cwd: '/', encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

/** Two files of the same bytes get the same blocks. */
function shareBlocks(image: string, folder: string): void {
  const bytes = Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * 31) % 253));
  for (const name of ['twin 1', 'twin 2']) writeFileSync(join(folder, name), bytes);
  debugfs(image, `write "${join(folder, 'twin 1')}" "twin 1"`, `write "${join(folder, 'twin 2')}" "twin 2"`);
  const blockOf = (name: string) => extentsOf(image, name)[0]!;
  const [first, second] = [blockOf('twin 1'), blockOf('twin 2')];
  // ee_start_lo of the only extent
  debugfs(image, `set_inode_field "twin 2" block[5] ${first.block}`, 'feature shared_blocks');
  debugfs(image, `freeb ${second.block} ${second.blocks}`);
  // It counts free blocks anew, and leaves what is shared.
  e2('e2fsck', ['-fy', image], [0, 1]);
}

/** A file with the flag and something after its end, where the hashes of fs-verity are. */
function protect(image: string, folder: string): void {
  const file = join(folder, 'protected');
  writeFileSync(file, Buffer.alloc(5 * 4096, 'protected'));
  debugfs(
    image,
    `write ${file} protected`,
    'set_inode_field protected size 5000',
    'set_inode_field protected flags 0x180000',
  );
  truncateSync(file, 5000);
}

function extentsOf(image: string, name: string) {
  const device = openDevice(image, { write: false });
  try {
    const fs = openExt4(device);
    for (const { path, inode } of fs.tree()) if (Buffer.from(path).toString() === name) return [...fs.extents(inode)];
    throw new Error(`no ${name}`);
  } finally {
    device.close();
  }
}

/** @param folder for the tree of one that the host fills */
export function makeMigrated(kind: MigratedKind, image: string, folder: string): void {
  if (kind.tree === undefined) makeExt4(image, kind);
  else {
    kind.tree(folder);
    makeExt4(image, kind, folder);
    kind.change?.(image, folder);
  }
}
