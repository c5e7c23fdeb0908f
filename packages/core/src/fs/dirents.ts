// The entries of a directory: dirents at DIRECTORY:HASH OF THE NAME, seen through a snapshot. A dirent that leads to a subvolume shows up
// only in the subvolume that made it: snapshots of that one do not have it at all. Names that no lookup finds where they are, and
// names that are there twice, are reported and given all the same.
// Sources: bch2_readdir, bch2_dirent_lookup and dirent_is_visible in dirent.c, v1.13.0; str_hash.h; hash_check_key in fsck.c.

import type { KeyReader } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { type DirentTarget, dirent, mayBeNamed } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type DamageOptions, type OnDamage, reportDamage } from '../snapshots/damage.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { areEqual, latin1Text, printableBytes } from '../util/byte-text.ts';
import type { Words64 } from './siphash.ts';
import { compareWords, type StrHash } from './str-hash.ts';

const DIRENT = keyTypes.idOf('dirent');

export interface DirectoryEntry {
  /** Any bytes but NUL and slash, 1 to 512 of them: a copy. */
  readonly name: Uint8Array;
  /** What is looked up in a directory that ignores case. */
  readonly casefoldedName: Uint8Array | undefined;
  /** See fileTypes: what the dirent says; the inode may say something else. */
  readonly type: number;
  readonly target: DirentTarget;
  /** Where the dirent stands. */
  readonly pos: Bpos;
  /** A name that was there before: lookups find the first. */
  readonly isDuplicate: boolean;
}

/** The btree dirents through one snapshot. */
export interface DirentView {
  readonly dirents: KeyReader;
  readonly table: SnapshotTable;
  readonly snapshot: number;
  /** Whose links to other subvolumes are seen; 0 for none. */
  readonly subvolume: number;
}

export interface ReadDirectoryOptions extends DamageOptions {
  /** Checks where names stand. */
  readonly hash?: StrHash | undefined;
  /** Goes on after the entry at this position. */
  readonly after?: Bpos | undefined;
}

/** A directory with more names in a row than this is not checked for duplicates further on. */
const CHAIN_MAX = 4096;

/**
 * The entries of a directory in the order of their hashes, as readdir gives them.
 * @param inum the directory, low and high word
 * @throws as KeyReader.keys; CorruptError hash_table_key_wrong_offset, hash_table_key_duplicate, unless `onDamage` is given
 */
export function* readDirectory(
  view: DirentView,
  inum: Words64,
  { hash, after, onDamage }: ReadDirectoryOptions = {},
): Generator<DirectoryEntry> {
  const from = after === undefined ? Uint32Array.of(0, 0, 0, inum.lo, inum.hi) : nextOffset(after);
  if (from === undefined) return;
  const chain = hash?.isKnown ? new Chain(hash, onDamage, after) : undefined;
  for (const key of visibleKeys(view.dirents, view.table, view.snapshot, rangeOf(from, onDamage))) {
    const entry = key.k.type === DIRENT ? entryOf(key, onDamage) : undefined;
    chain?.extend(key.k.p);
    if (entry === undefined || !isVisible(entry.target, view.subvolume)) continue;
    const isDuplicate = chain?.judge(entry) ?? false;
    yield isDuplicate ? { ...entry, isDuplicate } : entry;
  }
}

/**
 * Looks a name up by its hash.
 * @param name folded, in a directory that ignores case
 * @throws as KeyReader.keys, unless `onDamage` is given
 */
export function findDirent(
  view: DirentView,
  inum: Words64,
  hash: StrHash,
  name: Uint8Array,
  { onDamage }: DamageOptions = {},
): DirectoryEntry | undefined {
  const start = hash.dirent(name);
  let expected: Bpos | undefined = Uint32Array.of(0, start.lo, start.hi, inum.lo, inum.hi);
  for (const key of visibleKeys(view.dirents, view.table, view.snapshot, rangeOf(expected, onDamage))) {
    // The name cannot come after a free position.
    if (expected === undefined || !isSameOffset(key.k.p, expected)) return undefined;
    expected = nextOffset(key.k.p);
    if (key.k.type !== DIRENT) continue;
    const entry = entryOf(key, onDamage);
    if (entry === undefined || !isVisible(entry.target, view.subvolume)) continue;
    if (areEqual(lookupName(entry), name)) return entry;
  }
  return undefined;
}

/**
 * Whether a name may be somewhere in a directory that minds the case of names, also where no lookup would find it. Reads as much as
 * readDirectory, but makes no entries, and reports nothing but keys that cannot be read.
 */
export function mayHoldName(view: DirentView, inum: Words64, name: Uint8Array, { onDamage }: DamageOptions = {}) {
  const from = Uint32Array.of(0, 0, 0, inum.lo, inum.hi);
  for (const key of visibleKeys(view.dirents, view.table, view.snapshot, rangeOf(from, onDamage)))
    if (key.k.type === DIRENT && mayBeNamed(key.value, name)) return true;
  return false;
}

/** What the name of an entry is compared by. */
export const lookupName = ({ casefoldedName, name }: DirectoryEntry): Uint8Array => casefoldedName ?? name;

/** The entry in a key of type dirent; undefined for one that is too short, which is reported. */
export function entryOf(key: Key, onDamage: OnDamage | undefined): DirectoryEntry | undefined {
  if (key.value.length < dirent.minBytes) {
    const where = { btree: 'dirents', pos: bposText(key.k.p) };
    const detail = `a dirent of ${key.value.length} bytes, expected ${dirent.minBytes} or more`;
    reportDamage(new CorruptError('bkey_val_size_too_small', where, detail), onDamage);
    return undefined;
  }
  const { name, casefoldedName, type, target } = dirent.decode(key.value);
  // Copies: the values are views of whole nodes.
  return {
    name: name.slice(),
    casefoldedName: casefoldedName?.slice(),
    type,
    target,
    pos: key.k.p.slice(),
    isDuplicate: false,
  };
}

const isVisible = (target: DirentTarget, subvolume: number): boolean =>
  'inum' in target || target.parent_subvol === subvolume;

function rangeOf(from: Bpos, onDamage: OnDamage | undefined) {
  const to = Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, from[3]!, from[4]!);
  return onDamage === undefined ? { from, to } : { from, to, onDamage };
}

/** The next offset in the same directory. */
function nextOffset(pos: Bpos): Bpos | undefined {
  const next = Uint32Array.of(0, pos[1]! + 1, pos[2]!, pos[3]!, pos[4]!);
  if (next[1] === 0) next[2]!++;
  return next[1] === 0 && next[2] === 0 ? undefined : next;
}

const isSameOffset = (a: Bpos, b: Bpos): boolean => a[1] === b[1] && a[2] === b[2];

/** Keys at neighbouring positions: a name is at its hash, or after it with no position free between. */
class Chain {
  readonly #hash: StrHash;
  readonly #onDamage: OnDamage | undefined;
  readonly #names = new Set<string>();
  /** The first name of the chain: nearly every one stands alone, and is not put into the set. */
  #first: Uint8Array | undefined;
  /** The last position. */
  #last: Bpos | undefined;
  #startLo = 0;
  #startHi = 0;

  /** @param after where reading goes on: what the chain was before is not known, and taken as long enough */
  constructor(hash: StrHash, onDamage: OnDamage | undefined, after: Bpos | undefined) {
    this.#hash = hash;
    this.#onDamage = onDamage;
    this.#last = after;
  }

  extend(pos: Bpos): void {
    const next = this.#last === undefined ? undefined : nextOffset(this.#last);
    if (next === undefined || !isSameOffset(next, pos)) {
      this.#startLo = pos[1]!;
      this.#startHi = pos[2]!;
      this.#first = undefined;
      if (this.#names.size > 0) this.#names.clear();
    }
    this.#last = pos;
  }

  /** @returns whether the name was there before */
  judge(entry: DirectoryEntry): boolean {
    const { pos } = entry;
    const { lo, hi } = this.#hash.dirent(lookupName(entry));
    const isInChain = compareWords(lo, hi, this.#startLo, this.#startHi) >= 0;
    if (!isInChain || compareWords(lo, hi, pos[1]!, pos[2]!) > 0) {
      const detail = `${printableBytes(entry.name)} hashes to ${(BigInt(hi) << 32n) | BigInt(lo)}: no lookup finds it here`;
      this.#report('hash_table_key_wrong_offset', pos, detail);
    }
    if (this.#first === undefined) {
      this.#first = lookupName(entry);
      return false;
    }
    if (this.#names.size === 0) this.#names.add(latin1Text(this.#first));
    const name = latin1Text(lookupName(entry));
    if (this.#names.has(name)) {
      this.#report('hash_table_key_duplicate', pos, `a second ${printableBytes(entry.name)}: lookups find the first`);
      return true;
    }
    if (this.#names.size < CHAIN_MAX) this.#names.add(name);
    return false;
  }

  #report(error: FaultName, pos: Bpos, detail: string): void {
    reportDamage(new CorruptError(error, { btree: 'dirents', pos: bposText(pos) }, detail), this.#onDamage);
  }
}
