// Patterns of paths, as --include and --exclude take them. A pattern with a slash is compared with the path from the root (`home/*/mail`,
// with or without a slash in front), one without with the last name (`*.jpg`). `*` stops at slashes, `**` does not, leading dots are
// nothing special; `{a,b}` and `[a-z]` work as in a shell. Names that are not UTF-8 are compared with U+FFFD for the bytes that are not, so
// `?` and `*` match it.

import picomatch from 'picomatch';

/** A path in the forms that patterns are compared with. */
export interface PathWords {
  /** From the root, without a slash in front. */
  readonly path: string;
  /** Its last name. */
  readonly name: string;
}

export type PathPattern = (words: PathWords) => boolean;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** @param source from the root, without a slash in front */
export function pathWords(source: Uint8Array): PathWords {
  const path = decoder.decode(source);
  return { path, name: path.slice(path.lastIndexOf('/') + 1) };
}

export function pathPattern(pattern: string): PathPattern {
  const isOfPath = pattern.replace(/\/+$/, '').includes('/');
  // The program's own words for negation are two options: a `!` in front is just a character.
  const matches = picomatch(trimSlashes(pattern), { dot: true, nonegate: true, windows: false });
  return ({ path, name }) => matches(isOfPath ? path : name);
}

/** Whether it stands for the root, and with it for everything. */
export const isRootPattern = (pattern: string): boolean => trimSlashes(pattern) === '';

const trimSlashes = (pattern: string): string => pattern.replace(/^\/+/, '').replace(/\/+$/, '');
