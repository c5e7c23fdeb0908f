// Keys put in place as they are, without what follows from them: that is counted anew afterwards.

import type { NodeAllocator } from '../btree/node-store.ts';
import { makeKey, NO_TRIGGERS, type Transaction } from '../btree/transaction.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { Key } from '../ondisk/bkey.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';

const ERROR = keyTypes.idOf('error');
/** Keys that a part holds in memory. */
const KEYS_PER_PART = 20_000;

export interface RawChange {
  readonly btree: number;
  readonly key: Key;
}

/** Says that the data of a key is lost. */
export function errorKey({ k }: Key): Key {
  return makeKey(ERROR, k.p.slice(), new Uint8Array(0), { size: k.size });
}

/** @param allocator gives room that nothing takes */
export function stageRaw(writer: FilesystemWriter, allocator: NodeAllocator, changed: readonly RawChange[]): void {
  for (let at = 0; at < changed.length; at += KEYS_PER_PART) {
    const tx: Transaction = writer.begin(NO_TRIGGERS);
    for (const { btree, key } of changed.slice(at, at + KEYS_PER_PART)) tx.store(btree, key);
    writer.stage({ tx, allocator, superblock: sb => sb });
  }
}
