// Generations of buckets: a pointer that is older than its bucket points to what is no longer there. Read from the alloc btree, a few
// thousand buckets at a time, and only where the answer matters: for cached pointers, and for data without a checksum.
// Source: dev_ptr_stale in buckets.h and bucket_gens in alloc_background.c, v1.13.0.

import type { FilesystemSource } from '../btree/source.ts';
import { bposOffsetNumber, makeBpos } from '../ondisk/bpos.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { alloc, allocV2, allocV3 } from '../ondisk/keys/alloc.ts';
import { allocV4 } from '../ondisk/keys/alloc-v4.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyKind } from '../ondisk/keys/kind.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Damage } from '../report/finding.ts';

/** unknown: a part of the alloc btree that might say it was lost. */
export type PtrAge = 'current' | 'stale' | 'unknown';

/** Buckets that are looked up together. */
const RUN_BUCKETS = 4096;
/** Runs that are kept: 1 MiB. */
const RUNS_MAX = 256;

interface Run {
  readonly gens: Uint8Array;
  /** Some keys were lost: of buckets without a key nothing is known. */
  readonly isDamaged: boolean;
  readonly isKnown: Uint8Array;
}

const kinds = new Map<number, KeyKind<{ readonly gen: number }>>(
  [alloc, allocV2, allocV3, allocV4].map(kind => [keyTypes.idOf(kind.name), kind]),
);

export class BucketGens {
  readonly #source: FilesystemSource;
  readonly #onDamage: ((damage: Damage) => void) | undefined;
  readonly #runs = new Map<string, Run>();
  readonly #members: readonly { readonly bucket_size: number; readonly nbuckets: number }[];

  /** @param onDamage called with parts of the alloc btree that are lost */
  constructor(source: FilesystemSource, onDamage?: (damage: Damage) => void) {
    this.#source = source;
    this.#onDamage = onDamage;
    this.#members = members(source.sb);
  }

  /** Whether what a pointer points to is still there. Mirrors dev_ptr_stale. */
  ageOf(ptr: ExtentPtr): PtrAge {
    const member = this.#members[ptr.dev];
    // Outside of the device: the reference counts it among the stale ones.
    if (member === undefined || member.bucket_size === 0) return 'stale';
    const bucket = Math.floor(ptr.offset / member.bucket_size);
    if (bucket >= member.nbuckets) return 'stale';
    const run = this.#run(ptr.dev, Math.floor(bucket / RUN_BUCKETS));
    const index = bucket % RUN_BUCKETS;
    if (run.isDamaged && run.isKnown[index] === 0) return 'unknown';
    // A signed difference of eight bits. A bucket without a key is of generation 0.
    return ((run.gens[index]! - ptr.gen) << 24) >> 24 > 0 ? 'stale' : 'current';
  }

  #run(device: number, number: number): Run {
    const name = `${device}:${number}`;
    const known = this.#runs.get(name);
    if (known !== undefined) return known;
    if (this.#runs.size >= RUNS_MAX) this.#runs.clear();
    const run = this.#read(device, number * RUN_BUCKETS);
    this.#runs.set(name, run);
    return run;
  }

  #read(device: number, first: number): Run {
    const gens = new Uint8Array(RUN_BUCKETS);
    const isKnown = new Uint8Array(RUN_BUCKETS);
    let isDamaged = false;
    const walk = {
      from: makeBpos(BigInt(device), BigInt(first), 0),
      to: makeBpos(BigInt(device), BigInt(first + RUN_BUCKETS - 1), 0xffff_ffff),
      onDamage: (damage: Damage) => {
        isDamaged = true;
        this.#onDamage?.(damage);
      },
    };
    for (const { k, value } of this.#source.btree('alloc').keys(walk)) {
      const kind = kinds.get(k.type);
      if (kind === undefined || value.length < kind.minBytes) continue;
      const index = bposOffsetNumber(k.p) - first;
      gens[index] = kind.decode(value).gen;
      isKnown[index] = 1;
    }
    return { gens, isDamaged, isKnown };
  }
}
