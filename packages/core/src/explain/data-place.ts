// What of a file's data a byte is: which copy of which extent, whether that copy is whole, and the files that show it.

import type { PointerParts } from '../check/pointers.ts';
import type { DataReader } from '../data/extent-read.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { compressionTypes } from '../ondisk/compression-types.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { encodeExtentEntries, type WritableExtentEntry } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import type { DataPlace, FileReferences } from './explanation.ts';
import type { FileFinder } from './files-of.ts';
import type { Owner } from './pointers.ts';

const EXTENT = keyTypes.idOf('extent');
const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');

/** Whether the bytes on disk are other than those of the file. */
export function isCompressed({ crc }: PointerParts): boolean {
  return crc !== undefined && crc.compression_type !== 0 && crc.compression_type !== INCOMPRESSIBLE;
}

/** @param isStale whether the bucket's generation is newer than the pointer's */
export function dataPlaceAt(
  owner: Owner,
  deviceOffset: number,
  isStale: boolean,
  reader: DataReader,
  files: FileFinder,
): DataPlace {
  const { key, pointer, replica } = owner;
  const { ptr, crc, stripe } = pointer;
  const btree = btrees.nameOf(owner.btree) === 'reflink' ? 'reflink' : 'extents';
  // Bytes from the start of the key; outside of it in a part of the encoded extent that the key does not show.
  const byte = deviceOffset - sectorsToBytes(ptr.offset) - sectorsToBytes(crc?.offset ?? 0);
  const isLive = byte >= 0 && byte < sectorsToBytes(key.k.size);
  const part = ptr.unwritten ? 'unwritten' : isCompressed(pointer) ? 'compressed' : isLive ? 'live' : 'hidden';
  const wanted = { byte: part === 'live' || (part === 'unwritten' && isLive) ? byte : undefined };
  return {
    kind: 'data',
    btree,
    key,
    replica,
    ptr,
    crc,
    stripe,
    isStale,
    part,
    ...verdictOf(key, pointer, reader),
    files: filesOf(files, btree, key, wanted),
  };
}

const filesOf = (
  files: FileFinder,
  btree: 'extents' | 'reflink',
  key: Key,
  wanted: { readonly byte: number | undefined },
): FileReferences => (btree === 'reflink' ? files.ofIndirect(key, wanted) : files.ofExtent(key, wanted));

/** Whether this copy matches its checksum: it is read as an extent that has no other. */
function verdictOf(
  { k }: Key,
  { ptr, crc }: PointerParts,
  reader: DataReader,
): Pick<DataPlace, 'checksum' | 'problem'> {
  if (ptr.unwritten || crc === undefined || crc.csum_type === 0) return { checksum: 'none', problem: undefined };
  // Cached copies of buckets that were used again would not be looked at.
  const entries: readonly WritableExtentEntry[] = [crc, { ...ptr, cached: false }];
  const alone = { k: { ...k, type: EXTENT }, value: encodeExtentEntries(entries) };
  try {
    reader.read(alone, 0, new Uint8Array(Math.min(SECTOR_BYTES, sectorsToBytes(k.size))));
    return { checksum: 'good', problem: undefined };
  } catch (thrown) {
    if (thrown instanceof CorruptError) {
      const isChecksum = thrown.error === 'data_read_csum_err';
      return { checksum: isChecksum ? 'bad' : 'unknown', problem: thrown.detail };
    }
    if (thrown instanceof DeviceError) return { checksum: 'unknown', problem: thrown.detail };
    throw thrown;
  }
}
