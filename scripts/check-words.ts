// Keeps phrases out of the project that a native speaker would not write, or that mean something else than was meant: a word list over
// sources, tests, scripts and documentation. Prints each as `file:line: 'phrase': better …` and exits with 1 when there is any.
// Texts that came from the reference are left as they are.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { foundPhrases } from './words.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Files and folders at the root that are read. */
const roots: readonly string[] = ['README.md', 'CONTRIBUTING.md', 'docs', 'packages', 'scripts', 'test'];

/** Text that is not ours, and the list itself. */
const notOurs: readonly RegExp[] = [/\/golden\//, /^scripts\/words(\.test)?\.ts$/];

function textFiles(path: string): string[] {
  return readdirSync(join(root, path), { withFileTypes: true }).flatMap(entry => {
    const inner = `${path}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'dist' ? [] : textFiles(inner);
    return /\.(ts|mjs|js|md|json|py|sh|c)$/.test(entry.name) ? [inner] : [];
  });
}

const paths = roots
  .flatMap(path => (path.includes('.') ? [path] : textFiles(path)))
  .filter(path => !notOurs.some(pattern => pattern.test(path)));

let count = 0;
for (const path of paths) {
  for (const { line, phrase, better } of foundPhrases(readFileSync(join(root, path), 'utf8'))) {
    console.error(`${path}:${line}: '${phrase}': better ${better}`);
    count++;
  }
}
console.error(count === 0 ? 'words: clean' : `words: ${count} phrases`);
process.exitCode = count === 0 ? 0 : 1;
