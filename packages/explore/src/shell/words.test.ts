import { UsageError } from '@bcachefs-ts/core/engine';
import { expect, test } from 'vitest';
import { pathFrom, shellWords, typedAs } from './words.ts';

test.each([
  ['', []],
  ['  ls   -l ', ['ls', '-l']],
  [`cat "a b" 'c d'e`, ['cat', 'a b', 'c de']],
  [String.raw`cat a\ b \"x \\ \'`, ['cat', 'a b', '"x', '\\', "'"]],
  [String.raw`cat a\x1b '\ ' "\""`, ['cat', 'a\\x1b', '\\ ', '"']],
  [`rm '' ""`, ['rm', '', '']],
  ['ls a#b # rest "', ['ls', 'a#b']],
])('%j', (line, words) => {
  expect(shellWords(line)).toEqual(words);
});

test('a quote has to end', () => {
  expect(() => shellWords(`cat "a`)).toThrow(UsageError);
  expect(() => shellWords(`cat 'a\\'b'`)).toThrow(UsageError);
});

test.each(['plain', 'a b', '#x', 'a\\#', `it's "so"`, 'a\\x1b', 'a\\ b', 'end\\', '\\\\', '\\"', 'ä\t'])(
  '%j is typed as it is read',
  word => {
    expect(shellWords(`cat ${typedAs(word)}`)).toEqual(['cat', word]);
  },
);

test.each([
  ['/', 'etc', '/etc'],
  ['/etc', '../usr/./lib//x/', '/usr/lib/x'],
  ['/etc/apt', '/', '/'],
  ['/etc', '../../..', '/'],
  ['/etc', '.', '/etc'],
])('in %s, %s is %s', (directory, word, path) => {
  expect(pathFrom(directory, word)).toBe(path);
});
