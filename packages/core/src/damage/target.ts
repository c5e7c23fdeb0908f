// What is to be damaged: the members of a filesystem, open for writing, and what decides where it is hit. Keys are altered below the
// triggers: nothing that should follow from a change follows. Nothing here asks whether the filesystem is sound afterwards.

import type { Transaction } from '../btree/transaction.ts';
import { beginChange } from '../change/change.ts';
import { FilesystemWriter } from '../change/writer.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { readReplayState } from '../journal/replay.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import { UsageError } from '../ondisk/errors.ts';
import { Filesystem } from '../opened/filesystem.ts';
import { type MemberSet, openMembers } from '../superblock/member-set.ts';
import type { RandomSource } from '../util/random.ts';

export interface DamageTargetOptions {
  /** The master key of an encrypted filesystem. */
  readonly key?: Uint8Array | undefined;
  /** What is hit, where a recipe leaves that open; and the numbers of what is written. */
  readonly random: RandomSource;
  /** Seconds since 1970. */
  readonly now: () => bigint;
}

export class DamageTarget {
  readonly #devices: readonly BlockDevice[];
  readonly #options: DamageTargetOptions;

  /** @param devices all members, open for writing */
  constructor(devices: readonly BlockDevice[], options: DamageTargetOptions) {
    this.#devices = devices;
    this.#options = options;
  }

  get key(): Uint8Array | undefined {
    return this.#options.key;
  }

  /** The members as they are now. */
  members(): MemberSet {
    return openMembers(this.#devices);
  }

  /** The filesystem as it is now; values are not judged. */
  filesystem(): Filesystem {
    const set = this.members();
    return new Filesystem(set, readReplayState(set, this.key), this.key, { unvalidated: true });
  }

  /**
   * Alters keys in one commit: what `alter` stores is on disk afterwards, and the nodes with it are where they have to be.
   * @throws as FilesystemWriter and its commits do: nothing has changed then, but for DeviceError
   */
  commit(alter: (tx: Transaction) => void): void {
    const writer = new FilesystemWriter(this.members(), {
      ...this.#options,
      allowDamagedJournal: true,
      unvalidated: true,
    });
    // What contradicts the change is damage that was made before, or is being made.
    const change = beginChange(writer, { onDamage: () => {}, usesReserve: true });
    alter(change.tx);
    change.commit({ checkRoots: () => {} });
  }

  /**
   * Changes keys in one commit with all that follows from it.
   * @throws as FilesystemWriter and its commits do: nothing has changed then, but for DeviceError
   */
  edit(alter: (tx: Transaction) => void): void {
    const change = beginChange(new FilesystemWriter(this.members(), this.#options));
    alter(change.tx);
    change.commit();
  }

  /** A whole number from 0 to below `end`, which is at most 2^32. */
  below(end: number): number {
    const bytes = this.#options.random.bytes(8);
    const high = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const low = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
    // 53 bits: what is too often is so by less than one in a million.
    return Math.floor(((high >>> 11) * 2 ** 32 + low) / (2 ** 53 / end));
  }

  bytes(length: number): Uint8Array {
    return this.#options.random.bytes(length);
  }

  /** One of several. @throws UsageError when there is none: `what` says of what */
  pick<T>(from: Iterable<T>, what: string): T {
    let chosen: T | undefined;
    let count = 0;
    for (const one of from) if (this.below(++count) === 0) chosen = one;
    if (chosen === undefined) throw new UsageError(`there is no ${what} to damage`, undefined, 'nothing_to_damage');
    return chosen;
  }

  /** Some key of a btree. @throws UsageError when there is none */
  pickKey(btree: BtreeName | number, what: string, isWanted: (key: Key) => boolean = () => true): Key {
    return this.pick(readableKeys(this.filesystem(), btree, isWanted), what);
  }
}

/** Keys of a btree as far as it can be read: it may be damaged already. */
export function* readableKeys(
  filesystem: Filesystem,
  btree: BtreeName | number,
  isWanted: (key: Key) => boolean = () => true,
): Generator<Key> {
  for (const key of filesystem.btree(btree).keys({ onDamage: () => {} })) if (isWanted(key)) yield key;
}
