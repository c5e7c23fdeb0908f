// Key type snapshot: a node of a tree of snapshots. Keys in the versioned btrees carry the id of a node, and are seen in it and in
// its descendants. A parent's id is above its children's. The key's position is 0:id.
//
// Up to 1.38 four flag bits say what has become of a node; since then a 32-bit state does, whose values are far apart, and the flags
// are kept up beside it for older kernels.
// Sources: struct bch_snapshot in snapshots/format.h and snapshots/snapshot.c, v1.36.1 and v1.39.2.

import { type Bpos, bposOffset } from '../bpos.ts';
import type { FaultName } from '../faults.ts';
import { array, at, bytes, layout, type Struct, u32, viewOf } from '../layout.ts';
import { bitNames, type Row, type Table, table } from '../table.ts';
import type { KeyKind, KeyProblem } from './kind.ts';
import { padded } from './padded.ts';

export const BchSnapshot = layout('bch_snapshot', 64, {
  flags: at(0, u32),
  parent: at(4, u32), // 0 for a root
  children: at(8, array(u32, 2)), // the greater one first; 0 is none
  subvol: at(16, u32), // leaves only
  tree: at(20, u32), // see snapshot-tree.ts; the last member at first
  depth: at(24, u32), // since 1.1, like the next one
  skip: at(28, array(u32, 3)), // some ancestors, ascending: a shortcut upwards
  btime: at(40, bytes(16)), // when it was made; a 128-bit number
  state: at(56, u32), // since 1.39
  pad: at(60, u32),
});

/** A node and how much of it its key has: older ones are shorter. */
export interface Snapshot extends Struct<typeof BchSnapshot> {
  readonly sizeBytes: number;
  /** What a newer release may have added after it. */
  readonly rest: Uint8Array;
}

/** Bits of `flags`. */
export const snapshotFlags: Table<Row> = table<Row>('snapshot flag', [
  { id: 0, name: 'will_delete' },
  { id: 1, name: 'subvol' },
  { id: 2, name: 'deleted' },
  { id: 3, name: 'no_keys' },
]);

export type SnapshotState = 'live' | 'will_delete' | 'no_keys' | 'deleted';
type SnapshotStateRow = Row & { readonly name: SnapshotState };

/**
 * `will_delete`: a leaf without a subvolume, its keys to be removed. `no_keys`: an interior node whose keys have moved to its only
 * child. `deleted`: taken out of the tree; the key stays, so that keys which still carry the id are known for what they are.
 */
export const snapshotStates: Table<SnapshotStateRow> = table<SnapshotStateRow>('snapshot state', [
  { id: 0x757c47a2, name: 'live' },
  { id: 0x3316a8d2, name: 'will_delete' },
  { id: 0x372b5a01, name: 'no_keys' },
  { id: 0x7cd4a225, name: 'deleted' },
]);
const WILL_DELETE = 1;
const SUBVOL = 2;
const DELETED = 4;
const NO_KEYS = 8;
const STATE_FLAGS = WILL_DELETE | SUBVOL | DELETED | NO_KEYS;

/** What has become of a node, whichever way it is stored; undefined for an unknown state. */
export function snapshotState(value: Snapshot): SnapshotState | undefined {
  if (value.state !== 0) return snapshotStates.byId(value.state)?.name;
  if (value.flags & DELETED) return 'deleted';
  if (value.flags & NO_KEYS) return 'no_keys';
  return value.flags & WILL_DELETE ? 'will_delete' : 'live';
}

/** What `flags` holds beside a state. Mirrors bch2_snapshot_state_set. */
function flagsBeside(state: SnapshotState, subvol: number): number {
  switch (state) {
    case 'live':
      return subvol === 0 ? 0 : SUBVOL;
    case 'will_delete':
      return WILL_DELETE;
    case 'no_keys':
      return NO_KEYS;
    case 'deleted':
      return DELETED;
  }
}

/** Whether a position is 0:id with a 32-bit id that is not 0. */
export function isSnapshotIdPos(pos: Bpos): boolean {
  return pos[4] === 0 && pos[3] === 0 && pos[2] === 0 && pos[1] !== 0;
}

export const snapshot: KeyKind<Snapshot> = {
  name: 'snapshot',
  minBytes: 24,
  decode(value) {
    const fields = BchSnapshot.get(viewOf(padded(value, BchSnapshot.size)), 0);
    return { ...fields, sizeBytes: Math.min(value.length, BchSnapshot.size), rest: value.subarray(BchSnapshot.size) };
  },
  encode(value) {
    const target = new Uint8Array(BchSnapshot.size + value.rest.length);
    BchSnapshot.put(viewOf(target), 0, value);
    target.set(value.rest, BchSnapshot.size);
    return value.sizeBytes < BchSnapshot.size ? target.subarray(0, value.sizeBytes) : target;
  },
  validate(value, k) {
    const problems: KeyProblem[] = [];
    const found = (error: FaultName, detail: string) => problems.push({ error, detail });
    if (!isSnapshotIdPos(k.p)) found('snapshot_pos_bad', 'a position outside 0:1 to 0:4294967295');
    const id = bposOffset(k.p);
    const [first = 0, second = 0] = value.children;
    if (value.parent !== 0 && BigInt(value.parent) <= id)
      found('snapshot_parent_bad', `parent ${value.parent}, expected above ${id}`);
    if (first < second)
      found('snapshot_children_not_normalized', `children ${first} and ${second}, expected the greater one first`);
    if (first !== 0 && first === second) found('snapshot_child_duplicate', `child ${first} twice`);
    for (const child of value.children) {
      if (BigInt(child) >= id) found('snapshot_child_bad', `child ${child}, expected below ${id}`);
    }
    if (value.sizeBytes > BchSnapshot.offset.skip) {
      const [a = 0, b = 0, c = 0] = value.skip;
      if (a > b || b > c)
        found('snapshot_skiplist_not_normalized', `skiplist ${value.skip.join(' ')}, expected ascending`);
      for (const node of value.skip) {
        if (node !== 0 && node < value.parent)
          found('snapshot_skiplist_bad', `skiplist node ${node}, expected ${value.parent} or above`);
      }
    }
    if (value.sizeBytes > BchSnapshot.offset.pad && value.pad !== 0)
      found('snapshot_pad_nonzero', `padding ${value.pad}, expected 0`);
    return problems;
  },
  text(out, value, context) {
    const isStateShown = context.style === '1.39';
    if (!isStateShown) {
      if (value.flags & SUBVOL) out.print('subvol ');
      if (value.flags & WILL_DELETE) out.print('will_delete ');
      if (value.flags & DELETED) out.print('deleted ');
      if (value.flags & NO_KEYS) out.print('no_keys ');
    }
    const wide = (id: number | undefined) => `${id}`.padStart(10);
    const [first, second] = value.children;
    out.print(`parent ${wide(value.parent)} children ${wide(first)} ${wide(second)} subvol ${value.subvol} `);
    out.print(`tree ${value.tree} depth ${value.depth} skiplist ${value.skip.join(' ')}`);
    if (isStateShown) out.print(stateText(value));
  },
  json: value => ({
    parent: value.parent,
    children: value.children.filter(child => child !== 0),
    subvol: value.subvol,
    tree: value.tree,
    depth: value.depth,
    skip: value.skip,
    btime: viewOf(value.btime).getBigUint64(0, true),
    flags: bitNames(snapshotFlags, BigInt(value.flags)),
    state: snapshotState(value) ?? `invalid(0x${value.state.toString(16)})`,
  }),
};

/** The state, and where the flags say something else. */
function stateText(value: Snapshot): string {
  const names = bitNames(snapshotFlags, BigInt(value.flags & STATE_FLAGS)).join(',');
  const flags = `flags 0x${value.flags.toString(16)}:${names}`;
  const state = snapshotState(value);
  if (value.state === 0) return ` ${state} (not upgraded, ${flags})`;
  if (state === undefined) return ` state 0x${value.state.toString(16)} invalid (${flags})`;
  const expected = flagsBeside(state, value.subvol);
  let text = ` ${state}`;
  for (const name of ['will_delete', 'subvol', 'deleted', 'no_keys']) {
    const bit = 1 << snapshotFlags.idOf(name);
    if ((value.flags ^ expected) & bit) text += ` ${name}_obsolete=${value.flags & bit ? 1 : 0}`;
  }
  return text;
}
