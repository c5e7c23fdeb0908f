import { describe, expect, test } from 'vitest';
import { testKey } from '../../../../../test/support/nodes.ts';
import { UsageError } from '../errors.ts';
import { encodeExtentEntries } from '../extent-entries.ts';
import { keyField, setKeyField } from './key-fields.ts';

const extent = testKey(
  'extent',
  [4096, 8, 0],
  encodeExtentEntries([
    { type: 'ptr', cached: false, unwritten: false, offset: 100, dev: 0, gen: 1 },
    { type: 'ptr', cached: false, unwritten: false, offset: 200, dev: 1, gen: 2 },
  ]),
  8,
);
const snapshot = testKey('snapshot', [0, 5], new Uint8Array(24));
const inode = testKey('inode_v3', [0, 4096], new Uint8Array(48));

describe('fields of keys', () => {
  test.each([
    ['an entry of an extent', extent, 'ptr[1].dev', '7', 7n],
    ['the first of several', extent, 'ptr.offset', '0x1000', 4096n],
    ['the size of a key', extent, 'k.size', '16', 16n],
    ['a byte', extent, 'raw[0]', '255', 255n],
    ['an element', snapshot, 'children[1]', '3', 3n],
    ['past the end of a value of an older version', snapshot, 'skip[2]', '9', 9n],
    ['a value by its name', snapshot, 'state', 'will_delete', 0x3316a8d2n],
    ['a bit by its name', snapshot, 'flags.no_keys', '1', 1n],
    ['a field whose name a bit has too', snapshot, 'subvol', '4711', 4711n],
    ['a packed field', inode, 'bi_atime', '0xffffffffffffffff', 0xffff_ffff_ffff_ffffn],
    ['a flag of an inode', inode, 'unlinked', '1', 1n],
  ] as const)('%s', (_, key, field, value, expected) => {
    const changed = setKeyField(key, field, value);
    expect(keyField(changed, field)).toBe(expected);
    expect(changed.k.u64s).toBe(5 + changed.value.length / 8);
    expect(keyField(setKeyField(changed, field, `${keyField(changed, field)}`), field)).toBe(expected);
  });

  test.each([
    [extent, 'ptr[2].dev', '1', 'no such ptr'],
    [extent, 'ptr.dev', '256', 'not from 0 to 255'],
    [extent, 'ptr.device', '1', 'a ptr has no field device'],
    [extent, 'raw[16]', '1', 'the value has 16 bytes'],
    [snapshot, 'children[2]', '1', 'no element 2'],
    [snapshot, 'children', '1', 'set one of them'],
    [snapshot, 'state', 'gone', 'one of live, will_delete'],
    [snapshot, 'constructor', '1', 'there is no field constructor'],
    [testKey('backpointer', [0, 1], new Uint8Array(32)), 'pos.constructor', '1', 'there is no field pos.constructor'],
    [inode, 'bi_uid', '0x100000000', 'does not fit into 32 bits'],
    [inode, '__proto__', '1', 'an inode has no field'],
  ] as const)('what cannot be: %#', (key, field, value, message) => {
    const set = () => setKeyField(key, field, value);
    expect(set).toThrow(UsageError);
    expect(set).toThrow(message);
  });
});
