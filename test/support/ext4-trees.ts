// Folders that ext4 filesystems are filled from.

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
import { e2 } from './ext4.ts';
import { randomFrom } from './random.ts';

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
