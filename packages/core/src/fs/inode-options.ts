// Options of single inodes as they are changed: those that an inode has of its own, and those that it takes over from its directory.
// Data that are written already are left to a kernel, which is asked to look at them.
// Source: bch2_xattr_bcachefs_set in xattr.c, bch2_reinherit_attrs in fs-common.c, bch2_set_rebalance_needs_scan in rebalance.c, v1.13.0.

import { makeKey } from '../btree/transaction.ts';
import { btrees } from '../ondisk/btrees.ts';
import { compressionOptions, decodeCompression } from '../ondisk/compression-types.ts';
import { assert } from '../ondisk/errors.ts';
import { type InodeOptionName, type InodeOptionRow, inodeOptions } from '../ondisk/inode-tables.ts';
import { isDirectory } from '../ondisk/inode-unpack.ts';
import { cookie } from '../ondisk/keys/cookie.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { markCase } from './case-edit.ts';
import type { EditState, FileRef } from './edit-state.ts';
import type { CachedInode } from './inode-cache.ts';
import type { EditableInode } from './inode-pack.ts';

export type InodeOptionField = InodeOptionRow['field'];

const COOKIE = keyTypes.idOf('cookie');
/** rebalance_work, as it was called until 1.33. */
const REBALANCE_WORK = btrees.idOf('reconcile_work');

/**
 * An option of the inode's own; undefined gives it back to what the directory has. What a directory has goes on to files that are
 * made in it later. What a file has already is left for a kernel to compress or move.
 * @param value as in the table of options, validated
 */
export function setOption(state: EditState, file: FileRef, name: InodeOptionName, value: number | undefined): void {
  const cached = state.writable(file);
  const row = inodeOptions.byName(name);
  assert(row !== undefined, `${name} is an option of inodes`);
  const { inode } = cached;
  const bit = 1 << row.id;
  if (value === undefined) {
    inode.bi_fields_set &= ~bit;
    inode[row.field] = state.parentOf(cached)?.inode[row.field] ?? 0;
  } else {
    inode.bi_fields_set |= bit;
    inode[row.field] = value + 1;
    noteFeature(state, name, value);
    if (isForBackground(state, name, inode)) askForScan(state, cached);
  }
  if (name === 'casefold') markCase(state, cached);
  state.touchChanged(cached);
}

/**
 * Takes on the options that the directory has and the file has not of its own: what was set on a directory reaches what is in it already.
 * Mirrors bch2_ioc_reinherit_attrs; unlike there, a kernel is asked to look at what the file has, as when they are set on the file.
 * @param hasNames whether a directory is not empty: its names are hashed as they are, and it compares them as before
 * @returns whether that changed anything
 */
export function reinherit(
  state: EditState,
  directory: FileRef,
  file: FileRef,
  hasNames: (dir: CachedInode) => boolean,
): boolean {
  const { inode: dir } = state.cached(directory);
  const before = state.cached(file);
  const differing = differingOptions(state, before.inode, dir);
  const keepsCase = differing.includes('bi_casefold') && hasNames(before);
  const fields = keepsCase ? differing.filter(field => field !== 'bi_casefold') : differing;
  if (fields.length === 0) return false;
  const cached = state.writable(file);
  takeOptions(cached.inode, dir, fields);
  if (fields.includes('bi_casefold')) markCase(state, cached);
  const names = inodeOptions.rows.filter(({ field }) => fields.includes(field)).map(({ name }) => name);
  if (names.some(name => isForBackground(state, name, cached.inode))) askForScan(state, cached);
  return true;
}

/** Options that a file would take on in a directory: those that it does not have of its own. Mirrors bch2_reinherit_attrs. */
export function differingOptions(
  state: EditState,
  inode: EditableInode,
  dir: EditableInode,
): readonly InodeOptionField[] {
  const isDir = isDirectory(inode);
  return state.rules.inodeOptions
    .filter(({ name }) => isDir || name !== 'casefold')
    .filter(({ id, field }) => ((inode.bi_fields_set >>> id) & 1) === 0 && inode[field] !== dir[field])
    .map(({ field }) => field);
}

export function takeOptions(inode: EditableInode, dir: EditableInode, fields: readonly InodeOptionField[]): void {
  for (const field of fields) inode[field] = dir[field];
}

function noteFeature({ optionFeatures }: EditState, name: InodeOptionName, value: number): void {
  if (name === 'erasure_code' && value !== 0) optionFeatures.add('ec');
  if (name !== 'compression' && name !== 'background_compression') return;
  const feature = compressionOptions.byId(decodeCompression(value).type)?.feature;
  if (feature != null) optionFeatures.add(feature);
}

/** Whether data that are written already may have to be moved or compressed by it. Mirrors bch2_xattr_bcachefs_set. */
function isForBackground(state: EditState, name: InodeOptionName, inode: Readonly<EditableInode>): boolean {
  if (name !== 'compression') return name === 'background_compression' || name === 'background_target';
  const { bi_background_compression: own } = inode;
  return (own > 0 ? own - 1 : Number(state.option('background_compression'))) === 0;
}

/** A kernel looks through the file's extents when it sees that the cookie was raised. Mirrors bch2_set_rebalance_needs_scan. */
function askForScan({ tx }: EditState, { words: { lo, hi } }: CachedInode): void {
  const pos = Uint32Array.of(0xffff_ffff, 0xffff_fffe, 0xffff_ffff, lo, hi);
  const before = tx.get(REBALANCE_WORK, pos);
  const count = before?.k.type === COOKIE ? cookie.decode(before.value).cookie : 0n;
  tx.update(REBALANCE_WORK, makeKey(COOKIE, pos, cookie.encode({ cookie: count + 1n })));
}
