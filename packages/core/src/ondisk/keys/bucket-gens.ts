// Key type bucket_gens: the generations of 256 buckets in a row, so that mounting need not read every alloc key for them. The
// key's position is device:bucket / 256.
// Source: struct bch_bucket_gens in alloc/format.h and alloc/background.c, v1.36.1.

import type { KeyKind } from './kind.ts';

/** KEY_TYPE_BUCKET_GENS_NR: buckets in one key. */
export const BUCKET_GENS_PER_KEY = 256;

export interface BucketGens {
  /** One byte a bucket; BUCKET_GENS_PER_KEY of them in a sound key. */
  readonly gens: Uint8Array;
}

export const bucketGens: KeyKind<BucketGens> = {
  name: 'bucket_gens',
  minBytes: 0, // the reference has no lower limit either: it is validation that asks for exactly 256
  decode: value => ({ gens: value }),
  encode: value => value.gens,
  validate: ({ gens }) =>
    gens.length === BUCKET_GENS_PER_KEY
      ? []
      : [
          {
            error: 'bucket_gens_val_size_bad',
            detail: `${gens.length} generations, expected exactly ${BUCKET_GENS_PER_KEY}`,
          },
        ],
  text: (out, { gens }) => out.print(gens.subarray(0, BUCKET_GENS_PER_KEY).join(' ')),
  json: ({ gens }) => ({ gens: [...gens.subarray(0, BUCKET_GENS_PER_KEY)] }),
};
