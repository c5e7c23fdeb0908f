import { describe, expect, test } from 'vitest';
import { withBits } from '../bits.ts';
import { UsageError } from '../errors.ts';
import { BchSb, type Superblock, withSection } from '../superblock.ts';
import { decodeTarget, encodeTarget } from '../targets.ts';
import {
  type BchDiskGroup,
  DISK_GROUP,
  decodeDiskGroups,
  diskGroups,
  encodeDiskGroups,
  findLabel,
  groupLabel,
  labelPath,
  labelText,
  parentGroup,
  targetText,
  withLabel,
} from './disk-groups.ts';
import { blankMember, withMembers } from './members.ts';

const blank: Superblock = { ...BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0), nr_devices: 2, sections: [] };

function build(...paths: string[]): readonly BchDiskGroup[] {
  return paths.reduce<readonly BchDiskGroup[]>((groups, path) => withLabel(groups, path).groups, []);
}
const shape = (groups: readonly BchDiskGroup[]) => groups.map(group => `${parentGroup(group)} ${groupLabel(group)}`);

describe('label paths', () => {
  test('share what they have in common', () => {
    const groups = build('ssd.ssd1', 'ssd.ssd2', 'hdd', 'hdd.ssd1');
    expect(shape(groups)).toEqual(['-1 ssd', '0 ssd1', '0 ssd2', '-1 hdd', '3 ssd1']);
    expect(findLabel(groups, 'ssd.ssd2')).toBe(2);
    expect(findLabel(groups, 'hdd.ssd1')).toBe(4);
    expect(findLabel(groups, 'ssd1')).toBeUndefined();
    expect(labelPath(groups, 4)).toBe('hdd.ssd1');
  });

  test('creating what is there changes nothing', () => {
    const groups = build('a.b');
    expect(withLabel(groups, 'a.b')).toEqual({ groups, index: 1 });
  });

  test('deleted groups are used again', () => {
    const [first, ...others] = build('a', 'b');
    const groups = [{ ...first!, flags: withBits(first!.flags, DISK_GROUP.deleted, 1) }, ...others];
    expect(labelText(groups, 0)).toBe('invalid label 0');
    expect(shape(withLabel(groups, 'c.d').groups)).toEqual(['-1 c', '-1 b', '0 d']);
  });

  test('a new group allows every kind of data', () => {
    expect(build('a.b')[1]?.flags).toEqual([0x3en | (1n << 6n), 0n]);
  });

  test.each(['', 'a..b', 'a.', 'x'.repeat(33)])('%j is refused', path => {
    expect(() => withLabel([], path)).toThrow(UsageError);
  });

  test('32 bytes fill a label to its end', () => {
    const name = 'x'.repeat(32);
    expect(findLabel(build(name), name)).toBe(0);
  });

  test('a circle of parents ends', () => {
    const [a, b] = build('a.b');
    const circle = [{ ...a!, flags: withBits(a!.flags, DISK_GROUP.parent, 2) }, b!];
    expect(labelPath(circle, 0)).toBeUndefined();
    expect(labelPath([], 0)).toBeUndefined();
  });
});

test('bytes in, groups out, and back', () => {
  const groups = build('ssd.ssd1', 'hdd');
  const payload = encodeDiskGroups(groups);
  expect(payload).toHaveLength(3 * 48);
  expect(decodeDiskGroups(payload)).toEqual(groups);
  expect(decodeDiskGroups(payload.subarray(0, 100))).toEqual(groups.slice(0, 2));
});

describe('targets', () => {
  test.each([
    [0, { type: 'none' }],
    [1, { type: 'dev', dev: 0 }],
    [256, { type: 'dev', dev: 255 }],
    [257, { type: 'group', group: 0 }],
    [300, { type: 'group', group: 43 }],
  ] as const)('%d', (value, target) => {
    expect(decodeTarget(value)).toEqual(target);
    expect(encodeTarget(target)).toBe(value);
  });

  test('as text', () => {
    const uuid = '11111111-0000-4000-8000-000000000000';
    const sb = withSection(
      withMembers(blank, [{ ...blankMember(), uuid }, blankMember()]),
      'disk_groups',
      encodeDiskGroups(build('ssd.ssd1')),
    );
    expect(diskGroups(sb)).toHaveLength(2);
    expect([0, 1, 2, 258, 259].map(value => targetText(sb, value))).toEqual([
      'none',
      `Device ${uuid} (0)`,
      'Bad device 1',
      'ssd.ssd1',
      'invalid label 2',
    ]);
  });
});
