// What a key type is to the rest of core: one file per type beside this one, one row per type in index.ts.

import type { PrintBuffer } from '../../util/print-buffer.ts';
import type { Bkey } from '../bkey.ts';
import type { ExtentTextContext } from '../extent-entries.ts';
import type { KeyTypeName } from './key-types.ts';

/** Something wrong with a key, by the name of its fsck error. */
export interface KeyProblem {
  readonly error: string;
  /** What was found and what was expected. */
  readonly detail: string;
}

/** What a key's text may need beyond its own bytes. */
export interface KeyTextContext extends ExtentTextContext {}

export interface KeyKind<V> {
  readonly name: KeyTypeName;
  /** The shortest value that the type has had, in bytes. */
  readonly minBytes: number;
  /** @param value a multiple of 8 bytes, `minBytes` or more */
  decode(value: Uint8Array): V;
  encode(value: V): Uint8Array;
  /** Judges what can be judged from the key alone; an empty list means that it is sound. */
  validate(value: V, k: Bkey): KeyProblem[];
  text(out: PrintBuffer, value: V, context: KeyTextContext): void;
  json(value: V): unknown;
}
