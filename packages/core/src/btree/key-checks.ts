// What every key in a btree node has to meet, whatever its value says: its type is one that the btree takes, its size and snapshot fit
// the btree. Looks at rows, not at objects: it runs for every key that is read.
// `bkeyProblems` says the same of one key at leisure; a test holds the two against each other.
// Source: __bch2_bkey_validate in btree/bkey_methods.c, v1.36.1.

import { ROW } from '../ondisk/bkey-format.ts';
import { isTypeAllowed } from '../ondisk/bkey-validate.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyProblem } from '../ondisk/keys/kind.ts';

const MAX = 0xffff_ffff;
const WHITEOUTS = new Set((['deleted', 'whiteout', 'extent_whiteout'] as const).map(name => keyTypes.idOf(name)));

/** bkey_extent_whiteout: hides what is below, and has no size. */
const isExtentWhiteout = (type: number): boolean => WHITEOUTS.has(type);

/** The checks of one btree at one level. */
export class KeyChecks {
  readonly #known: boolean;
  readonly #isExtents: boolean;
  readonly #snapshot: 'needed' | 'any' | 'zero';
  readonly #isLeaf: boolean;
  /** By type: 1 for types that are not allowed. */
  readonly #refused = new Uint8Array(256);

  constructor(
    readonly btree: number,
    level: number,
  ) {
    const row = btrees.byId(btree);
    const flags: readonly string[] = row?.flags ?? [];
    this.#isLeaf = level === 0;
    this.#known = row !== undefined || level > 0;
    this.#isExtents = level === 0 && flags.includes('extents');
    this.#snapshot = flags.includes('snapshots') ? 'needed' : flags.includes('snapshot_field') ? 'any' : 'zero';
    for (const { id } of keyTypes.rows) if (!isTypeAllowed(id, { btree, level })) this.#refused[id] = 1;
  }

  /** The first thing that is wrong with the key whose row starts at word `row`. */
  problem(rows: Uint32Array, row: number): KeyProblem | undefined {
    if (!this.#known) return undefined;
    const type = (rows[row]! >>> 16) & 0xff;
    if (this.#refused[type] !== 0) return this.#wrongType(type);
    const size = rows[row + ROW.size]!;
    const position = row + ROW.position;
    if (this.#isExtents && !isExtentWhiteout(type)) {
      if (size === 0) return { error: 'bkey_extent_size_zero', detail: 'an extent of size 0' };
      if (size > rows[position + 1]! && rows[position + 2] === 0) {
        return {
          error: 'bkey_extent_size_greater_than_offset',
          detail: `size ${size}, but it ends at ${rows[position + 1]}`,
        };
      }
    } else if (size !== 0) {
      return { error: 'bkey_size_nonzero', detail: `size ${size}, expected 0` };
    }
    return this.#isLeaf ? this.#leafProblem(rows, position) : undefined;
  }

  #leafProblem(rows: Uint32Array, position: number): KeyProblem | undefined {
    const snapshot = rows[position]!;
    if (this.#snapshot === 'needed') {
      if (snapshot === 0) return { error: 'bkey_snapshot_zero', detail: 'snapshot 0' };
    } else if (snapshot !== 0 && this.#snapshot === 'zero') {
      return { error: 'bkey_snapshot_nonzero', detail: `snapshot ${snapshot}, expected 0` };
    }
    const isAtMax =
      rows[position + 1] === MAX &&
      rows[position + 2] === MAX &&
      rows[position + 3] === MAX &&
      rows[position + 4] === MAX;
    return isAtMax ? { error: 'bkey_at_pos_max', detail: 'a key at POS_MAX' } : undefined;
  }

  #wrongType(type: number): KeyProblem {
    const where = this.#isLeaf ? btrees.nameOf(this.btree) : 'an interior node';
    return { error: 'bkey_invalid_type_for_btree', detail: `a key of type ${keyTypes.nameOf(type)} in ${where}` };
  }
}
