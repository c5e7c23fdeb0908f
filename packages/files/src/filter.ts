// Which paths of a tree are taken: those that were named, less what --exclude matches, and of the rest what --include matches. What is
// below a directory that is named, included or excluded shares its fate.
// What patterns mean is path-pattern.ts's, in packages/command.

import { type PathPattern, pathPattern, pathWords } from '@bcachefs-ts/command';
import { wordOfBytes } from '@bcachefs-ts/core/engine';

export interface PathSelection {
  /** Paths from the root; none means everything. */
  readonly paths: readonly string[];
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

/**
 * taken: the path, and all that is below unless it is excluded; passed: something below it may be taken; left: nothing.
 */
export type Choice = 'taken' | 'passed' | 'left';

export class PathFilter {
  readonly #wanted: readonly string[];
  readonly #include: readonly PathPattern[];
  readonly #exclude: readonly PathPattern[];

  constructor({ paths, include, exclude }: PathSelection) {
    this.#wanted = paths.map(plainPath).filter(path => path !== '');
    this.#include = include.map(pathPattern);
    this.#exclude = exclude.map(pathPattern);
  }

  /** Whether the tree's own root is taken, not only passed through. */
  get takesRoot(): boolean {
    return this.#wanted.length === 0 && this.#include.length === 0;
  }

  /**
   * @param path from the root, without a slash in front
   * @param above what was said of the directory that it is in
   */
  choose(path: Uint8Array, above: Choice): Choice {
    const words = pathWords(path);
    const text = wordOfBytes(path);
    if (this.#exclude.some(matches => matches(words))) return 'left';
    if (above === 'taken') return 'taken';
    const isNamed =
      this.#wanted.length === 0 || this.#wanted.some(want => text === want || text.startsWith(`${want}/`));
    if (!isNamed) return this.#wanted.some(want => want.startsWith(`${text}/`)) ? 'passed' : 'left';
    if (this.#include.length === 0) return 'taken';
    return this.#include.some(matches => matches(words)) ? 'taken' : 'passed';
  }
}

/** `/a//b/./c/` is `a/b/c`; `..` stays, and matches nothing. */
export function plainPath(path: string): string {
  return path
    .split('/')
    .filter(part => part !== '' && part !== '.')
    .join('/');
}
