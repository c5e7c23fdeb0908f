// Versions of keys that were not given yet. A version is given to data when it is written, and is part of its nonce where it is encrypted; the
// filesystem records the highest. A kernel asks of every key, on every level and of every btree but the counters', that its version is at most
// that. Those of extents are for check-extents.ts to settle, which may have to raise what is recorded; any other key needs no version, and
// has none afterwards.
//
// Source: bch2_gc_mark_key and bch2_gc_btree in btree_gc.c, v1.13.0, which raises what is recorded to whatever it finds.

import { type BtreeNode, DELETED } from '../btree/node.ts';
import type { Key } from '../ondisk/bkey.ts';
import { ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Finding, finding } from '../report/finding.ts';

const ACCOUNTING = btrees.idOf('accounting');
/** Of data, the version is what it was written with. */
const OF_DATA: readonly number[] = [btrees.idOf('extents'), btrees.idOf('reflink')];

/** Whether the keys of a level are to have no version ahead of the recorded one. The versions of counters are places in the journal. */
const isAsked = (btree: number, level: number): boolean =>
  btree !== ACCOUNTING && (level > 0 || !OF_DATA.includes(btree));

/** Counts them in one btree. */
export class AheadVersions {
  readonly #filesystem: Filesystem;
  readonly #btree: number;
  readonly #recorded: bigint;
  /** Its upper and lower 32 bits. */
  readonly #high: number;
  readonly #low: number;
  #count = 0;
  #first: { readonly level: number; readonly pos: Bpos; readonly version: bigint } | undefined;

  constructor(filesystem: Filesystem, btree: number) {
    this.#filesystem = filesystem;
    this.#btree = btree;
    this.#recorded = filesystem.replay.clocks.keyVersion;
    this.#high = Number(this.#recorded >> 32n);
    this.#low = Number(this.#recorded & 0xffff_ffffn);
  }

  visitNode(level: number, node: BtreeNode): void {
    if (!isAsked(this.#btree, level)) return;
    const { rows, count } = node;
    for (let i = 0; i < count; i++) {
      const at = i * ROW_WORDS + ROW.versionLo;
      const high = rows[at + 1]!;
      if (high < this.#high || (high === this.#high && rows[at]! <= this.#low)) continue;
      if (node.type(i) !== DELETED) this.#note(level, node.key(i));
    }
  }

  /** What is to be replayed. */
  visitJournal(): void {
    const { overlay } = this.#filesystem.replay;
    for (let level = 0; level < BTREE_MAX_DEPTH; level++) {
      if (!isAsked(this.#btree, level)) continue;
      for (const { key } of overlay.keysOf(this.#btree, level))
        if (key.k.bversion_lo > this.#recorded && key.k.type !== DELETED) this.#note(level, key);
    }
  }

  #note(level: number, { k }: Key): void {
    this.#count++;
    this.#first ??= { level, pos: k.p.slice(), version: k.bversion_lo };
  }

  /** @returns undefined where there are none */
  finding(): Finding | undefined {
    if (this.#first === undefined) return undefined;
    const { level, pos, version } = this.#first;
    const others = this.#count === 1 ? '' : `, and ${this.#count - 1} more in this btree`;
    const detail = `version ${version}, expected at most ${this.#recorded}${others}`;
    const where = { btree: btrees.nameOf(this.#btree), level, pos: bposText(pos) };
    return finding('bkey_version_in_future', where, { detail });
  }
}

/** Keys of leaves as they should be: those that had a version ahead of the recorded one have none. */
export function* withoutAheadVersions(filesystem: Filesystem, btree: number, keys: Iterable<Key>): Generator<Key> {
  const { keyVersion } = filesystem.replay.clocks;
  const isBtreeAsked = isAsked(btree, 0);
  for (const key of keys)
    yield isBtreeAsked && key.k.bversion_lo > keyVersion
      ? { ...key, k: { ...key.k, bversion_lo: 0n, bversion_hi: 0 } }
      : key;
}
