// The checks on docs/format/: what is missing or stale is found.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadCompression } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { anchorOf, filledPages, formatProblems, type Pages } from './format-regions.ts';
import { allLayouts, layoutDocs } from './layouts.ts';

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs/format');
const pages: Pages = new Map(readdirSync(folder).map(name => [name, readFileSync(join(folder, name), 'utf8')]));

/** The pages with something replaced, which has to be there. */
function changed(page: string, from: string, to: string): Pages {
  const text = pages.get(page) ?? '';
  expect(text).toContain(from);
  return new Map([...pages, [page, text.replace(from, to)]]);
}

beforeAll(() => loadCompression());

describe('pages', () => {
  test('lack nothing, and are as they would be generated', () => {
    expect(formatProblems(pages)).toEqual([]);
    expect(filledPages(pages)).toEqual(pages);
  });

  test('a table or an example that somebody changed is put right', () => {
    const member = changed('btree-nodes.md', '| 22 | 2 | u16 | `u64s` |', '| 22 | 4 | u32 | `u64s` |');
    expect(filledPages(member)).toEqual(pages);
    const hex = changed('keys.md', '`KEY_FORMAT_LOCAL_BTREE`, packed |', '`KEY_FORMAT_CURRENT` |');
    expect(filledPages(hex)).toEqual(pages);
  });

  test('a struct has exactly one page', () => {
    expect(
      formatProblems(changed('btree-nodes.md', '<!-- generated: struct bset -->', '<!-- generated: table btrees -->')),
    ).toContain('struct bset is in no page: <!-- generated: struct bset -->');
    const twice = changed('keys.md', '<!-- generated: struct bkey -->', '<!-- generated: struct bset -->');
    expect(() => filledPages(twice)).toThrow('docs/format: struct bset is in btree-nodes.md and in keys.md');
  });

  test.each([
    ['extents.md', '### `reflink_p`', 'key type reflink_p has no heading in docs/format/'],
    [
      'journal.md',
      '### `datetime`',
      'journal entry type datetime has neither a heading nor a row of its own in docs/format/journal.md',
    ],
    ['extents.md', '### `reconcile_bp`', 'extent entry type reconcile_bp has neither'],
    ['superblock-sections.md', '### `ext`', 'superblock section ext has neither'],
    ['btrees.md', '\n| `lru` |', 'btree lru has neither'],
    ['versions.md', '\n| `reconcile` |', 'metadata version reconcile has neither'],
  ])('%s without %s', (page, row, problem) => {
    const found = formatProblems(changed(page, row, row.replaceAll('`', '')));
    expect(found.filter(text => text.startsWith(problem))).toHaveLength(1);
  });

  test('links lead somewhere', () => {
    const problems = formatProblems(changed('files.md', '[extents](extents.md)', '[extents](extent.md#nothing)'));
    expect(problems).toEqual(['docs/format/files.md leads to extent.md#nothing, which is not there']);
    expect(anchorOf('Example: a node with several bsets')).toBe('example-a-node-with-several-bsets');
  });

  test('a region must be known and closed', () => {
    const one = (text: string) => () => filledPages(new Map([['a.md', text]]));
    expect(one('<!-- generated: struct nothing -->\n<!-- end -->')).toThrow('there is no struct nothing');
    expect(one('<!-- generated: struct bset -->\n')).toThrow('a.md: a region has no end');
    expect(one('<!-- generated: poem bset -->\n<!-- end -->')).toThrow('what is generated: poem');
  });
});

test('every layout that core exports is read from the source alike', () => {
  const docs = layoutDocs();
  expect(allLayouts.filter(({ type }) => !docs.some(doc => doc.type === type))).toEqual([]);
  expect(docs.length).toBeGreaterThan(allLayouts.length);
});
