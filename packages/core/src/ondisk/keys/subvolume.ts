// Key type subvolume: a directory tree that can be snapshotted: its root inode and the snapshot node that it lives in. The key's
// position is 0:subvolume.
// Sources: struct bch_subvolume in snapshots/format.h and snapshots/subvolume.c, v1.36.1 and v1.39.2.

import { at, bytes, layout, type Struct, u32, u64, viewOf } from '../layout.ts';
import { bitNames, type Row, type Table, table } from '../table.ts';
import type { KeyKind, KeyProblem } from './kind.ts';
import { padded } from './padded.ts';

export const BchSubvolume = layout('bch_subvolume', 48, {
  flags: at(0, u32),
  snapshot: at(4, u32),
  inode: at(8, u64), // the root directory; the last member at first
  creation_parent: at(16, u32), // the subvolume that it was made from, when it is a snapshot
  fs_path_parent: at(20, u32), // the subvolume of the directory that it is in
  otime: at(24, bytes(16)), // when it was made; a 128-bit number
  state: at(40, u32), // since 1.39
  pad: at(44, u32),
});

/** A subvolume and how much of it its key has: older ones are shorter. */
export interface Subvolume extends Struct<typeof BchSubvolume> {
  readonly sizeBytes: number;
  /** What a newer release may have added after it. */
  readonly rest: Uint8Array;
}

/** Bits of `flags`. Since 1.39 `unlinked` only mirrors the state. */
export const subvolumeFlags: Table<Row> = table<Row>('subvolume flag', [
  { id: 0, name: 'ro' },
  { id: 1, name: 'snapshot' },
  { id: 2, name: 'unlinked' },
]);

export type SubvolumeState = 'live' | 'unlinked' | 'deleted';
type SubvolumeStateRow = Row & { readonly name: SubvolumeState };

/** `unlinked`: gone from its directory, still open. `deleted`: nothing refers to it, its keys are to be removed. */
export const subvolumeStates: Table<SubvolumeStateRow> = table<SubvolumeStateRow>('subvolume state', [
  { id: 0x4ad5447e, name: 'live' },
  { id: 0x2d358e8f, name: 'unlinked' },
  { id: 0x3c6b2d4c, name: 'deleted' },
]);
const RO = 1;
const SNAP = 2;
const UNLINKED = 4;

/** S32_MAX: the greatest subvolume number. */
const SUBVOLUME_MAX = 0x7fff_ffff;

/** What has become of a subvolume, whichever way it is stored; undefined for an unknown state. */
export function subvolumeState(value: Subvolume): SubvolumeState | undefined {
  if (value.state !== 0) return subvolumeStates.byId(value.state)?.name;
  return value.flags & UNLINKED ? 'unlinked' : 'live';
}

export const subvolume: KeyKind<Subvolume> = {
  name: 'subvolume',
  minBytes: 16,
  decode(value) {
    const fields = BchSubvolume.get(viewOf(padded(value, BchSubvolume.size)), 0);
    return { ...fields, sizeBytes: Math.min(value.length, BchSubvolume.size), rest: value.subarray(BchSubvolume.size) };
  },
  encode(value) {
    const target = new Uint8Array(BchSubvolume.size + value.rest.length);
    BchSubvolume.put(viewOf(target), 0, value);
    target.set(value.rest, BchSubvolume.size);
    return value.sizeBytes < BchSubvolume.size ? target.subarray(0, value.sizeBytes) : target;
  },
  validate(value, k) {
    const problems: KeyProblem[] = [];
    const number = k.p[1]!;
    if (k.p[4] !== 0 || k.p[3] !== 0 || k.p[2] !== 0 || number === 0 || number > SUBVOLUME_MAX)
      problems.push({ error: 'subvol_pos_bad', detail: `a position outside 0:1 to 0:${SUBVOLUME_MAX}` });
    if (value.snapshot === 0) problems.push({ error: 'subvol_snapshot_bad', detail: 'snapshot 0, expected 1 or more' });
    if (value.inode === 0n) problems.push({ error: 'subvol_inode_bad', detail: 'root inode 0, expected 1 or more' });
    if (value.sizeBytes > BchSubvolume.offset.pad && value.pad !== 0)
      problems.push({ error: 'subvol_pad_nonzero', detail: `padding ${value.pad}, expected 0` });
    return problems;
  },
  text(out, value, context) {
    out.print(`root ${value.inode} snapshot id ${value.snapshot}`);
    if (value.sizeBytes > BchSubvolume.offset.creation_parent)
      out.print(` creation_parent ${value.creation_parent} fs_parent ${value.fs_path_parent}`);
    if (value.flags & RO) out.print(' ro');
    if (value.flags & SNAP) out.print(' snapshot');
    if (context.style === '1.39') out.print(stateText(value));
    else if (value.flags & UNLINKED) out.print(' unlinked');
  },
  json: value => ({
    root: value.inode,
    snapshot: value.snapshot,
    creation_parent: value.creation_parent,
    fs_path_parent: value.fs_path_parent,
    otime: viewOf(value.otime).getBigUint64(0, true),
    flags: bitNames(subvolumeFlags, BigInt(value.flags)),
    state: subvolumeState(value) ?? `invalid(0x${value.state.toString(16)})`,
  }),
};

/** The state, and where the flag says something else. */
function stateText(value: Subvolume): string {
  const unlinked = value.flags & UNLINKED ? 1 : 0;
  const state = subvolumeState(value);
  if (value.state === 0) return ` ${state} (not upgraded, unlinked_obsolete=${unlinked})`;
  if (state === undefined) return ` state 0x${value.state.toString(16)} invalid (unlinked_obsolete=${unlinked})`;
  const isMirrored = unlinked === (state === 'live' ? 0 : 1);
  return isMirrored ? ` ${state}` : ` ${state} unlinked_obsolete=${unlinked}`;
}
