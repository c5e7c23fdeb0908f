// Whether copies of data are what was written: each is read whole and compared with its checksum, before another copy of it is dropped or
// made from it. What has no checksum can only be readable or, where it is compressed, something that can be decompressed.

import type { FilesystemSource } from '../btree/source.ts';
import { decompress } from '../compress/decompress.ts';
import type { Bkey } from '../ondisk/bkey.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { type Encoding, type Replica, verifyEncoded } from './replicas.ts';

/** So many verdicts are remembered: keys that share encoded sectors come one after the other. */
const KNOWN_MAX = 4096;

export class CopyJudge {
  readonly #source: FilesystemSource;
  /** By where the copies are and what they have to be. */
  readonly #known = new Map<string, boolean>();

  constructor(source: FilesystemSource) {
    this.#source = source;
  }

  /** @param k the key's, whose version is a part of what is encrypted */
  isGood(k: Bkey, { ptr, encoding }: Replica): boolean {
    if (ptr.unwritten) return true;
    const place = encodedName(ptr, encoding);
    const known = this.#known.get(place);
    if (known !== undefined) return known;
    const isGood = this.read(k, { ptr, encoding }) !== undefined;
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(place, isGood);
    return isGood;
  }

  /** The encoded bytes of a copy; undefined when they cannot be read or are not what was written. */
  read(k: Bkey, { ptr, encoding }: Pick<Replica, 'ptr' | 'encoding'>): Uint8Array | undefined {
    const device = this.#source.device(ptr.dev);
    if (device === undefined) return undefined;
    const bytes = new Uint8Array(sectorsToBytes(encoding.compressedSectors));
    try {
      device.read(sectorsToBytes(ptr.offset), bytes);
      verifyEncoded(bytes, encoding, k, this.#source.key, {});
      const { csumType, isCompressed, compressionType, uncompressedSectors } = encoding;
      // The checksum says the same in a fraction of the time.
      if (csumType === 0 && isCompressed) decompress(compressionType, bytes, uncompressedSectors * SECTOR_BYTES);
      return bytes;
    } catch (thrown) {
      if (thrown instanceof DeviceError || thrown instanceof CorruptError || thrown instanceof IncompatibleError)
        return undefined;
      throw thrown;
    }
  }
}

/** The same for two copies that are one on disk: parts of the same encoded extent. */
export const encodedName = (ptr: Replica['ptr'], { csum, compressedSectors }: Encoding): string =>
  `${ptr.dev}:${ptr.offset}:${compressedSectors}:${csum.lo}:${csum.hi}`;
