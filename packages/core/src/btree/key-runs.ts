// The keys of a btree as rows of numbers (ondisk/bkey-format.ts): for who looks at all keys of a large btree and takes few of them apart.
// A run is what one leaf holds, where it lies in memory; where a journal or a transaction lies over a btree, it is a copy of some keys. No object
// is made for a key that is not asked for: such walks take a fifth of the time, and leave nothing to be collected.

import { BKEY_U64S, KEY_FORMAT_CURRENT, type Key } from '../ondisk/bkey.ts';
import { ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { BPOS_WORDS, type Bpos } from '../ondisk/bpos.ts';
import { BtreeView, type WalkOptions } from './iterate.ts';
import { keyOfRow } from './node.ts';
import { littleEndianWords } from './node-words.ts';
import type { KeyReader } from './source.ts';

/** Of a copy. */
const KEYS_MAX = 256;
const VALUE_BYTES_MAX = 8 * (0xff - BKEY_U64S);

export class KeyRun {
  /** What rows count their values in. */
  readonly words: Uint32Array;

  /** @param rows of keys; those from `first` up to `end` count */
  constructor(
    readonly rows: Uint32Array,
    readonly bytes: Uint8Array,
    readonly first: number,
    readonly end: number,
  ) {
    this.words = littleEndianWords(bytes);
  }

  type(index: number): number {
    return (this.rows[index * ROW_WORDS]! >>> 16) & 0xff;
  }

  /** Where its position begins in `rows`. */
  positionAt(index: number): number {
    return index * ROW_WORDS + ROW.position;
  }

  position(index: number): Bpos {
    const at = this.positionAt(index);
    return this.rows.slice(at, at + BPOS_WORDS);
  }

  /** Where its value begins, in bytes. */
  valueAt(index: number): number {
    return this.rows[index * ROW_WORDS + ROW.valueAt]!;
  }

  valueBytes(index: number): number {
    return this.rows[index * ROW_WORDS + ROW.valueBytes]!;
  }

  /** All of it, as a walk over keys has it. */
  key(index: number): Key {
    return keyOfRow(this.rows, index, this.bytes);
  }
}

/**
 * All keys of a btree in order, deleted ones left out.
 * @throws as `keys` of the reader does
 */
export function* keyRuns(reader: KeyReader, options: Pick<WalkOptions, 'onDamage'> = {}): Generator<KeyRun> {
  if (reader instanceof BtreeView && !reader.isOverlaid) {
    for (const { node, first, end } of reader.leafRanges(options)) {
      const { rows, bytes } = node;
      yield new KeyRun(rows, bytes, first, end);
    }
    return;
  }
  let copy = new Copy();
  for (const key of reader.keys(options)) {
    copy.add(key);
    if (copy.count < KEYS_MAX) continue;
    yield copy.run();
    copy = new Copy();
  }
  if (copy.count > 0) yield copy.run();
}

class Copy {
  count = 0;
  readonly #rows = new Uint32Array(KEYS_MAX * ROW_WORDS);
  #bytes = new Uint8Array(64 * KEYS_MAX);
  #length = 0;

  add({ k, value }: Key): void {
    const rows = this.#rows;
    const from = this.count++ * ROW_WORDS;
    rows[from] = (k.type << 16) | (KEY_FORMAT_CURRENT << 8) | k.u64s;
    rows[from + ROW.versionLo] = Number(k.bversion_lo & 0xffff_ffffn);
    rows[from + ROW.versionLo + 1] = Number(k.bversion_lo >> 32n);
    rows[from + ROW.versionHi] = k.bversion_hi;
    rows[from + ROW.size] = k.size;
    rows.set(k.p, from + ROW.position);
    rows[from + ROW.valueAt] = this.#length;
    rows[from + ROW.valueBytes] = value.length;
    if (this.#length + VALUE_BYTES_MAX > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#bytes.length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  run(): KeyRun {
    return new KeyRun(this.#rows, this.#bytes, 0, this.count);
  }
}
