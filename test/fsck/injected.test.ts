// One thing made wrong with kvdb in a filesystem with three snapshots of its root and another subvolume: fsck -y finds it, the next fsck -n is
// clean, and every file is what it was, but for what was taken away on purpose.
//
// The kinds of damage are those of snapshot-inject and lru-inject in koverstreet/ktest, as far as version 1.13 has what they alter: it has no
// states of snapshots and subvolumes but flags, and no record of damage.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  FileEdit,
  type Filesystem,
  loadChecksums,
  loadCompression,
  type MemoryDevice,
  openFilesystem,
  type Snapshot,
  snapshot,
  snapshotTree,
  subvolume,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { writerOn } from '../support/commits.ts';
import { treeText } from '../support/file-model.ts';
import { sampleOf } from '../support/long.ts';
import { formattedImage, MIB, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';

const text = new TextEncoder();
const SNAPSHOTS = 3;
/** Subvolume 1 is the root, 2 to 4 are its snapshots, 5 is a tree of its own. */
const [LAST, OTHER] = [4, 5];

/** What each snapshot sees differs by files, versions of one file, directories, and files that are gone again. */
function snapshotTrees(): readonly MemoryDevice[] {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB });
  const { writer, options } = writerOn(devices, undefined, 1);
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const put = (directory: typeof root, name: string, content: string) => {
    const there = edit.files.lookup(directory, text.encode(name));
    const file = there ?? edit.files.create(directory, text.encode(name), { mode: 0o100644 });
    edit.content.write(file, 0, text.encode(content));
  };
  for (let nr = 0; nr < SNAPSHOTS; nr++) {
    put(root, `data-${nr}`, `data of ${nr}\n`.repeat(500));
    put(root, 'versioned', `version ${nr}\n`.repeat(500));
    put(edit.files.create(root, text.encode(`dir-${nr}`), { mode: 0o040755 }), 'file', `nested ${nr}`);
    put(root, `transient-${nr}`, `transient ${nr}`);
    if (nr > 0) edit.files.remove(root, text.encode(`transient-${nr - 1}`));
    edit.files.createSnapshot(root, text.encode(`snap-${nr}`), 1);
  }
  put(edit.files.createSubvolume(root, text.encode('other')), 'file', 'of another tree');
  edit.commit();
  return devices;
}

/** The snapshots as they were before. */
class Nodes {
  readonly #filesystem: Filesystem;

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
  }

  #value(btree: 'snapshots' | 'snapshot_trees' | 'subvolumes', id: number): Uint8Array {
    for (const { k, value } of this.#filesystem.btree(btree).keys()) if (k.p[1] === id) return value.slice();
    throw new Error(`there is no ${id} in ${btree}`);
  }

  node(id: number): Snapshot {
    return snapshot.decode(this.#value('snapshots', id));
  }

  /** The snapshot that a subvolume lives in. */
  home(subvol: number): number {
    return subvolume.decode(this.#value('subvolumes', subvol)).snapshot;
  }

  inode(subvol: number): bigint {
    return subvolume.decode(this.#value('subvolumes', subvol)).inode;
  }

  parent(id: number): number {
    return this.node(id).parent;
  }

  /** The other child of the parent. */
  sibling(id: number): number {
    return this.node(this.parent(id)).children.find(child => child !== id) ?? 0;
  }

  tree(subvol: number): number {
    return this.node(this.home(subvol)).tree;
  }

  root(subvol = 1): number {
    return snapshotTree.decode(this.#value('snapshot_trees', this.tree(subvol))).root_snapshot;
  }

  /** A node with two children that is not the parent of a given one. */
  full(id: number): number {
    const parent = this.parent(id);
    for (let at = this.home(1); at !== 0; at = this.parent(at))
      if (at !== parent && this.node(at).children.every(child => child !== 0)) return at;
    throw new Error('no other node has two children');
  }

  /** The first key of a btree, as kvdb wants it. */
  first(btree: 'lru' | 'inodes', isWanted: (p: Uint32Array) => boolean = () => true): Uint32Array {
    for (const { k } of this.#filesystem.btree(btree).keys()) if (isWanted(k.p)) return k.p.slice();
    throw new Error(`${btree} has no such key`);
  }
}

interface Injection {
  readonly name: string;
  /** Commands of kvdb. */
  readonly edit: (nodes: Nodes) => readonly string[];
  /** Where something was taken away on purpose: paths that begin so are not compared. */
  readonly lost?: readonly string[];
}

const node = (id: number, fields: string) => `update snapshots 0:${id}:0 ${fields}`;
const subvol = (id: number, fields: string) => `update subvolumes 0:${id}:0 ${fields}`;
const without = (btree: string, id: number) => `set ${btree} 0:${id}:0 deleted`;
/** Takes a node out of its parent's list of children. */
const unlisted = (nodes: Nodes, id: number) => node(nodes.parent(id), `children[0]=${nodes.sibling(id)} children[1]=0`);
const SNAP_2 = ['/snap-2'];
const lruPosition = (id: number, time: bigint, bucket: number) => `${(BigInt(id) << 48n) | time}:${bucket}:0`;

// biome-ignore format: a table
const injections: readonly Injection[] = [
  { name: 'bad_depth', edit: nodes => [node(nodes.home(LAST), `depth=${nodes.node(nodes.home(LAST)).depth + 5}`)] },
  { name: 'bad_skiplist', edit: nodes => { const skip = [nodes.home(2), nodes.root(), nodes.root()].sort((a, b) => a - b); return [node(nodes.home(LAST), `skip[0]=${skip[0]} skip[1]=${skip[1]} skip[2]=${skip[2]}`)]; } },
  { name: 'bad_tree_ptr', edit: nodes => [node(nodes.home(LAST), 'tree=987654')] },
  { name: 'wrong_tree_ptr', edit: nodes => [node(nodes.home(LAST), `tree=${nodes.tree(OTHER)}`)] },
  { name: 'tree_wrong_root', edit: nodes => [`update snapshot_trees 0:${nodes.tree(1)}:0 root_snapshot=${nodes.home(LAST)}`] },
  { name: 'tree_to_missing_snapshot', edit: nodes => [`update snapshot_trees 0:${nodes.tree(1)}:0 root_snapshot=31337`] },
  { name: 'tree_master_subvol_missing', edit: nodes => [`update snapshot_trees 0:${nodes.tree(1)}:0 master_subvol=31337`] },
  { name: 'tree_master_is_snapshot_subvol', edit: nodes => [`update snapshot_trees 0:${nodes.tree(1)}:0 master_subvol=${LAST}`] },
  { name: 'duplicate_tree', edit: nodes => [`set snapshot_trees 0:99:0 snapshot_tree root_snapshot=${nodes.root()} master_subvol=1`] },
  { name: 'root_subvol_fs_path_parent', edit: () => [subvol(1, 'fs_path_parent=2')] },
  { name: 'subvol_child_bit_missing', edit: () => [`set subvolume_children 1:${LAST}:0 deleted`] },
  { name: 'subvol_children_stray', edit: () => [`set subvolume_children 7:${LAST}:0 set`] },
  { name: 'stranded_keys', edit: nodes => [node(nodes.home(LAST), 'flags=4 subvol=0'), unlisted(nodes, nodes.home(LAST)), without('subvolumes', LAST)], lost: SNAP_2 },
  { name: 'key_missing_inode', edit: nodes => [`set inodes 0:${nodes.inode(LAST)}:${nodes.home(LAST)} deleted`], lost: SNAP_2 },
  { name: 'subvol_to_missing_node', edit: nodes => [unlisted(nodes, nodes.home(LAST)), without('snapshots', nodes.home(LAST))], lost: SNAP_2 },
  { name: 'tombstoned_child', edit: nodes => [node(nodes.home(LAST), 'flags=4 subvol=0'), without('subvolumes', LAST)], lost: SNAP_2 },
  { name: 'missing_child', edit: nodes => [without('snapshots', nodes.home(LAST)), without('subvolumes', LAST)], lost: SNAP_2 },
  { name: 'parent_missing_child_ptr', edit: nodes => [unlisted(nodes, nodes.home(LAST))] },
  { name: 'wrong_parent', edit: nodes => [node(nodes.home(3), `parent=${nodes.root()} depth=1 skip[0]=0 skip[1]=0 skip[2]=0`)] },
  { name: 'orphan_node', edit: nodes => [node(nodes.parent(nodes.home(3)), 'parent=0')] },
  { name: 'snapshot_to_missing_subvol', edit: () => [without('subvolumes', LAST)] },
  { name: 'subvol_backref_stolen', edit: nodes => [node(nodes.home(LAST), 'subvol=2')] },
  { name: 'subvol_backref_cleared', edit: nodes => [node(nodes.home(LAST), 'subvol=0')] },
  { name: 'dangling_subvol', edit: nodes => [subvol(LAST, `snapshot=${nodes.root()}`)] },
  { name: 'missing_root_node', edit: nodes => [without('snapshots', nodes.root())] },
  { name: 'missing_main_subvol', edit: () => [without('subvolumes', 1)] },
  { name: 'will_delete_live_subvol', edit: nodes => [node(nodes.home(LAST), 'flags=1')] },
  { name: 'will_delete_backref_cleared', edit: nodes => [node(nodes.home(LAST), 'flags=1 subvol=0')] },
  { name: 'deleted_live_subvol', edit: nodes => [node(nodes.home(LAST), 'flags=6')] },
  { name: 'state_bits_disagree', edit: nodes => [node(nodes.home(LAST), 'flags=13')] },
  { name: 'unlinked_subvol', edit: () => [subvol(LAST, 'flags=6 fs_path_parent=0')], lost: SNAP_2 },
  { name: 'subvol_snap_flag_cleared', edit: () => [subvol(LAST, 'flags=0')] },
  { name: 'subvol_fs_path_parent_wrong', edit: () => [subvol(LAST, `fs_path_parent=${OTHER}`)] },
  { name: 'subvol_fs_path_parent_cycle', edit: () => [subvol(3, `fs_path_parent=${LAST}`), subvol(LAST, 'fs_path_parent=3')] },
  { name: 'two_subvols_one_snapshot', edit: nodes => [`set subvolumes 0:9:0 subvolume snapshot=${nodes.home(LAST)} inode=${nodes.inode(LAST)} fs_path_parent=1 flags=2`] },
  { name: 'three_children_conflict', edit: nodes => { const [id, full] = [nodes.home(LAST), nodes.full(nodes.home(LAST))]; return [unlisted(nodes, id), node(id, `parent=${full} depth=${nodes.node(full).depth + 1} skip[0]=0 skip[1]=0 skip[2]=0`)]; }, lost: SNAP_2 },
  { name: 'orphan_become_tree_root', edit: nodes => [unlisted(nodes, nodes.home(LAST)), node(nodes.home(LAST), 'parent=4294967290 depth=0 skip[0]=0 skip[1]=0 skip[2]=0')], lost: SNAP_2 },
  { name: 'lru_stray_id', edit: () => [`set lru ${lruPosition(60_000, 5n, 33)} set`] },
  { name: 'lru_old_fs_wide_id', edit: () => [`set lru ${lruPosition(65_535, 7n, 12)} set`] },
  { name: 'lru_bogus_time', edit: () => [`set lru ${lruPosition(0, 12_345n, 40)} set`] },
  { name: 'lru_wrong_device', edit: () => [`set lru ${lruPosition(1, 7n, 40)} set`] },
];

const FEW = ['bad_tree_ptr', 'missing_root_node', 'orphan_node', 'will_delete_live_subvol', 'lru_stray_id'];

const folder = mkdtempSync(join(tmpdir(), 'fsck-injected-'));
afterAll(() => rmSync(folder, { recursive: true }));
let devices: readonly MemoryDevice[];
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  devices = snapshotTrees();
});

function read<T>(image: string, use: (filesystem: Filesystem) => T): T {
  const filesystem = openFilesystem([image]);
  try {
    return use(filesystem);
  } finally {
    filesystem.close();
  }
}

/** All files, without those below some paths. */
const files = (image: string, lost: readonly string[]): readonly string[] =>
  read(image, filesystem =>
    treeText(filesystem, '').filter(
      line => !lost.some(path => line.startsWith(path) || line.startsWith('/lost+found')),
    ),
  );

describe('made wrong with kvdb', () => {
  test.each(sampleOf('injections', injections, FEW))(
    '$name',
    { timeout: patient(60_000) },
    async ({ name, edit, lost = [] }) => {
      const image = join(folder, `${name}.img`);
      saveImage(devices[0]!, image);
      const before = files(image, lost);
      const commands = read(image, filesystem => edit(new Nodes(filesystem)));
      await succeed('kvdb', ['--raw', ...commands.flatMap(command => ['-c', command]), image]);
      const repaired = await run('fsck', ['-y', `--quarantine=${image}.lost`, image]);
      expect(repaired.exitCode, repaired.stdout + repaired.stderr).toBe(1);
      const again = await run('fsck', ['-f', '-n', image]);
      expect(again.exitCode, again.stdout + again.stderr).toBe(0);
      expect(files(image, lost), repaired.stdout).toEqual(before);
      rmSync(image);
    },
  );
});
