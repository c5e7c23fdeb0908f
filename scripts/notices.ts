// The notices of everything that a bundle takes in: each dependency with its version and the text of its licence.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly author?: string | { readonly name: string };
  readonly repository?: string | { readonly url: string };
}

const LICENCE_FILE = /^(licen[cs]e|copying|notice)\b.*$/i;

/**
 * @param inputs files that went into a bundle, from the folder `root`
 * @throws Error for a dependency that does not say what its licence is
 */
export function noticesOf(root: string, inputs: Iterable<string>): string {
  const folders = new Set<string>();
  for (const input of inputs) if (input.includes('node_modules/')) folders.add(packageFolder(join(root, input)));
  const notices = [...folders].map(noticeOf).toSorted();
  return ['bcachefs-ts is made under GPL-2.0-only; see LICENSE. The programs contain these packages:', ...notices].join(
    `\n\n${'-'.repeat(78)}\n\n`,
  );
}

/** The nearest folder above a file whose package.json has a name: some packages have others inside, for module types only. */
function packageFolder(file: string): string {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) && manifestOf(folder).version !== undefined) return folder;
  }
  throw new Error(`${file} belongs to no package`);
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

function noticeOf(folder: string): string {
  const { name, version, license, author, repository } = manifestOf(folder);
  if (license === undefined) throw new Error(`${name} ${version} says nothing of its licence`);
  const head = [`${name} ${version}, ${license}`];
  const by = typeof author === 'object' ? author.name : author;
  if (by !== undefined) head.push(by);
  const from = typeof repository === 'object' ? repository.url : repository;
  if (from !== undefined) head.push(from);
  const texts = readdirSync(folder)
    .filter(file => LICENCE_FILE.test(file))
    .toSorted()
    .map(file => readFileSync(join(folder, file), 'utf8').trim());
  if (texts.length === 0) texts.push('The package carries no text of its licence.');
  return [head.join('\n'), ...texts].join('\n\n');
}
