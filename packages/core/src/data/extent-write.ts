// From bytes to extents: what DataReader undoes. A run of a file is split into pieces of up to encoded_extent_max, each of which is
// compressed, encrypted and checksummed as the options say, gets its room on as many devices as there shall be copies, and becomes a
// key. Bytes go to the devices at once, gathered to longer writes: room for new data is never in use before the commit, so
// what is written counts for nothing until the keys do.
//
// Memory is bounded by one piece and one gathered write for each device.
// Source: bch2_write_extent and init_append_extent in io_write.c, bch2_extent_crc_append and bch2_bkey_set_needs_rebalance in extents.c,
// v1.13.0.

import { type AllocDevice, allowsData, isInTarget } from '../alloc/alloc-devices.ts';
import type { DataPiece, DataPlacement } from '../alloc/allocator.ts';
import { makeKey } from '../btree/transaction.ts';
import { checksum } from '../checksum/checksum.ts';
import { compress } from '../compress/compress.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { extentNonce } from '../crypto/nonce.ts';
import type { BlockDevice } from '../device/block-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { compressionTypeOf, compressionTypes } from '../ondisk/compression-types.ts';
import { assert, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import {
  type ExtentPtr,
  encodeExtentEntries,
  narrowestCrc,
  rebalanceEntry,
  type WritableExtentEntry,
} from '../ondisk/extent-entries.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import type { IoOptions } from './io-options.ts';
import type { KeyVersions } from './key-versions.ts';

const EXTENT = keyTypes.idOf('extent');
const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');

/** Without checksum and compression a piece may be longer; a key's size is a u32, what a bucket holds is the limit in practice. */
const PLAIN_SECTORS_MAX = 2048;
/** Bytes that are gathered for one write. */
const GATHERED_BYTES = 2 ** 20;

/** Where the room for data comes from; BucketAllocator is one. */
export interface DataAllocator {
  allocateData(placement: DataPlacement): readonly DataPiece[];
}

export interface ExtentWriterSource {
  readonly sb: Superblock;
  readonly key: Uint8Array | undefined;
  device(index: number): BlockDevice | undefined;
}

/** Data that lies on a device already. */
export interface AdoptedRun {
  readonly dev: number;
  /** On the device, not in its superblock's or journal's buckets. */
  readonly sector: number;
  readonly sectors: number;
  /** Of the buckets that it lies in. */
  readonly gen: number;
}

export interface ExtentWriterOptions {
  /** For what is encrypted: the filesystem's, shared by all that is written while it is open. */
  readonly versions: KeyVersions;
  /** By index; for which targets there are and what lies in them. */
  readonly devices: readonly (AllocDevice | undefined)[];
}

export class ExtentWriter {
  readonly #source: ExtentWriterSource;
  readonly #allocator: DataAllocator;
  readonly #devices: readonly (AllocDevice | undefined)[];
  readonly #blockBytes: number;
  readonly #encodedSectorsMax: number;
  readonly #bucketSectorsMin: number;
  readonly #gathered = new Map<number, GatheredWrite>();
  #scratch = new Uint8Array(0);
  readonly #versions: KeyVersions;
  #sectorsWritten = 0;
  readonly #compressionTypes = new Set<number>();

  constructor(source: ExtentWriterSource, allocator: DataAllocator, { versions, devices }: ExtentWriterOptions) {
    this.#source = source;
    this.#allocator = allocator;
    this.#devices = devices;
    this.#versions = versions;
    this.#blockBytes = source.sb.block_size * SECTOR_BYTES;
    const encodedBytesMax = Number(
      optionFromSuperblock(option('encoded_extent_max'), source.sb, 0n, rulesOf(source.sb).release),
    );
    this.#encodedSectorsMax = encodedBytesMax / SECTOR_BYTES;
    this.#bucketSectorsMin = Math.min(...devices.map(device => device?.bucketSizeSectors ?? Number.POSITIVE_INFINITY));
  }

  /** Sectors that were written, all copies: what the filesystem's write clock goes on by. */
  get sectorsWritten(): number {
    return this.#sectorsWritten;
  }

  /** Compression types (numbers) that extents have got: their features have to be in the superblock. */
  get compressionTypes(): ReadonlySet<number> {
    return this.#compressionTypes;
  }

  /**
   * Writes a run of a file. What the keys overlap is not looked at: they are to be put in place with insertExtent.
   * @param pos the inode and the snapshot; its offset does not matter
   * @param startSector where the run begins in the file, at a block
   * @param bytes whole blocks
   * @throws NoSpaceError, DeviceError
   */
  *write(pos: Bpos, startSector: number, bytes: Uint8Array, options: IoOptions): Generator<Key> {
    const { csumType, compression, replicas, foregroundTarget } = options;
    const blockBytes = this.#blockBytes;
    assert(bytes.length % blockBytes === 0, `${bytes.length} bytes are whole blocks`);
    const isEncoded = csumType !== 0 || compression !== 0;
    const sectorsMax = isEncoded ? this.#encodedSectorsMax : PLAIN_SECTORS_MAX;
    // What is compressed has to stay in one piece, and no piece crosses the end of a bucket.
    const pieceBytesMax =
      (compression === 0 ? sectorsMax : Math.min(sectorsMax, this.#bucketSectorsMin)) * SECTOR_BYTES;
    for (let done = 0; done < bytes.length; ) {
      const piece = bytes.subarray(done, Math.min(bytes.length, done + pieceBytesMax));
      const start = startSector + done / SECTOR_BYTES;
      const { type, bytes: stored } = compress(compression, piece, blockBytes);
      const isCompressed = type !== 0 && type !== INCOMPRESSIBLE;
      const sectors = stored.length / SECTOR_BYTES;
      const placement = { replicas, target: foregroundTarget, sectors, isWhole: isCompressed };
      const rooms = this.#allocator.allocateData(placement);
      if (isCompressed) {
        const [room, ...others] = rooms;
        assert(room !== undefined && others.length === 0, 'room for what is whole is in one piece');
        const { pointers } = room;
        yield this.#extent(pos, { start, lengthBytes: piece.length, stored, type, pointers }, options);
      } else {
        let from = 0;
        for (const room of rooms) {
          const part = stored.subarray(from, from + room.sectors * SECTOR_BYTES);
          const placed = {
            start: start + from / SECTOR_BYTES,
            lengthBytes: part.length,
            stored: part,
            type,
            pointers: room.pointers,
          };
          yield this.#extent(pos, placed, options);
          from += part.length;
        }
      }
      done += piece.length;
    }
  }

  /**
   * Keys for bytes that lie on a device already and stay there: nothing is written. Pieces end where buckets do, and where a checksum would be
   * over more than an extent may have.
   * @param pos, startSector as `write` takes them
   * @param gen what the buckets have; whole blocks
   * @throws DeviceError when they cannot be read for their checksums
   */
  *adopt(
    pos: Bpos,
    startSector: number,
    { dev, sector, sectors, gen }: AdoptedRun,
    { csumType }: Pick<IoOptions, 'csumType'>,
  ): Generator<Key> {
    const bucketSectors = this.#devices[dev]?.bucketSizeSectors;
    const device = this.#source.device(dev);
    if (bucketSectors === undefined || device === undefined)
      throw new DeviceError('missing', `member ${dev}`, 'data on it was to be adopted');
    assert(checksumTypes.byId(csumType)?.isEncryption !== true, 'what lies there already is not encrypted');
    const sectorsMax = csumType === 0 ? bucketSectors : Math.min(bucketSectors, this.#encodedSectorsMax);
    for (let done = 0; done < sectors; ) {
      const at = sector + done;
      const size = Math.min(sectors - done, sectorsMax, bucketSectors - (at % bucketSectors));
      const entries: WritableExtentEntry[] = [];
      if (csumType !== 0) {
        if (this.#scratch.length < size * SECTOR_BYTES) this.#scratch = new Uint8Array(size * SECTOR_BYTES);
        const bytes = this.#scratch.subarray(0, size * SECTOR_BYTES);
        device.read(at * SECTOR_BYTES, bytes);
        const { lo, hi } = checksum(csumType, bytes);
        entries.push(
          narrowestCrc({
            compressed_size: size,
            uncompressed_size: size,
            offset: 0,
            nonce: 0,
            csum_type: csumType,
            compression_type: 0,
            csum_lo: lo,
            csum_hi: hi,
          }),
        );
      }
      entries.push({ type: 'ptr', cached: false, unwritten: false, offset: at, dev, gen });
      const end = startSector + done + size;
      const p = Uint32Array.of(pos[0]!, end >>> 0, Math.floor(end / 2 ** 32), pos[3]!, pos[4]!);
      yield makeKey(EXTENT, p, encodeExtentEntries(entries), { size });
      done += size;
    }
  }

  /** Everything that was written is on the devices, though they may not have flushed it. */
  flush(): void {
    for (const gathered of this.#gathered.values()) gathered.flush();
  }

  #extent(
    pos: Bpos,
    { start, lengthBytes, stored, type: compressionType, pointers }: PlacedPiece,
    options: IoOptions,
  ): Key {
    const { csumType } = options;
    const size = lengthBytes / SECTOR_BYTES;
    let version = 0n;
    let mac: { readonly key: Uint8Array; readonly nonce: ReturnType<typeof extentNonce> } | undefined;
    let bytes = stored;
    if (checksumTypes.byId(csumType)?.isEncryption) {
      const { key } = this.#source;
      if (key === undefined)
        throw new IncompatibleError('no_encryption_key', {}, 'data cannot be written without the key');
      version = this.#versions.next();
      const crc = { compressionType, uncompressedSectors: size, nonceSectors: 0 };
      mac = { key, nonce: extentNonce({ hi: 0, lo: version }, crc) };
      if (this.#scratch.length < stored.length) this.#scratch = new Uint8Array(stored.length);
      bytes = this.#scratch.subarray(0, stored.length);
      bytes.set(stored);
      chacha20(mac.key, mac.nonce, bytes);
    }
    const entries: WritableExtentEntry[] = [];
    if (csumType !== 0 || compressionType !== 0) {
      this.#compressionTypes.add(compressionType);
      const csum = checksum(csumType, bytes, mac);
      entries.push(
        narrowestCrc({
          compressed_size: stored.length / SECTOR_BYTES,
          uncompressed_size: size,
          offset: 0,
          nonce: 0,
          csum_type: csumType,
          compression_type: compressionType,
          csum_lo: csum.lo,
          csum_hi: csum.hi,
        }),
      );
    }
    for (const pointer of pointers) {
      entries.push(pointer);
      this.#put(pointer, bytes);
    }
    const rebalance = this.#rebalanceEntry(options, compressionType, pointers);
    if (rebalance !== undefined) entries.push(rebalance);
    const end = start + size;
    const p = Uint32Array.of(pos[0]!, end >>> 0, Math.floor(end / 2 ** 32), pos[3]!, pos[4]!);
    return makeKey(EXTENT, p, encodeExtentEntries(entries), { size, bversion_lo: version });
  }

  #put({ dev, offset }: ExtentPtr, bytes: Uint8Array): void {
    let gathered = this.#gathered.get(dev);
    if (gathered === undefined) {
      const device = this.#source.device(dev);
      if (device === undefined) throw new DeviceError('missing', `member ${dev}`, 'data was to be written to it');
      gathered = new GatheredWrite(device);
      this.#gathered.set(dev, gathered);
    }
    gathered.put(offset * SECTOR_BYTES, bytes);
    this.#sectorsWritten += bytes.length / SECTOR_BYTES;
  }

  /** What a kernel is to do with the extent later: compress it otherwise, or move it. */
  #rebalanceEntry(
    options: IoOptions,
    compressionType: number,
    pointers: readonly ExtentPtr[],
  ): WritableExtentEntry | undefined {
    const { backgroundCompression, backgroundTarget } = options;
    if (backgroundCompression === 0 && backgroundTarget === 0) return undefined;
    const isOther =
      backgroundCompression !== 0 &&
      compressionType !== INCOMPRESSIBLE &&
      compressionType !== compressionTypeOf(backgroundCompression);
    const isElsewhere =
      this.#accepts(backgroundTarget) &&
      pointers.some(({ dev }) => {
        const device = this.#devices[dev];
        return device !== undefined && !isInTarget(device, backgroundTarget);
      });
    if (!isOther && !isElsewhere) return undefined;
    return rebalanceEntry({ compression: backgroundCompression, target: backgroundTarget });
  }

  /** As a kernel, to which a member that is missing is none that can be written to. Mirrors bch2_target_accepts_data. */
  #accepts(target: number): boolean {
    if (target === 0) return false;
    return this.#devices.some(
      device =>
        device?.isWritable === true &&
        this.#source.device(device.index) !== undefined &&
        allowsData(device, 'user') &&
        isInTarget(device, target),
    );
  }
}

/** What becomes one extent. */
interface PlacedPiece {
  /** Where in the file it begins, in sectors. */
  readonly start: number;
  /** Of the file's bytes. */
  readonly lengthBytes: number;
  /** What becomes of them, compressed or not. */
  readonly stored: Uint8Array;
  /** Of compressionTypes. */
  readonly type: number;
  readonly pointers: readonly ExtentPtr[];
}

/** Writes that follow each other on one device become one. */
export class GatheredWrite {
  readonly #device: BlockDevice;
  readonly #bytes = new Uint8Array(GATHERED_BYTES);
  #at = 0;
  #used = 0;

  constructor(device: BlockDevice) {
    this.#device = device;
  }

  put(at: number, bytes: Uint8Array): void {
    if (this.#at + this.#used !== at || this.#used + bytes.length > GATHERED_BYTES) this.flush();
    if (bytes.length > GATHERED_BYTES / 2) {
      this.#device.write(at, bytes);
      return;
    }
    if (this.#used === 0) this.#at = at;
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  flush(): void {
    if (this.#used === 0) return;
    this.#device.write(this.#at, this.#bytes.subarray(0, this.#used));
    this.#used = 0;
  }
}
