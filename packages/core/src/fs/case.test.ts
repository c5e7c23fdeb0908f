// Directories that compare names without regard to case, in a filesystem of 1.28: changed, read back, checked.

import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { openOn } from '../../../../test/support/cut-states.ts';
import { recovered, smallTree, tamper } from '../../../../test/support/recovered.ts';
import { makeKey } from '../btree/transaction.ts';
import { FileEdit } from '../change/file-edit.ts';
import { checkInvariants } from '../check/check.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import type { MemoryDevice } from '../device/memory-device.ts';
import { withBits } from '../ondisk/bits.ts';
import { incompatFeatures } from '../ondisk/features.ts';
import { inodeFlags } from '../ondisk/inode-tables.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { versionOf } from '../ondisk/versions.ts';
import { editSuperblock } from '../superblock/edit.ts';
import { openMembers } from '../superblock/member-set.ts';
import type { FileRef } from './edit-state.ts';
import { FileTree } from './file-tree.ts';
import { inodeOfKey } from './inode.ts';
import { packInode } from './inode-pack.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const MARK = 1 << inodeFlags.idOf('has_case_insensitive');

/** As a kernel leaves a filesystem in which a directory was once made so. */
function casefolding(): readonly MemoryDevice[] {
  const version = versionOf('inode_has_case_insensitive');
  const devices = smallTree({ version, hasSubvolumes: true });
  const feature = 1n << BigInt(incompatFeatures.idOf('casefolding'));
  const set = openMembers(devices);
  editSuperblock(
    set,
    sb => {
      let flags = withBits(sb.flags, sbBits.VERSION_INCOMPAT_ALLOWED, version);
      flags = withBits(flags, sbBits.VERSION_INCOMPAT, versionOf('casefolding'));
      return { ...sb, flags, features: [sb.features[0]! | feature, sb.features[1]!] };
    },
    { now: 1_800_000_000n },
  );
  return devices;
}

const change = (devices: readonly MemoryDevice[], edit: (edit: FileEdit, root: FileRef) => void, seed = 5) => {
  const { writer, options } = writerOn(devices, undefined, seed);
  const one = new FileEdit(writer, options);
  edit(one, one.files.root());
  one.commit();
};

const expectSound = (devices: readonly MemoryDevice[]) => {
  expect(checkInvariants(openOn(devices)).findings).toEqual([]);
  expect(recovered(devices)).toMatchObject({ found: {}, left: [], again: [] });
};

function filled(): readonly MemoryDevice[] {
  const devices = casefolding();
  change(devices, ({ files }, root) => {
    const deep = files.lookup(files.lookup(root, text.encode('docs'))!, text.encode('sub'))!;
    const any = files.create(deep, text.encode('any'), { mode: 0o040755 });
    files.setOption(any, 'casefold', 1);
    files.create(any, text.encode('Straße'), { mode: 0o100644 });
    files.create(any, text.encode('Below'), { mode: 0o040755 });
  });
  return devices;
}

describe('directories without regard to case', () => {
  test('names are found however they are written, and kept as they were', () => {
    const devices = filled();
    change(
      devices,
      ({ files }, root) => {
        const walk = (path: string) => path.split('/').reduce((at, name) => files.lookup(at, text.encode(name))!, root);
        const any = walk('docs/sub/any');
        expect(files.lookup(any, text.encode('STRASSE'))).toBeDefined();
        expect(() => files.create(any, text.encode('strasse'), { mode: 0o100644 })).toThrow('file exists');
        expect(() => files.create(any, Uint8Array.of(0xff, 0xfe), { mode: 0o100644 })).toThrow('not UTF-8');
        // What is made in it is as it is.
        files.create(walk('docs/sub/any/BELOW'), text.encode('Deeper'), { mode: 0o100644 });
        expect(files.lookup(walk('docs/sub/any/below'), text.encode('DEEPER'))).toBeDefined();
        // The same name in other letters, another name, and one that goes.
        files.rename(any, text.encode('straße'), any, text.encode('STRAẞE'));
        files.create(any, text.encode('Gone'), { mode: 0o100644 });
        files.remove(any, text.encode('gONE'));
        files.rename(any, text.encode('below'), any, text.encode('Under'));
      },
      6,
    );
    const tree = FileTree.open(openOn(devices));
    const any = tree.lookup('docs/sub/any');
    expect([...tree.entries(any)].map(({ name }) => new TextDecoder().decode(name)).sort()).toEqual([
      'STRAẞE',
      'Under',
    ]);
    expect(tree.lookup('docs/sub/any/under/deeper')).toBeDefined();
    expectSound(devices);
  });

  test('all that is above them is marked', () => {
    const devices = filled();
    const filesystem = openOn(devices);
    const tree = FileTree.open(filesystem);
    const isMarked = (path: string) => (tree.lookup(path).inode.bi_flags & MARK) !== 0;
    expect(['', 'docs', 'docs/sub', 'docs/sub/any', 'docs/sub/any/below', 'docs/sub/deep'].map(isMarked)).toEqual([
      true, true, true, true, true, false,
    ]); // biome-ignore format: one line
  });

  test('marks that are missing are found and set', () => {
    const devices = filled();
    tamper(devices, tx => {
      for (const key of [...tx.btree('inodes').keys()]) {
        const inode = inodeOfKey(key, undefined);
        if (inode === undefined || (inode.bi_flags & MARK) === 0) continue;
        tx.update(
          'inodes',
          makeKey(key.k.type, key.k.p, packInode({ ...inode, bi_flags: inode.bi_flags & ~MARK }), key.k),
        );
      }
    });
    const { found, left, again } = recovered(devices);
    expect(found).toEqual({
      inode_has_case_insensitive_not_set: 2,
      inode_parent_has_case_insensitive_not_set: 3,
    });
    expect({ left, again }).toEqual({ left: [], again: [] });
  });

  test('a directory hands the option down to empty directories only', () => {
    const devices = filled();
    change(devices, ({ files }, root) => {
      const sub = files.lookup(files.lookup(root, text.encode('docs'))!, text.encode('sub'))!;
      const any = files.lookup(sub, text.encode('any'))!;
      const empty = files.create(sub, text.encode('empty'), { mode: 0o040755 });
      const full = files.create(sub, text.encode('full'), { mode: 0o040755 });
      files.create(full, text.encode('Name'), { mode: 0o100644 });
      expect([files.reinherit(any, empty), files.reinherit(any, full)]).toEqual([true, false]);
      files.create(empty, text.encode('Name'), { mode: 0o100644 });
      expect(files.lookup(empty, text.encode('NAME'))).toBeDefined();
      expect(files.lookup(full, text.encode('NAME'))).toBeUndefined();
    });
    expectSound(devices);
  });

  test('the option is for empty directories, where a kernel has set it before', () => {
    const devices = filled();
    change(devices, ({ files }, root) => {
      const docs = files.lookup(root, text.encode('docs'))!;
      expect(() => files.setOption(docs, 'casefold', 1)).toThrow('empty directories');
      expect(() => files.setOption(files.lookup(root, text.encode('top'))!, 'casefold', 1)).toThrow('of directories');
    });
    const others = smallTree({ version: versionOf('inode_has_case_insensitive') });
    change(others, ({ files }, root) => {
      const made = files.create(root, text.encode('new'), { mode: 0o040755 });
      expect(() => files.setOption(made, 'casefold', 1)).toThrow('a kernel has to set the first');
    });
  });
});
