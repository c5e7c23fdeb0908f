// The copies of an extent: each pointer with how the bytes that it points to are stored, and whether bytes are those. Nothing is read here.
// Sources: bkey_for_each_ptr_decode and struct bch_extent_crc_unpacked in extents.h, extent_nonce in checksum.h, v1.13.0.

import { canChecksum, checksum } from '../checksum/checksum.ts';
import { type Csum, csumEquals, csumText, NO_CSUM } from '../checksum/csum.ts';
import { extentNonce } from '../crypto/nonce.ts';
import type { MacKey } from '../crypto/poly1305.ts';
import type { Bkey } from '../ondisk/bkey.ts';
import { checksumTypes, checksumTypeText } from '../ondisk/checksum-types.ts';
import { compressionTypes } from '../ondisk/compression-types.ts';
import { CorruptError, type Location } from '../ondisk/errors.ts';
import type { ExtentCrc, ExtentEntry, ExtentPtr, ExtentStripePtr } from '../ondisk/extent-entries.ts';
import type { FaultName } from '../ondisk/faults.ts';

/** How the bytes are stored that a pointer points to. Sizes in sectors. Mirrors struct bch_extent_crc_unpacked. */
export interface Encoding {
  readonly csumType: number;
  readonly csum: Csum;
  readonly compressionType: number;
  readonly isCompressed: boolean;
  readonly compressedSectors: number;
  readonly uncompressedSectors: number;
  /** Where the live part begins in what was encoded. */
  readonly offsetSectors: number;
  readonly nonceSectors: number;
}

export interface Replica {
  readonly ptr: ExtentPtr;
  readonly encoding: Encoding;
  readonly stripePtr: ExtentStripePtr | undefined;
}

const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');

/** Each pointer with the checksum entry that applies to it. Mirrors bkey_for_each_ptr_decode. */
export function replicasOf(entries: readonly ExtentEntry[], k: Bkey): readonly Replica[] {
  const replicas: Replica[] = [];
  let encoding: Encoding = {
    csumType: 0,
    csum: NO_CSUM,
    compressionType: 0,
    isCompressed: false,
    compressedSectors: k.size,
    uncompressedSectors: k.size,
    offsetSectors: 0,
    nonceSectors: 0,
  };
  let stripePtr: ExtentStripePtr | undefined;
  for (const entry of entries) {
    switch (entry.type) {
      case 'crc32':
      case 'crc64':
      case 'crc128':
        encoding = encodingOf(entry);
        break;
      case 'stripe_ptr':
        stripePtr = entry;
        break;
      case 'ptr':
        replicas.push({ ptr: entry, encoding, stripePtr });
        stripePtr = undefined;
        break;
    }
  }
  return replicas;
}

function encodingOf(crc: ExtentCrc): Encoding {
  return {
    csumType: crc.csum_type,
    csum: { lo: crc.csum_lo, hi: crc.csum_hi },
    compressionType: crc.compression_type,
    isCompressed: crc.compression_type !== 0 && crc.compression_type !== INCOMPRESSIBLE,
    compressedSectors: crc.compressed_size,
    uncompressedSectors: crc.uncompressed_size,
    offsetSectors: crc.offset,
    nonceSectors: crc.nonce,
  };
}

/** Why the sizes contradict each other. Keys with these faults are dropped on reading; who reads without judging meets them here. */
export function liveProblem(
  encoding: Encoding,
  k: Bkey,
): { readonly error: FaultName; readonly detail: string } | undefined {
  const { offsetSectors, uncompressedSectors, compressedSectors, isCompressed, compressionType } = encoding;
  if (compressionTypes.byId(compressionType) === undefined) {
    return { error: 'ptr_crc_compression_type_unknown', detail: `compression type ${compressionType}` };
  }
  if (offsetSectors + k.size > uncompressedSectors) {
    const detail = `${k.size} sectors at offset ${offsetSectors} of ${uncompressedSectors}`;
    return { error: 'ptr_crc_uncompressed_size_too_small', detail };
  }
  if (!isCompressed && compressedSectors !== uncompressedSectors) {
    const detail = `not compressed, but ${compressedSectors} sectors on disk and ${uncompressedSectors} of data`;
    return { error: 'ptr_crc_uncompressed_size_mismatch', detail };
  }
  return undefined;
}

/**
 * What decrypts an encoded extent, and its MAC is made with; undefined for one that is not encrypted.
 * @param key the filesystem's
 * @throws CorruptError data_read_no_encryption_key, ptr_crc_csum_type_unknown
 */
export function macKeyOf(
  encoding: Encoding,
  k: Bkey,
  key: Uint8Array | undefined,
  where: Location,
): MacKey | undefined {
  const { csumType } = encoding;
  if (csumType === 0) return undefined;
  const isEncrypted = checksumTypes.byId(csumType)?.isEncryption ?? false;
  const nonce = isEncrypted
    ? extentNonce(
        { hi: k.bversion_hi, lo: k.bversion_lo },
        {
          compressionType: encoding.compressionType,
          uncompressedSectors: encoding.uncompressedSectors,
          nonceSectors: encoding.nonceSectors,
        },
      )
    : undefined;
  const mac = key === undefined || nonce === undefined ? undefined : { key, nonce };
  if (canChecksum(csumType, mac)) return mac;
  if (isEncrypted) {
    throw new CorruptError('data_read_no_encryption_key', where, 'encrypted data, and the filesystem has no key');
  }
  throw new CorruptError('ptr_crc_csum_type_unknown', where, `checksum type ${checksumTypeText(csumType)}`);
}

/**
 * Compares an encoded extent with its checksum. One without a checksum is always right.
 * @param raw all of it, as it is on disk
 * @returns as macKeyOf
 * @throws CorruptError data_read_csum_err, and as macKeyOf does
 */
export function verifyEncoded(
  raw: Uint8Array,
  encoding: Encoding,
  k: Bkey,
  key: Uint8Array | undefined,
  where: Location,
): MacKey | undefined {
  const { csumType } = encoding;
  const mac = macKeyOf(encoding, k, key, where);
  if (csumType === 0) return undefined;
  const computed = checksum(csumType, raw, mac);
  if (csumEquals(computed, encoding.csum)) return mac;
  const found = csumText(csumType, computed);
  const expected = csumText(csumType, encoding.csum);
  const detail = `${checksumTypeText(csumType)} of ${raw.length} bytes is ${found}, expected ${expected}`;
  throw new CorruptError('data_read_csum_err', where, detail);
}
