// A line that is typed in the shell, as words: blanks separate, quotes of either kind keep them together, and a backslash keeps the blank, quote,
// # or backslash after it. Before anything else it stands for itself, so that a name that was printed as `a\x1b` can be typed as it was printed.

import { UsageError } from '@bcachefs-ts/core/engine';

const ESCAPED = /[\s"'#\\]/;

/**
 * What follows a `#` at the start of a word is left out.
 * @throws UsageError for a quote without an end
 */
export function shellWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const character = line[at]!;
    const next = line[at + 1];
    if (character === '\\' && quote !== "'" && next !== undefined && ESCAPED.test(next)) {
      word = (word ?? '') + next;
      at++;
    } else if (quote !== undefined) {
      if (character === quote) quote = undefined;
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === '#' && word === undefined) break;
    else word = (word ?? '') + character;
  }
  if (quote !== undefined) throw new UsageError(`there is a ${quote} without another one that ends the word`);
  return word === undefined ? words : [...words, word];
}

/** A word as it can be typed. */
export const typedAs = (word: string): string =>
  word.replaceAll(/[\s"'#]|\\(?=[\s"'#\\]|$)/g, character => `\\${character}`);

/** The path that a word means in a directory, from the root and with a slash before it; `..` goes up, at the root to itself. */
export function pathFrom(directory: string, word: string): string {
  const parts: string[] = [];
  for (const part of `${word.startsWith('/') ? '' : directory}/${word}`.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}
