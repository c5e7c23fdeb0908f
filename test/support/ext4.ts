// Filesystems that e2fsprogs makes: ext2, ext3 and ext4 of every kind that it can make without a kernel. Where a run must be complete
// (CI=true, --require-kernel) it is installed; elsewhere what needs it is skipped with a word.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
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

export interface Ext4Kind {
  readonly name: string;
  readonly size: string;
  readonly words: readonly string[];
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
export function makeExt4(image: string, { size, words }: Pick<Ext4Kind, 'size' | 'words'>, folder?: string): void {
  rmSync(image, { force: true });
  writeFileSync(image, '');
  truncateSync(image, sizeOf(size));
  const source = folder === undefined ? [] : ['-d', folder];
  const same = ['-U', '5ca1ab1e-0000-4000-8000-00000000e474', '-E', 'hash_seed=5ca1ab1e-0000-4000-8000-00000000e475'];
  e2('mke2fs', ['-q', '-F', ...same, ...source, ...words, image]);
}

function sizeOf(text: string): number {
  const unit = { K: 2 ** 10, M: 2 ** 20 }[text.at(-1)!];
  if (unit === undefined) throw new Error(`a size such as 32M: ${text}`);
  return Number(text.slice(0, -1)) * unit;
}

/** A small tree with every type of file. Owners and devices need root. */
export function makeExt4Tree(folder: string, { files = 400, links = 1000 } = {}): void {
  const at = (...names: string[]) => join(folder, ...names);
  mkdirSync(at('deep', 'er', 'still'), { recursive: true });
  mkdirSync(at('many'));
  mkdirSync(at('empty'));
  for (const [name, bytes] of [
    ['nothing', 0],
    ['one', 1],
    ['inline', 60],
    ['inline and more', 140],
    ['block', 4096],
    ['large', 700_001],
  ] as const)
    writeFileSync(
      at('deep', name),
      Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8) * 13) % 251),
    );
  for (let i = 0; i < files; i++) writeFileSync(at('many', `a file whose name is rather long ${i}`), '');
  writeFileSync(at('linked'), 'several names');
  for (let i = 0; i < links; i++) linkSync(at('linked'), at('many', `link ${i}`));
  writeFileSync(at('holes'), 'begin');
  truncateSync(at('holes'), 3_000_001);
  writeFileSync(at('holes'), 'middle', { flag: 'r+' });
  symlinkSync('linked', at('short link'));
  symlinkSync(`${'x'.repeat(60)}`, at('link of 60'));
  symlinkSync(`${'y/'.repeat(300)}z`, at('long link'));
  writeFileSync(at('n'.repeat(255)), 'long');
  writeFileSync(Buffer.concat([Buffer.from(at('bytes ')), Buffer.from([0xff, 0x0a, 0x80])]), 'no UTF-8');
  chmodSync(at('deep', 'one'), 0o4711);
  chmodSync(at('empty'), 0o1777);
  for (const [i, name] of ['holes', 'linked', 'deep', 'deep/one'].entries())
    utimesSync(at(name), 1_000_000_000 + i, 1_100_000_000 + i);
  if (process.getuid?.() !== 0) return;
  chownSync(at('deep', 'one'), 70_000, 80_000);
  for (const words of [
    [at('null'), 'c', '1', '3'],
    [at('disk'), 'b', '300', '70000'],
    [at('pipe'), 'p'],
  ])
    e2('mknod', words);
}

/** Attributes of small files, by Python: setfattr is not on every machine. */
export function setXattrs(
  folder: string,
  xattrs: Readonly<Record<string, Readonly<Record<string, Uint8Array>>>>,
): void {
  const list = Object.entries(xattrs).flatMap(([file, values]) =>
    Object.entries(values).map(([name, value]) => [join(folder, file), name, Buffer.from(value).toString('hex')]),
  );
  e2('python3', [
    '-c',
    'import json,os,sys\nfor p,n,v in json.loads(sys.argv[1]): os.setxattr(p,n,bytes.fromhex(v),follow_symlinks=False)',
    JSON.stringify(list),
  ]);
}
