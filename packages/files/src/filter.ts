// Which paths of a tree are taken: those that were named, less what --exclude matches, and of the rest what --include matches. What is
// below a directory that is named, included or excluded shares its fate.
//
// A pattern with a slash is compared with the path from the root (`home/*/mail`, with or without a slash in front), one without with the
// last name (`*.jpg`). `*` stops at slashes, `**` does not, leading dots are nothing special; `{a,b}` and `[a-z]` work as in a shell. Names
// that are not UTF-8 are compared with U+FFFD for what is none, so `?` and `*` match it.

import picomatch from 'picomatch';

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

type Matcher = (path: string, name: string) => boolean;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class PathFilter {
  readonly #wanted: readonly string[];
  readonly #include: readonly Matcher[];
  readonly #exclude: readonly Matcher[];

  constructor({ paths, include, exclude }: PathSelection) {
    this.#wanted = paths.map(plainPath).filter(path => path !== '');
    this.#include = include.map(matcherOf);
    this.#exclude = exclude.map(matcherOf);
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
    const text = decoder.decode(path);
    const name = text.slice(text.lastIndexOf('/') + 1);
    if (this.#exclude.some(matches => matches(text, name))) return 'left';
    if (above === 'taken') return 'taken';
    const isNamed =
      this.#wanted.length === 0 || this.#wanted.some(want => text === want || text.startsWith(`${want}/`));
    if (!isNamed) return this.#wanted.some(want => want.startsWith(`${text}/`)) ? 'passed' : 'left';
    if (this.#include.length === 0) return 'taken';
    return this.#include.some(matches => matches(text, name)) ? 'taken' : 'passed';
  }
}

/** `/a//b/./c/` is `a/b/c`; `..` stays, and matches nothing. */
export function plainPath(path: string): string {
  return path
    .split('/')
    .filter(part => part !== '' && part !== '.')
    .join('/');
}

function matcherOf(pattern: string): Matcher {
  const plain = pattern.replace(/^\/+/, '').replace(/\/+$/, '');
  // The program's own words for negation are two options: a `!` in front is just a character.
  const matches = picomatch(plain, { dot: true, nonegate: true, windows: false });
  return pattern.replace(/\/+$/, '').includes('/') ? path => matches(path) : (_, name) => matches(name);
}
