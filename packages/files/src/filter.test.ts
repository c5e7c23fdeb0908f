import { describe, expect, test } from 'vitest';
import { type Choice, PathFilter, plainPath } from './filter.ts';

const filter = (selection: { paths?: string[]; include?: string[]; exclude?: string[] }) =>
  new PathFilter({ paths: [], include: [], exclude: [], ...selection });

/** What becomes of a path when a walk goes down to it from the root. */
function fate(of: PathFilter, path: string | Uint8Array): Choice {
  const bytes = typeof path === 'string' ? new TextEncoder().encode(path) : path;
  let choice: Choice = of.takesRoot ? 'taken' : 'passed';
  for (let end = 0; end < bytes.length && choice !== 'left'; ) {
    const slash = bytes.indexOf(0x2f, end + 1);
    end = slash < 0 ? bytes.length : slash;
    choice = of.choose(bytes.subarray(0, end), choice);
  }
  return choice;
}

describe('which paths are taken', () => {
  test('everything, when nothing is said', () => {
    expect(fate(filter({}), 'a/b')).toBe('taken');
  });

  test('what is named and below it; the directories on the way are passed', () => {
    const named = filter({ paths: ['/home/anna/', 'etc/hosts'] });
    expect(named.takesRoot).toBe(false);
    expect(
      ['home', 'home/anna', 'home/anna/x', 'home/annabel', 'etc', 'etc/hosts', 'var'].map(path => fate(named, path)),
    ).toEqual(['passed', 'taken', 'taken', 'left', 'passed', 'taken', 'left']);
  });

  test('--exclude is stronger than everything and takes what is below along', () => {
    const excluding = filter({ paths: ['a'], exclude: ['*.tmp', '/a/cache', 'a/*/deep'], include: ['keep.tmp', 'x'] });
    expect(['a/keep.tmp', 'a/cache/x', 'a/b/deep', 'a/b/x', 'a/b'].map(path => fate(excluding, path))).toEqual([
      'left',
      'left',
      'left',
      'taken',
      'passed',
    ]);
  });

  test('patterns with a slash are from the root, those without mean a name', () => {
    const including = filter({ include: ['/top', 'd/**/*.c', '.h*'] });
    expect(
      ['top', 'd/top', 'd/x.c', 'd/e/f/x.c', 'e/x.c', 'e/.hidden', 'top/below'].map(path => fate(including, path)),
    ).toEqual(['taken', 'passed', 'taken', 'taken', 'passed', 'taken', 'taken']);
  });

  test('a ! is a character, and names that are not UTF-8 can be matched', () => {
    expect(fate(filter({ exclude: ['!x'] }), 'y')).toBe('taken');
    expect(fate(filter({ exclude: ['a?'] }), Uint8Array.of(0x61, 0xff))).toBe('left');
  });

  test('paths are tidied, .. matches nothing', () => {
    expect(plainPath('//a/./b//')).toBe('a/b');
    expect(fate(filter({ paths: ['a/../b'] }), 'b')).toBe('left');
  });
});
