// Writes BUNDLE.cache: the code of a bundle as V8 has compiled it after some everyday commands on a small image.
//
//   node scripts/compile-bundle.mjs BUNDLE

import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';

const [, , filename] = process.argv;
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-compile-'));
const image = join(folder, 'a.img');

/** What most starts are; what only others need is compiled when it is needed. */
const commands = [
  ['format', '--quiet', '--fs_size=16M', image],
  ['show-super', image],
  ['mkdir', '--quiet', image, 'd'],
  ['ls', '-l', image],
  ['show-super', '--json', image],
];

const script = new Script(readFileSync(filename, 'latin1'), { filename });
const { run } = script.runInThisContext()(createRequire(filename), filename, dirname(filename));
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
const unfinished = `${filename}.cache.${process.pid}`;
writeFileSync(unfinished, script.createCachedData());
renameSync(unfinished, `${filename}.cache`);
