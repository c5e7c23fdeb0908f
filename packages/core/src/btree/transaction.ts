// A transaction: changes to the btrees that are not written yet. It holds, for each btree, the changed keys in order over what is on
// disk, so that a reader of the transaction sees its own updates. Each change runs the triggers of its key types first, which add
// the changes that must follow from it (alloc, backpointers, accounting, …); so what is committed is consistent by construction.
// Counters are added up beside the keys and become keys when they are asked for. Nothing here touches a device: that is commit's.
//
// Source: the idea of struct btree_trans, with bch2_trans_update and run_btree_triggers in btree_trans_commit.c, v1.13.0.

import type { BlockDevice } from '../device/block-device.ts';
import type { BtreeRoot } from '../journal/overlay.ts';
import { BKEY_U64S, type Bkey, KEY_FORMAT_CURRENT, type Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { bposSuccessor, isLookup, type KeyLookupOptions, type NodeWalkOptions, type WalkOptions } from './iterate.ts';
import { KeyMap } from './key-map.ts';
import { type BtreeNode, DELETED } from './node.ts';
import type { FilesystemSource, KeyReader } from './source.ts';

/** One key that changes. At least one of both is there; a pointer of an interior node is a change at its node's parent's level. */
export interface KeyChange {
  readonly btree: number;
  /** 0 for keys; above it pointers to nodes, and for a root the level above the root. */
  readonly level: number;
  readonly before: Key | undefined;
  readonly after: Key | undefined;
}

/** What a change of a key means for other btrees: the socket that the rooms above plug in. */
export interface Triggers {
  /** @returns the key to store in place of `after`, where a trigger completes it; `after` itself in most cases */
  run(tx: Transaction, change: KeyChange): Key | undefined;
  /** Stores what was added up beside the keys, such as counters. Called before a commit looks at the changes, several times. */
  settle(tx: Transaction): void;
}

/** Changes nothing but the key itself: for keys whose consequences are there already, as when a journal is replayed. */
export const NO_TRIGGERS: Triggers = { run: (_, { after }) => after, settle() {} };

export class Transaction implements FilesystemSource {
  readonly #base: FilesystemSource;
  readonly #triggers: Triggers;
  readonly #changed = new Map<number, KeyMap>();
  #keepsPositions = false;

  /** @param base what is on disk, with the keys that its journal has over it */
  constructor(base: FilesystemSource, triggers: Triggers) {
    this.#base = base;
    this.#triggers = triggers;
  }

  get sb(): Superblock {
    return this.#base.sb;
  }

  get key(): Uint8Array | undefined {
    return this.#base.key;
  }

  device(index: number): BlockDevice | undefined {
    return this.#base.device(index);
  }

  /** A btree as it will be. */
  btree(which: BtreeName | number): KeyReader {
    const id = btreeId(which);
    const changed = this.#changed.get(id);
    const base = this.#base.btree(id);
    return changed === undefined ? base : new ChangedBtree(base, changed);
  }

  get(which: BtreeName | number, pos: Bpos): Key | undefined {
    const id = btreeId(which);
    const changed = this.#changed.get(id)?.get(pos);
    if (changed !== undefined) return changed.k.type === DELETED ? undefined : changed;
    return this.#base.btree(id).get(pos);
  }

  /** Puts a key at its position, whatever is there now. Extents that overlap are the data room's to cut first. */
  update(which: BtreeName | number, key: Key): void {
    this.#change(btreeId(which), key.k.p, key);
  }

  /** Takes the key at a position away. Nothing happens where there is none. */
  delete(which: BtreeName | number, pos: Bpos): void {
    this.#change(btreeId(which), pos, undefined);
  }

  /** A change of a pointer to a node: only what follows from it, since commit itself writes the pointers. */
  runTriggers(change: KeyChange): void {
    this.#triggers.run(this, change);
  }

  /** Everything that changed is in the keys from here on. */
  settle(): void {
    this.#triggers.settle(this);
  }

  /** Stores a key as it is, triggers left out: what is derived from others, by the trigger that derives it. */
  store(which: BtreeName | number, key: Key): void {
    const id = btreeId(which);
    const changed = this.#mapOf(id);
    const isChange = key.k.type !== DELETED || this.#base.btree(id).get(key.k.p) !== undefined;
    if (isChange || (this.#keepsPositions && changed.get(key.k.p) !== undefined)) changed.set(key);
    else changed.delete(key.k.p);
  }

  /**
   * From here on, a position that changed stays one that changed, even where its key comes and goes, and is noted. A commit that plans needs
   * that: the node that holds it was replaced in the plan, and what follows from that is in the transaction.
   */
  keepPositions(): void {
    this.#keepsPositions = true;
    for (const changed of this.#changed.values()) changed.startLog();
  }

  /** A change that the journal has over the nodes already: reading shows it, and it is to be written with the others. */
  replay(btree: number, key: Key): void {
    this.#mapOf(btree).set(key);
  }

  /** What changed in a btree, deletions as keys of type `deleted`; undefined for nothing. */
  changesOf(btree: number): KeyMap | undefined {
    const changed = this.#changed.get(btree);
    return changed === undefined || changed.size === 0 ? undefined : changed;
  }

  /** The btrees that have changes, by number. */
  changedBtrees(): readonly number[] {
    return [...this.#changed]
      .filter(([, { size }]) => size > 0)
      .map(([id]) => id)
      .sort((a, b) => a - b);
  }

  /** How many keys changed, in all btrees: what the memory goes by. */
  get size(): number {
    let size = 0;
    for (const changed of this.#changed.values()) size += changed.size;
    return size;
  }

  #change(btree: number, pos: Bpos, wanted: Key | undefined): void {
    const before = this.get(btree, pos);
    if (before === undefined && wanted === undefined) return;
    const after = this.#triggers.run(this, { btree, level: 0, before, after: wanted });
    assert(after === undefined || compareBpos(after.k.p, pos) === 0, `a trigger leaves a key at ${bposText(pos)}`);
    this.store(btree, after ?? deletedKey(pos));
  }

  #mapOf(btree: number): KeyMap {
    let changed = this.#changed.get(btree);
    if (changed === undefined) {
      changed = new KeyMap();
      if (this.#keepsPositions) changed.startLog();
      this.#changed.set(btree, changed);
    }
    return changed;
  }
}

/** A key with a value of whole u64s. */
export function makeKey(
  type: number,
  p: Bpos,
  value: Uint8Array,
  rest: Partial<Pick<Bkey, 'size' | 'bversion_lo' | 'bversion_hi'>> = {},
): Key {
  assert(value.length % 8 === 0, `a value is whole u64s long, not ${value.length} bytes`);
  return {
    k: {
      u64s: BKEY_U64S + value.length / 8,
      format: KEY_FORMAT_CURRENT,
      type,
      pad: 0,
      // Picked, since another key's header may be handed in whole.
      bversion_lo: rest.bversion_lo ?? 0n,
      bversion_hi: rest.bversion_hi ?? 0,
      size: rest.size ?? 0,
      p,
    },
    value,
  };
}

/** Says that nothing is at a position. */
export const deletedKey = (p: Bpos): Key => makeKey(DELETED, p, NO_VALUE);

const NO_VALUE = new Uint8Array(0);

const btreeId = (which: BtreeName | number): number => (typeof which === 'number' ? which : btrees.idOf(which));

/** A btree with changes over it. Both sides may change while it is read. */
export class ChangedBtree implements KeyReader {
  readonly #base: KeyReader;
  readonly #changed: KeyMap;

  constructor(base: KeyReader, changed: KeyMap) {
    this.#base = base;
    this.#changed = changed;
  }

  get id(): number {
    return this.#base.id;
  }

  get name(): string {
    return this.#base.name;
  }

  get root(): BtreeRoot | undefined {
    return this.#base.root;
  }

  nodes(options?: NodeWalkOptions): Generator<BtreeNode> {
    return this.#base.nodes(options);
  }

  get(pos: Bpos, options?: KeyLookupOptions): Key | undefined {
    const changed = this.#changed.get(pos);
    if (changed !== undefined) return changed.k.type === DELETED ? undefined : changed;
    return this.#base.get(pos, options);
  }

  first(from: Bpos, to: Bpos, options?: KeyLookupOptions): Key | undefined {
    for (let at = from; ; ) {
      const older = this.#base.first(at, to, options);
      const newer = this.#changed.seek(at);
      if (newer === undefined || compareBpos(newer.k.p, older?.k.p ?? to) > 0) return older;
      if (newer.k.type !== DELETED) return newer;
      if (compareBpos(newer.k.p, to) === 0) return undefined;
      at = bposSuccessor(newer.k.p);
    }
  }

  *keys(options: WalkOptions = {}): Generator<Key> {
    const { from = POS_MIN, to = SPOS_MAX, backward = false, level = 0 } = options;
    if (level > 0) {
      yield* this.#base.keys(options);
      return;
    }
    // Most walks are over the few keys of one inode, and lookups cost less than a walk's beginning.
    const isPlain = !backward && options.onDamage === undefined && options.onNode === undefined;
    if (isPlain && isLookup(options)) yield* this.#lookups(from, to);
    else yield* this.#merged(options);
  }

  *#lookups(from: Bpos, to: Bpos): Generator<Key> {
    for (let at = from; compareBpos(at, to) <= 0; ) {
      const key = this.first(at, to);
      if (key === undefined) return;
      const { p } = key.k;
      yield key;
      if (compareBpos(p, to) === 0) return;
      at = bposSuccessor(p);
    }
  }

  *#merged(options: WalkOptions): Generator<Key> {
    const { from = POS_MIN, to = SPOS_MAX, backward = false } = options;
    const sign = backward ? -1 : 1;
    const end = backward ? from : to;
    const below = this.#base.keys(options);
    let older = below.next().value;
    let newer: Key | undefined;
    let last: Bpos | undefined;
    let seen = -1;
    for (;;) {
      // Changes that the reader itself makes are seen when they lie ahead.
      if (seen !== this.#changed.changes) {
        seen = this.#changed.changes;
        if (last === undefined) newer = this.#changed.seek(backward ? to : from, { backward });
        else newer = this.#changed.next(last, { backward });
        if (newer !== undefined && sign * compareBpos(newer.k.p, end) > 0) newer = undefined;
      }
      let key = newer ?? older;
      if (newer !== undefined && older !== undefined && sign * compareBpos(older.k.p, newer.k.p) < 0) key = older;
      if (key === undefined) return;
      const pos = key.k.p;
      if (older !== undefined && compareBpos(older.k.p, pos) === 0) older = below.next().value;
      last = pos;
      if (key === newer) {
        newer = this.#changed.next(pos, { backward });
        if (newer !== undefined && sign * compareBpos(newer.k.p, end) > 0) newer = undefined;
      }
      if (key.k.type !== DELETED) yield key;
    }
  }
}
