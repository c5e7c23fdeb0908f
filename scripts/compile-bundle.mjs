// Writes SCRIPT.cache for each script of a bundle: its code as V8 has compiled it after some everyday commands on a small image.
//
//   node scripts/compile-bundle.mjs BUNDLE      its first script

import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Script } from 'node:vm';

const [, , bundle] = process.argv;
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-compile-'));
const image = join(folder, 'a.img');

/** What most starts are; what only others need is compiled when it is needed. */
const commands = [
  ['format', '--quiet', '--fs_size=16M', image],
  ['show-super', image],
  ['mkdir', '--quiet', image, 'd'],
  ['ls', '-l', image],
  ['show-super', '--json', image],
  ['list', '--btree=inodes', image],
  ['fsck', '-n', image],
];

const dist = dirname(bundle);
/** By path. */
const scripts = new Map();
/** As entry.cjs has it. */
function load(name) {
  const filename = join(dist, name);
  const script = new Script(readFileSync(filename, 'latin1'), { filename });
  scripts.set(filename, script);
  return script.runInThisContext();
}

const { run } = load(basename(bundle))(createRequire(bundle), dist, load);
const exit = process.exit;
try {
  for (const words of commands) {
    process.argv = [process.execPath, 'bcachefs', ...words];
    let code;
    process.exit = status => {
      code = status;
    };
    await run('bcachefs');
    if (code !== 0) throw new Error(`bcachefs ${words.join(' ')} ended with ${code}`);
  }
} finally {
  process.exit = exit;
  rmSync(folder, { recursive: true, force: true });
}
for (const [filename, script] of scripts) {
  const unfinished = `${filename}.cache.${process.pid}`;
  writeFileSync(unfinished, script.createCachedData());
  renameSync(unfinished, `${filename}.cache`);
}
