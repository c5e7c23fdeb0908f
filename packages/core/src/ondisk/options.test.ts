import { describe, expect, test } from 'vitest';
import { validateOption } from './option-values.ts';
import {
  formatOptions,
  isOptionKnownTo,
  type OptionName,
  option,
  optionAt,
  optionByName,
  options,
  shownOptions,
} from './options.ts';
import type { Release } from './releases.ts';

const releases: readonly Release[] = ['1.13', '1.36', '1.39'];

function rangeAt(release: Release, name: OptionName) {
  const { type } = optionAt(release, option(name));
  return type.kind === 'uint' ? [type.min, type.max] : type.kind;
}

describe('rows', () => {
  test('how many options each release has', () => {
    const counts = releases.map(release => options.rows.filter(row => isOptionKnownTo(release, row)).length);
    // The reference has 73, 82 and 93; format's own fs_size, and label before it became an option, are counted here.
    expect(counts).toEqual([74, 84, 94]);
  });

  test('each default is valid at each release that has the option', () => {
    for (const release of releases) {
      for (const row of options.rows.filter(candidate => isOptionKnownTo(release, candidate))) {
        const standard = optionAt(release, row).default;
        expect(validateOption(row, standard, release), `${row.name} at ${release}`).toBeNull();
      }
    }
  });

  test('help is one line', () => {
    for (const row of options.rows) expect(row.help, row.name).toMatch(/^[A-Z][^\n]{8,90}[^.\n]$/);
  });

  test('names of any release are found', () => {
    expect(optionByName('acl')?.name).toBe('acl');
    expect(optionByName('bucket')?.name).toBe('bucket_size');
    expect(optionByName('reconstruct_alloc')?.name).toBe('dangerously_reconstruct_alloc');
    expect(optionByName('quota')?.name).toBe('usrquota');
    expect(optionByName('nonsense')).toBeUndefined();
  });
});

describe('what changed between releases', () => {
  test.each<[OptionName, unknown, unknown, unknown]>([
    ['block_size', [512, 32768], [512, 32768], [512, 32768]],
    ['btree_node_size', [512, 524288], [512, 524288], [512, 524288]],
    ['metadata_replicas', [1, 3], [1, 4], [1, 4]],
    ['encoded_extent_max', [4096, 1048576], [4096, 1048576], [4096, 2097152]],
    ['gc_reserve_percent', [5, 20], [5, 20], [5, 20]],
    ['root_reserve_percent', [0, 99], [0, 99], [0, 100]],
    ['allocator_stuck_timeout', [0, 65534], [0, 65534], [0, 65535]],
    ['durability', [0, 2], [0, 2], [0, 2]],
    ['degraded', 'bool', 'choice', 'choice'],
    ['gc_reserve_bytes', [0, 2n ** 64n - 512n], [0, 2n ** 64n - 512n], [0, 2n ** 64n - 512n]],
  ])('range of %s', (name, ...expected) => {
    expect(releases.map(release => rangeAt(release, name))).toEqual(expected);
  });

  test.each<[OptionName, number, number, number]>([
    ['encoded_extent_max', 65536, 262144, 262144],
    ['inodes_32bit', 1, 0, 0],
    ['move_ios_in_flight', 32, 64, 64],
    ['journal_flush_delay', 1000, 1000, 1000],
    ['block_size', 4096, 4096, 4096],
  ])('default of %s', (name, ...expected) => {
    expect(releases.map(release => optionAt(release, option(name)).default)).toEqual(expected);
  });

  test('casefold came after 1.13, shard_inode_numbers went', () => {
    expect(releases.map(release => isOptionKnownTo(release, option('casefold')))).toEqual([false, true, true]);
    expect(releases.map(release => isOptionKnownTo(release, option('shard_inode_numbers')))).toEqual([
      true,
      false,
      false,
    ]);
    const last = option('btree_node_mem_ptr_optimization');
    expect(releases.map(release => isOptionKnownTo(release, last))).toEqual([true, true, false]);
  });
});

test('what show-super lists, in its order', () => {
  const at136 = shownOptions('1.36').map(row => row.name);
  expect(at136).toHaveLength(40);
  expect(at136.slice(0, 6)).toEqual([
    'block_size',
    'btree_node_size',
    'errors',
    'write_error_timeout',
    'metadata_replicas',
    'data_replicas',
  ]);
  expect(at136.slice(-3)).toEqual(['version_upgrade', 'nocow', 'reconcile_on_ac_only']);
  const added = shownOptions('1.39')
    .map(row => row.name)
    .filter(name => !at136.includes(name));
  expect(added).toEqual([
    'ec_max_data_blocks',
    'move_writes_fua',
    'journal_rewind_discard_buffer_percent',
    'scrub_recent_journal_entries',
    'scrub_journal_max_rewind_secs',
    'btree_cache_shrinker_seeks',
    'dev_readahead',
    'ec_stripe_buf_limit',
  ]);
});

test('what format takes at 1.13', () => {
  expect(formatOptions('1.13', 'device').map(row => row.name)).toEqual([
    'fs_size',
    'label',
    'bucket_size',
    'durability',
    'data_allowed',
    'discard',
  ]);
  const names = formatOptions('1.13', 'fs').map(row => row.name);
  expect(names).toContain('inodes_use_key_cache');
  expect(names).not.toContain('casefold');
  expect(names).not.toContain('journal_flush_delay');
});
