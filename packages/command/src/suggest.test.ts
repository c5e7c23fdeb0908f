import { describe, expect, test } from 'vitest';
import { editDistance, suggest } from './suggest.ts';

describe('editDistance', () => {
  test.each([
    ['', '', 0],
    ['', 'abc', 3],
    ['format', 'format', 0],
    ['fromat', 'format', 1], // a swap
    ['formt', 'format', 1],
    ['formatt', 'format', 1],
    ['farmat', 'format', 1],
    ['kitten', 'sitting', 3],
  ])('%s to %s is %i', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });
});

describe('suggest', () => {
  const commands = ['format', 'mkfs', 'show-super', 'recover-super', 'set-fs-option', 'fsck'];
  test.each([
    ['fromat', 'format'],
    ['show_super', 'show-super'],
    ['SHOW-SUPER', 'show-super'],
    ['shwo-super', 'show-super'],
    ['fsk', 'fsck'],
    ['recover', 'recover-super'], // it begins only one
    ['set', 'set-fs-option'],
    ['mount', undefined],
    ['', undefined],
    ['x'.repeat(100_000), undefined],
  ])('%s → %s', (word, meant) => {
    expect(suggest(word, commands)).toBe(meant);
  });

  test('the beginning of several is not an answer', () => {
    expect(suggest('data', ['data_checksum', 'data_replicas'])).toBeUndefined();
  });
});
