// Nonces: the 128 bits that, with the filesystem's key, make every chacha20 stream unique. Word 0 counts 64-byte blocks,
// words 1 to 3 are what RFC 8439 calls the nonce; the top bits of word 3 keep extents, btree nodes and the journal apart.
// Source: struct nonce and the *_nonce functions of checksum.h, btree_io.h and journal_io.c, v1.13.0.

import { assert } from '../ondisk/errors.ts';

/** Four unsigned 32-bit words. */
export type Nonce = readonly [counter: number, word1: number, word2: number, word3: number];

export const CHACHA_BLOCK_BYTES = 64;

const NONCE_EXTENT = 1 << 28;
const NONCE_BTREE = 2 << 28;
const NONCE_JOURNAL = 3 << 28;
const NONCE_POLY = 1 << 31;

const low32 = (value: bigint) => Number(value & 0xffff_ffffn);
const high32 = (value: bigint) => Number((value >> 32n) & 0xffff_ffffn);

/** What the superblock's own checksum is made with. */
export const NULL_NONCE: Nonce = [0, 0, 0, 0];

/**
 * The nonce for what starts `offsetBytes` further into the same stream.
 * @param offsetBytes a multiple of 64
 */
export function nonceAdd(nonce: Nonce, offsetBytes: number): Nonce {
  assert(offsetBytes >= 0 && offsetBytes % CHACHA_BLOCK_BYTES === 0, `offset ${offsetBytes} is not in whole blocks`);
  return [(nonce[0] + offsetBytes / CHACHA_BLOCK_BYTES) >>> 0, nonce[1], nonce[2], nonce[3]];
}

/** The stream whose first block is the one-time Poly1305 key for data under `nonce`. */
export function polyNonce(nonce: Nonce): Nonce {
  return [nonce[0], nonce[1], nonce[2], (nonce[3] ^ NONCE_POLY) >>> 0];
}

/**
 * For a bset.
 * @param bset its `seq` and `journal_seq`
 * @param offsetBytes of the bset's block inside the btree node: 0 for the first
 */
export function btreeNonce(bset: { readonly seq: bigint; readonly journal_seq: number }, offsetBytes: number): Nonce {
  const journalLow32 = bset.journal_seq % 0x1_0000_0000;
  return [offsetBytes >>> 0, low32(bset.seq), high32(bset.seq), (journalLow32 ^ NONCE_BTREE) >>> 0];
}

/** For a journal entry with sequence number `seq`. */
export function journalNonce(seq: number): Nonce {
  return [0, seq % 0x1_0000_0000, Math.floor(seq / 0x1_0000_0000), NONCE_JOURNAL];
}

/** What `extentNonce` needs of an unpacked extent crc. */
export interface ExtentNonceCrc {
  /** The stored compression type; 0 for none and for incompressible data. */
  readonly compressionType: number;
  readonly uncompressedSectors: number;
  /** The crc entry's own nonce: sectors cut off at the start since the data was encrypted. */
  readonly nonceSectors: number;
}

/** BCH_COMPRESSION_TYPE_incompressible: stored as is, so for nonces the same as none. */
const INCOMPRESSIBLE = 5;

/** For an extent's data, from the key's version and the crc entry that covers it. */
export function extentNonce(version: { readonly hi: number; readonly lo: bigint }, crc: ExtentNonceCrc): Nonce {
  const compressionType = crc.compressionType === INCOMPRESSIBLE ? 0 : crc.compressionType;
  // Shifted out of 32 bits from 1024 sectors on, as in the C code.
  const size = compressionType === 0 ? 0 : crc.uncompressedSectors << 22;
  const word3 = (version.hi | (compressionType << 24)) ^ NONCE_EXTENT;
  return nonceAdd([size >>> 0, low32(version.lo), high32(version.lo), word3 >>> 0], crc.nonceSectors * 512);
}

/**
 * For the key in the superblock's crypt section.
 * @param uuid the superblock's internal uuid (`uuid`, not `user_uuid`), 16 bytes, of which the first 8 count
 */
export function sbKeyNonce(uuid: Uint8Array): Nonce {
  assert(uuid.length === 16, `a uuid has 16 bytes, not ${uuid.length}`);
  const view = new DataView(uuid.buffer, uuid.byteOffset, 16);
  return [0, 0, view.getUint32(0, true), view.getUint32(4, true)];
}
