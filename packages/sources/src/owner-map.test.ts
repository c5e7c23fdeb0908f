import { UsageError } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { exclusion, mapId, ownerMapper, parseIdMap, parseSubvolumes, SubvolumeFinder } from './owner-map.ts';
import type { SourceEntry } from './source.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const entry = (path: string, more: Partial<SourceEntry> = {}): SourceEntry =>
  ({
    ...{ type: 'dir', path: bytes(path), name: bytes(path), depth: 1, mode: 0o755, uid: 1000, gid: 100 },
    ...{ mtimeNs: 0n, atimeNs: 0n, ctimeNs: 0n, btimeNs: 0n, xattrs: [] },
    ...more,
  }) as SourceEntry;

describe('owners', () => {
  test('ranges: their ends, what is in none, what overlaps', () => {
    const ranges = parseIdMap(['100000:0:65536', '1000:70000:1'], '--uid-map');
    expect([99_999, 100_000, 165_535, 165_536, 1000, 1001].map(id => mapId(id, ranges))).toEqual([
      ...[99_999, 0, 65_535, 165_536, 70_000, 1001],
    ]);
    for (const text of ['1:2', '1:2:0', '4294967294:0:2', '0:4294967294:2', 'a:b:c'])
      expect(() => parseIdMap([text], '--gid-map')).toThrow('--gid-map: ');
    expect(() => parseIdMap(['0:100:10', '9:200:1'], '--uid-map')).toThrow('0:100:10 and 9:200:1 overlap');
    expect(() => parseIdMap(['0:100:10', '50:109:1'], '--uid-map')).toThrow('overlap');
    expect(parseIdMap(['0:100:10', '10:110:1'], '--uid-map')).toHaveLength(2);
  });

  test('entries get other owners, links have none', () => {
    const link: SourceEntry = { type: 'link', path: bytes('l'), name: bytes('l'), depth: 1, linkId: 1 };
    const all = ownerMapper({ owner: { uid: 5, gid: 6 } });
    expect(all(entry('d'))).toMatchObject({ uid: 5, gid: 6 });
    expect(all(link)).toBe(link);
    const some = ownerMapper({ uidMaps: ['1000:0:1'] });
    expect(some(entry('d'))).toMatchObject({ uid: 0, gid: 100 });
    expect(some(link)).toBe(link);
    const same = entry('d');
    expect(ownerMapper({})(same)).toBe(same);
    expect(() => ownerMapper({ owner: { uid: 5, gid: 6 }, uidMaps: ['1:2:3'] })).toThrow(UsageError);
  });

  test('users and groups of ACLs too, and their order stays right', () => {
    const acl = (entries: readonly (readonly [tag: number, perm: number, id: number])[]) => {
      const value = new Uint8Array(4 + 8 * entries.length);
      const view = new DataView(value.buffer);
      view.setUint32(0, 2, true);
      for (const [i, [tag, perm, id]] of entries.entries()) {
        view.setUint16(4 + 8 * i, tag, true);
        view.setUint16(6 + 8 * i, perm, true);
        view.setUint32(8 + 8 * i, id, true);
      }
      return value;
    };
    const none = 0xffff_ffff;
    const name = bytes('system.posix_acl_access');
    const before = acl([
      [1, 7, none],
      [2, 4, 10],
      [2, 5, 20],
      [4, 0, none],
      [8, 1, 20],
      [16, 7, none],
      [32, 0, none],
    ]);
    const kept = before.slice();
    const mapped = ownerMapper({ uidMaps: ['10:90:1'], gidMaps: ['20:21:1'] })(
      entry('d', { xattrs: [{ name, value: before }] }),
    );
    expect(mapped).toMatchObject({
      xattrs: [
        {
          value: acl([
            [1, 7, none],
            [2, 5, 20],
            [2, 4, 90],
            [4, 0, none],
            [8, 1, 21],
            [16, 7, none],
            [32, 0, none],
          ]),
        },
      ],
    });
    expect(before).toEqual(kept);
  });
});

describe('what is left out', () => {
  test('paths from the root, or names', () => {
    expect(exclusion([])).toBeUndefined();
    const isOut = exclusion(['*.tmp', '/a/cache', 'b/**/deep', '!x'])!;
    const fate = ['a.tmp', 'a/b.tmp', 'a/cache', 'c/a/cache', 'b/1/2/deep', 'x', '!x'].map(path => isOut(bytes(path)));
    expect(fate).toEqual([true, true, true, false, true, false, true]);
    expect(exclusion(['a?'])!(Uint8Array.of(0x61, 0xff))).toBe(true);
    expect(() => exclusion(['/'])).toThrow(UsageError);
  });
});

describe('subvolumes', () => {
  test('paths are tidied, :ro is not part of them', () => {
    expect(parseSubvolumes(['/home/', 'a//b:ro', 'c:ro:rw'])).toEqual([
      { path: 'home', isReadOnly: false },
      { path: 'a/b', isReadOnly: true },
      { path: 'c:ro', isReadOnly: false },
    ]);
    for (const text of ['/', '', ':ro', 'a/../b']) expect(() => parseSubvolumes([text])).toThrow(UsageError);
    expect(() => parseSubvolumes(['a', '/a:ro'])).toThrow('a is there twice');
  });

  test('each has to be a directory of the source', () => {
    const finder = new SubvolumeFinder(parseSubvolumes(['d:ro', 'h']));
    expect(finder.find(entry('x'))).toBeUndefined();
    expect(finder.find(entry('d'))).toEqual({ path: 'd', isReadOnly: true });
    expect(() => finder.find(entry('h', { type: 'fifo' } as Partial<SourceEntry>))).toThrow('h is not a directory');
    expect(() => finder.checkAllFound()).toThrow('h is not in the source');
    finder.find(entry('h'));
    finder.checkAllFound();
  });
});
