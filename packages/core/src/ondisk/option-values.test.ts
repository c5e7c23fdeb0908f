import { describe, expect, test } from 'vitest';
import { UsageError } from './errors.ts';
import {
  defaultOptionValue,
  isStoredInSuperblock,
  mountOptionText,
  optionFromMember,
  optionFromSuperblock,
  optionToStored,
  optionToText,
  parseOptionValue,
  storedOptionProblems,
  storedToOption,
  validateOption,
  withExtOption,
  withMemberOption,
  withOption,
} from './option-values.ts';
import { type OptionName, option, options } from './options.ts';

const empty = { block_size: 0, flags: [0n, 0n, 0n, 0n, 0n, 0n, 0n] as readonly bigint[] };
const emptyMember = { flags: 0n, bucket_size: 0 };

describe('stored numbers', () => {
  test.each([
    ['plain', 7, 7n],
    ['sectors', 4096, 8n],
    ['sectors', 2n ** 62n, 2n ** 53n],
    ['log2Sectors', 65536, 7n],
    ['log2Sectors', 512, 0n],
    ['plusOne', 0, 1n],
    ['plusOne', 2, 3n],
  ] as const)('%s: %s is stored as %s', (encoding, value, stored) => {
    expect(optionToStored(encoding, value)).toBe(stored);
    expect(storedToOption(encoding, stored, 99)).toBe(value);
  });

  test('zero of plusOne means that nothing was set', () => {
    expect(storedToOption('plusOne', 0n, 1)).toBe(1);
  });

  test('any stored number has a meaning', () => {
    expect(storedToOption('log2Sectors', 63n, 0)).toBe(2n ** 72n);
  });
});

describe('superblock', () => {
  // Where each value lands, written down from the declarations in bcachefs_format.h.
  test.each<[OptionName, number | bigint, number, bigint]>([
    ['btree_node_size', 262144, 0, 512n << 12n],
    ['errors', 1, 0, 1n << 8n],
    ['gc_reserve_percent', 8, 0, 8n << 28n],
    ['metadata_checksum', 1, 0, 1n << 40n],
    ['data_replicas', 2, 0, 2n << 52n],
    ['acl', 1, 0, 1n << 56n],
    ['promote_whole_extents', 1, 0, 1n << 63n],
    ['str_hash', 2, 1, 2n],
    ['encoded_extent_max', 65536, 1, 7n << 14n],
    ['wide_macs', 1, 1, 1n << 9n],
    ['gc_reserve_bytes', 1048576, 2, 2048n << 4n],
    ['inodes_use_key_cache', 1, 3, 1n << 29n],
    ['journal_flush_delay', 1000, 3, 1000n << 30n],
    ['journal_reclaim_delay', 100, 4, 100n],
    ['allocator_stuck_timeout', 30, 5, 30n << 16n],
    ['writeback_timeout', 5, 6, 5n << 24n],
  ])('%s = %s sets word %i', (name, value, word, bits) => {
    const changed = withOption(empty, name, value);
    expect(changed.flags[word]).toBe(bits);
    expect(changed.flags.filter(other => other !== 0n)).toHaveLength(1);
    expect(optionFromSuperblock(option(name), changed)).toBe(value);
    expect(empty.flags[word]).toBe(0n);
  });

  test('compression is split between two words', () => {
    const changed = withOption(empty, 'compression', 0xf3);
    expect(changed.flags[1]).toBe(3n << 4n);
    expect(changed.flags[4]).toBe(15n << 56n);
    expect(optionFromSuperblock(option('compression'), changed)).toBe(0xf3);
    const background = withOption(empty, 'background_compression', 0x92);
    expect(background.flags).toEqual([0n, 0n, 2n, 0n, 9n << 60n, 0n, 0n]);
  });

  test('block_size has a field of its own', () => {
    expect(withOption(empty, 'block_size', 4096)).toEqual({ ...empty, block_size: 8 });
    expect(optionFromSuperblock(option('block_size'), { ...empty, block_size: 1 })).toBe(512);
  });

  test('the ext section', () => {
    expect(withExtOption(0n, 'dev_readahead', 2 << 20)).toBe(4096n);
    expect(optionFromSuperblock(option('dev_readahead'), empty, 4096n)).toBe(2 << 20);
    expect(optionFromSuperblock(option('ec_stripe_buf_limit'), empty)).toBe(0);
  });

  test('every range holds its least and greatest value, at every release', () => {
    for (const release of ['1.13', '1.36', '1.39'] as const) {
      for (const row of options.rows.filter(candidate => isStoredInSuperblock(candidate, release))) {
        if (row.type.kind !== 'uint') continue;
        for (const value of [row.type.min, row.type.max]) {
          expect(optionFromSuperblock(row, withOption(empty, row.name, value)), row.name).toBe(value);
        }
      }
    }
  });

  test('what is not stored there cannot be set', () => {
    expect(isStoredInSuperblock(option('fsck'))).toBe(false);
    expect(isStoredInSuperblock(option('casefold'))).toBe(false);
    expect(isStoredInSuperblock(option('casefold'), '1.36')).toBe(true);
    expect(() => withOption(empty, 'fsck', 1)).toThrow('fsck is not stored');
  });
});

describe('members', () => {
  test.each<[OptionName, number, bigint]>([
    ['discard', 1, 1n << 14n],
    ['data_allowed', 28, 28n << 15n],
    ['durability', 0, 1n << 28n],
    ['durability', 2, 3n << 28n],
    ['state', 2, 2n],
    ['rotational', 1, 1n << 32n],
  ])('%s = %i', (name, value, flags) => {
    const changed = withMemberOption(emptyMember, name, value);
    expect(changed.flags).toBe(flags);
    expect(optionFromMember(option(name), changed)).toBe(value);
  });

  test('a durability that was never set is 1, a bucket size is in sectors', () => {
    expect(optionFromMember(option('durability'), emptyMember)).toBe(1);
    expect(withMemberOption(emptyMember, 'bucket_size', 1 << 20).bucket_size).toBe(2048);
    expect(optionFromMember(option('bucket_size'), { flags: 0n, bucket_size: 256 })).toBe(131072);
  });
});

describe('parseOptionValue', () => {
  test.each<[OptionName, string | undefined, number | bigint | string]>([
    ['block_size', '4k', 4096],
    ['block_size', '512', 512],
    ['gc_reserve_bytes', '1G', 1 << 30],
    ['gc_reserve_bytes', '15E', 15n << 60n],
    ['errors', 'panic', 2],
    ['compression', 'zstd:5', 0x53],
    ['acl', undefined, 1],
    ['acl', 'no', 0],
    ['acl', 'Off', 0],
    ['acl', 'y', 1],
    ['degraded', undefined, 1],
    ['fix_errors', undefined, 1],
    ['fix_errors', 'ask', 3],
    ['fix_errors', 'true', 1],
    ['metadata_replicas', '3', 3],
    ['foreground_target', 'ssd.fast', 'ssd.fast'],
    ['data_allowed', 'journal,user', 20],
    ['label', 'hdd', 'hdd'],
    ['recovery_passes', 'check_topology,alloc_read', 0b1010],
    ['recovery_pass_last', 'scan_for_btree_nodes', 0],
  ])('%s=%s', (name, text, value) => {
    expect(parseOptionValue(option(name), text)).toBe(value);
  });

  test.each<[OptionName, string | undefined, string]>([
    ['block_size', '64k', 'block_size: found 64k, expected 512 to 32k'],
    ['block_size', '256', 'block_size: found 256, expected 512 to 32k'],
    ['block_size', '1000', 'block_size: found 1000, expected a multiple of 512'],
    ['block_size', '1536', 'block_size: found 1536, expected a power of two from 512 to 32k'],
    ['block_size', 'big', 'block_size: found "big", expected a number such as 4096, 4k, 1.5M or 64KiB'],
    ['block_size', '-1', 'block_size: found -1, expected no negative number'],
    ['block_size', undefined, 'block_size: needs a value'],
    ['metadata_replicas', '4', 'metadata_replicas: found 4, expected 1 to 3'],
    ['metadata_replicas', '1k', 'metadata_replicas: found "1k", expected a whole number'],
    ['acl', 'maybe', 'acl: found "maybe", expected yes or no'],
    ['errors', 'halt', 'errors: found "halt", expected one of continue, fix_safe, panic, ro'],
    ['errors', undefined, 'errors: needs a value, one of continue, fix_safe, panic, ro'],
    ['data_allowed', 'user,cached', 'data_allowed: found "cached", expected some of journal,btree,user'],
    ['casefold', '1', 'casefold: does not exist in the 1.13 format, only since 1.36'],
    [
      'compression',
      'lzo',
      'compression: found compression "lzo", expected one of none, lz4, gzip, zstd, optionally followed by :LEVEL',
    ],
  ])('refuses %s=%s', (name, text, message) => {
    expect.assertions(2);
    try {
      parseOptionValue(option(name), text);
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(UsageError);
      expect(`${thrown}`).toBe(`UsageError: ${message}`);
    }
  });

  test('ranges are those of the release', () => {
    expect(parseOptionValue(option('metadata_replicas'), '4', '1.36')).toBe(4);
    expect(parseOptionValue(option('encoded_extent_max'), '2M', '1.39')).toBe(2 << 20);
    expect(() => parseOptionValue(option('encoded_extent_max'), '2M', '1.36')).toThrow('found 2M, expected 4k to 1M');
    expect(() => parseOptionValue(option('shard_inode_numbers'), '1', '1.39')).toThrow('only up to 1.13');
  });
});

describe('validateOption', () => {
  test.each<[OptionName, number | bigint | string, string | null]>([
    ['gc_reserve_percent', 4, 'ERANGE_option_too_small'],
    ['gc_reserve_percent', 5, null],
    ['gc_reserve_percent', 20, null],
    ['gc_reserve_percent', 21, 'ERANGE_option_too_big'],
    ['btree_node_size', 1024 + 512, 'opt_parse_error'],
    ['btree_node_size', 1000, 'opt_parse_error'],
    ['gc_reserve_bytes', -512, 'option_negative'],
    ['gc_reserve_bytes', 2n ** 72n, 'ERANGE_option_too_big'],
    ['acl', 2, 'option_not_bool'],
    ['errors', 4, 'ERANGE_option_too_big'],
    ['compression', 0x10, 'invalid_sb_opt_compression'],
    ['compression', 4, 'invalid_sb_opt_compression'],
    ['data_allowed', 1, 'opt_parse_error'],
    ['foreground_target', 5, null],
    ['errors', 'ro', 'opt_parse_error'],
    ['failure_domain', 'x'.repeat(33), 'ENAMETOOLONG'],
  ])('%s = %s: %s', (name, value, error) => {
    expect(validateOption(option(name), value)?.error ?? null).toBe(error);
  });
});

test('what is wrong with the options of a superblock', () => {
  let sb = empty;
  for (const row of options.rows.filter(candidate => isStoredInSuperblock(candidate, '1.13'))) {
    sb = withOption(sb, row.name, defaultOptionValue(row.name));
  }
  expect(storedOptionProblems(sb)).toEqual([]);
  sb = withOption(sb, 'data_replicas', 4);
  expect(storedOptionProblems(sb)).toEqual([
    { option: 'data_replicas', error: 'ERANGE_option_too_big', detail: 'found 4, expected 1 to 3' },
  ]);
  expect(storedOptionProblems(sb, '1.39').map(wrong => wrong.option)).toEqual(['write_error_timeout']);
});

describe('optionToText', () => {
  test.each<[OptionName, number | bigint, string]>([
    ['block_size', 4096, '4.00k'],
    ['btree_node_size', 131072, '128k'],
    ['encoded_extent_max', 65536, '64.0k'],
    ['gc_reserve_bytes', 0, '0'],
    ['errors', 1, 'continue [fix_safe] panic ro '],
    ['errors', 9, '(invalid option 9)'],
    ['metadata_checksum', 3, 'none crc32c crc64 [xxhash] '],
    ['degraded', 0, '[ask] yes very no '],
    ['version_upgrade', 2, 'compatible incompatible [none] '],
    ['compression', 0xf3, 'zstd:15'],
    ['foreground_target', 0, 'none'],
    ['foreground_target', 3, 'target 3'],
    ['journal_flush_delay', 1000, '1000'],
    ['acl', 1, '1'],
    ['data_allowed', 28, 'journal,btree,user'],
    ['state', 2, 'rw ro [evacuating] spare '],
  ])('%s = %s: %j', (name, value, text) => {
    expect(optionToText(option(name), value)).toBe(text);
  });

  test('other styles', () => {
    expect(optionToText(option('errors'), 3, { choices: 'value' })).toBe('ro');
    expect(optionToText(option('promote_target'), 3, { targetText: target => `label ${target}` })).toBe('label 3');
    expect(optionToText(option('block_size'), 4472)).toBe('4.36k');
    expect(optionToText(option('block_size'), 4472, { release: '1.39' })).toBe('4.37k');
    expect(optionToText(option('degraded'), 1, { release: '1.13' })).toBe('1');
    expect(mountOptionText(option('errors'), 3)).toBe('errors=ro');
    expect(mountOptionText(option('acl'), 0)).toBe('noacl');
  });
});
