// What can be wrong with file data, as values: who restores a file gives its verdict from these.

import type { Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import type { Detail } from '../report/facts.ts';
import type { Damage, Finding } from '../report/finding.ts';

/** What reading data can fail with. */
export type DataError = Damage;

/** A copy that could not be used, where there may be others. */
export interface ReplicaFailure {
  /** Why, and where: `where` of a CorruptError names key, device and sector. */
  readonly error: DataError;
  /** The index of the member that it is on. */
  readonly device: number;
}

/**
 * healed    a copy failed, another one gave the right bytes
 * suspect   bytes that failed their checksum or whose extent is marked as damaged were given, because they were asked for
 * lost      no copy gives the bytes
 * metadata  keys of the file were lost: what was given for the range may be older than the file, or not its own
 */
export type FindingKind = 'healed' | 'suspect' | 'lost' | 'metadata';

/** Something wrong with a range of a file: what a copy or a key failed with, as a finding, and what it means for the bytes. */
export class FileFinding implements Finding {
  constructor(
    readonly kind: FindingKind,
    /** What reading failed with. */
    readonly damage: DataError,
    /** Bytes from the start of the file. */
    readonly offset: number,
    /** Bytes. */
    readonly length: number,
  ) {}

  get error(): FaultName {
    return this.damage.error;
  }

  get where(): Location {
    return this.damage.where;
  }

  get detail(): string {
    return this.damage.detail;
  }

  get facts(): Detail & { readonly kind: FindingKind; readonly offset: number; readonly length: number } {
    const { detail, kind, offset, length } = this;
    return { detail, kind, offset, length };
  }

  text(): string {
    return `bytes ${this.offset} to ${this.offset + this.length}: ${this.kind}: ${this.damage.text()}`;
  }
}
