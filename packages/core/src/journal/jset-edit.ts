// Changes journal entries in the bytes of a journal bucket, for dumps: each sound entry is decrypted, handed over, encrypted again under
// the same nonce and sealed; entries keep their sizes. Everything else in the bucket becomes zeroes: entries that a crash tore, and
// what was left from earlier uses and does not begin at a block.
// Source: journal_read_bucket in journal_io.c, v1.13.0.

import { canChecksum, sealVstruct, verifyVstruct } from '../checksum/checksum.ts';
import { journalNonce } from '../crypto/nonce.ts';
import { JSET, Jset, jsetBytes } from '../ondisk/jset.ts';
import { decodeJsetEntries, type JsetEntry } from '../ondisk/jset-entries.ts';
import { viewOf } from '../ondisk/layout.ts';
import { roundUp, SECTOR_BYTES } from '../util/sizes.ts';
import { decryptJset } from './scan.ts';

export interface JournalEditContext {
  /** See jsetMagic. */
  readonly magic: bigint;
  readonly blockSectors: number;
  /** The master key of an encrypted filesystem. */
  readonly key: Uint8Array | undefined;
  /** What entries are encrypted with afterwards, where that is another key. */
  readonly newKey?: Uint8Array | undefined;
}

/** Changes payloads of sub-entries where they are, at the same lengths. */
export type JsetEdit = (entries: readonly JsetEntry[], seq: number) => void;

export interface JournalBucketEdit {
  readonly entries: number;
  /** How many entries begin here that are damaged, and are zeroes now. */
  readonly damaged: number;
}

/** Changes all entries of a bucket in its bytes. */
export function editJournalBucket(bytes: Uint8Array, context: JournalEditContext, edit: JsetEdit): JournalBucketEdit {
  const blockBytes = context.blockSectors * SECTOR_BYTES;
  const view = viewOf(bytes);
  let entries = 0;
  let damaged = 0;
  for (let at = 0; at < bytes.length; ) {
    const isStart = at + Jset.size <= bytes.length && view.getBigUint64(at + Jset.offset.magic, true) === context.magic;
    const length = isStart ? editJset(bytes.subarray(at), context, edit) : undefined;
    if (length === undefined) {
      if (isStart) damaged++;
      bytes.fill(0, at, at + blockBytes);
      at += blockBytes;
      continue;
    }
    entries++;
    const end = roundUp(at + length, blockBytes);
    bytes.fill(0, at + length, end);
    at = end;
  }
  return { entries, damaged };
}

/** @returns the entry's length in bytes; undefined when it is not sound */
function editJset(bytes: Uint8Array, { key, newKey = key }: JournalEditContext, edit: JsetEdit): number | undefined {
  const view = viewOf(bytes);
  const length = jsetBytes({ u64s: view.getUint32(Jset.offset.u64s, true) });
  const isCountable = view.getUint32(Jset.offset.seq + 4, true) < 0x20_0000; // below 2^53
  const flags = view.getUint32(Jset.offset.flags, true);
  if (length > bytes.length || !isCountable || JSET.isBigEndian(flags)) return undefined;
  const seq = Jset.fields.seq.codec.get(view, Jset.offset.seq);
  const csumType = JSET.csumType(flags);
  const mac = key === undefined ? undefined : { key, nonce: journalNonce(seq) };
  const jset = bytes.subarray(0, length);
  if (!canChecksum(csumType, mac) || !verifyVstruct(csumType, jset, mac).good) return undefined;
  decryptJset(jset, key);
  const { entries, damage } = decodeJsetEntries(jset.subarray(Jset.size));
  if (damage !== undefined) return undefined;
  edit(entries, seq);
  decryptJset(jset, newKey); // the same operation
  sealVstruct(csumType, jset, newKey === undefined ? undefined : { key: newKey, nonce: journalNonce(seq) });
  return length;
}
