// What is not among the keys that were read, since it cannot be read as a key, or cannot be where it is: of a damaged node, and of the journal.

import type { Key } from './bkey.ts';

export type LeftOut = {
  /** The error, and what was found. */
  readonly reason: string;
} & (
  | { readonly key: Key }
  /** Its header makes no sense, so that it is not known what it was. */
  | { readonly bytes: Uint8Array }
);
