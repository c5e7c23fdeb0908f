import { describe, expect, test } from 'vitest';
import { foundPhrases } from './words.ts';

describe('phrases that are kept out', () => {
  test.each([
    ['Told of each finding.', 'Told'],
    ['the name behind the header', 'behind'],
    ['bytesBehindTheEnd', 'BehindT'],
    ['gensBehind', 'Behind'],
    ['class DamageTeller {}', 'eTeller'],
    ['this.#tellNext()', 'tellNext'],
    ['whoever wants that', 'whoever'],
    ['sanitised on\n * wish', 'on wish'],
    ['a file that is no directory', 'is no directory'],
    ['// Of 1.13.', '// Of 1.13.'],
  ])('%s', (text, phrase) => {
    expect(foundPhrases(text).map(found => found.phrase)).toEqual([phrase]);
  });

  test.each([
    'how to tell both apart',
    'so that nothing is left behind',
    'behind_end: true',
    'a lookbehind of a pattern',
    'the amount that was recommended',
    'there is no directory',
    'it is no longer needed',
    'const mountOld = 1; // what it was told apart from',
    "a user called 'nobody'",
  ])('but not: %s', text => {
    expect(foundPhrases(text)).toEqual([]);
  });

  test('the line of a phrase, and what to write instead', () => {
    expect(foundPhrases('one\ntwo\nthree is mended')).toEqual([{ line: 3, phrase: 'mended', better: 'repair, fix' }]);
  });
});
