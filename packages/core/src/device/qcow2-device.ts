// A qcow2 file as a device, for reading: dumps (ours and the reference's) and images of virtual machines. Versions 2 and 3, with clusters
// compressed by deflate; encryption, backing files, data in other files, extended tables and compression by zstd are refused by
// name. Nothing in the file is believed: tables are read in pieces, of which a few are kept, so that memory does not depend on what
// the header claims, and every place is looked for inside the file.

import { platform } from '#platform';
import { assert, CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import type { IncompatibilityName } from '../ondisk/incompatibilities.ts';
import { viewOf } from '../ondisk/layout.ts';
import { hasSuperblockMagic, SB_SECTOR } from '../ondisk/superblock.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { type BlockDevice, type ByteRange, checkRange, checkWrite, readBytes } from './block-device.ts';
import {
  QCOW2,
  QCOW2_CLUSTER_BITS_MAX,
  QCOW2_CLUSTER_BITS_MIN,
  QCOW2_COMPRESSED,
  QCOW2_ENTRY_BYTES,
  QCOW2_HEADER_V2_BYTES,
  QCOW2_HEADER_V3_BYTES,
  QCOW2_L1_BYTES_MAX,
  QCOW2_MAGIC,
  QCOW2_OFFSET_HIGH,
} from './qcow2.ts';

/** Tables are read in pieces of this size at most, and so many are kept: 2 MiB. */
const TABLE_PIECE_BYTES = 32 * 1024;
const TABLE_PIECES_KEPT = 64;

/** Deflate makes at most this of a byte; what claims more than the whole file could be is a bomb. */
const DEFLATE_RATIO_MAX = 1032;

/** Names are read up to here; QEMU allows 1023. */
const BACKING_NAME_BYTES_MAX = 1023;

/** Incompatible features. With the first two, reference counts or tables may be wrong, which reading does not mind. */
const FEATURES: readonly { readonly name: string; readonly isReadable: boolean }[] = [
  { name: 'dirty', isReadable: true },
  { name: 'corrupt', isReadable: true },
  { name: 'external data file', isReadable: false },
  // Readable when the type is deflate after all, which is looked at by itself.
  { name: 'compression type', isReadable: true },
  { name: 'extended L2 entries', isReadable: false },
];

/** Where a cluster of the disk is. */
type ClusterPlace =
  | { readonly kind: 'zero' }
  | { readonly kind: 'plain'; readonly at: number }
  | { readonly kind: 'compressed'; readonly at: number; readonly lengthBytes: number };

const ZERO: ClusterPlace = { kind: 'zero' };

interface Header {
  readonly version: number;
  readonly clusterBytes: number;
  readonly clusterBits: number;
  readonly sizeBytes: number;
  readonly l1Offset: number;
}

/** Whether the bytes begin as those of a qcow2 file do. */
function hasQcow2Magic(device: BlockDevice): boolean {
  if (device.sizeBytes < QCOW2_HEADER_V2_BYTES) return false;
  return viewOf(readBytes(device, 0, 4)).getUint32(0, false) === QCOW2_MAGIC;
}

/**
 * The device in a qcow2 file, or the device itself when it is none. A member of a filesystem can begin with the four bytes of the magic by
 * accident, since nothing of ours is there: where the bytes as they stand have a superblock at sector 8, and those in the qcow2 file
 * have not, they count as they stand.
 * @throws CorruptError, IncompatibleError as Qcow2Device does
 */
export function throughQcow2(device: BlockDevice): BlockDevice {
  if (!hasQcow2Magic(device)) return device;
  const isMember = hasSuperblock(device);
  try {
    const inside = new Qcow2Device(device);
    return isMember && !hasSuperblock(inside) ? device : inside;
  } catch (thrown) {
    if (isMember && (thrown instanceof CorruptError || thrown instanceof IncompatibleError)) return device;
    throw thrown;
  }
}

function hasSuperblock(device: BlockDevice): boolean {
  const at = SB_SECTOR * SECTOR_BYTES;
  const lengthBytes = 2 * SECTOR_BYTES;
  return device.sizeBytes >= at + lengthBytes && hasSuperblockMagic(viewOf(readBytes(device, at, lengthBytes)), 0);
}

export class Qcow2Device implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly logicalSectorBytes = SECTOR_BYTES;
  readonly physicalSectorBytes = 0;
  readonly rotational: undefined = undefined;
  readonly writable = false;
  readonly clusterBytes: number;
  readonly #file: BlockDevice;
  readonly #header: Header;
  readonly #entriesPerTable: number;
  readonly #pieces = new Map<number, DataView>();
  #inflated: { readonly at: number; readonly bytes: Uint8Array } | undefined;

  /**
   * @param file the qcow2 file; closing this device closes it
   * @throws IncompatibleError for what is not read here, by name
   * @throws CorruptError when the header cannot be right
   */
  constructor(file: BlockDevice) {
    this.#file = file;
    this.name = file.name;
    this.#header = readHeader(file);
    this.sizeBytes = this.#header.sizeBytes;
    this.clusterBytes = this.#header.clusterBytes;
    this.#entriesPerTable = this.clusterBytes / QCOW2_ENTRY_BYTES;
  }

  /** @throws CorruptError where the tables lead out of the file */
  read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    for (let done = 0; done < into.length; ) {
      const cluster = Math.floor((offset + done) / this.clusterBytes);
      const inCluster = offset + done - cluster * this.clusterBytes;
      const length = Math.min(this.clusterBytes - inCluster, into.length - done);
      this.#readFrom(this.#placeOf(cluster), inCluster, into.subarray(done, done + length));
      done += length;
    }
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
  }

  flush(): void {}

  close(): void {
    this.#file.close();
  }

  /**
   * The clusters that the file holds, in order; everything else reads as zeroes. The last one is cut at the end of the disk.
   * @throws CorruptError also when there are more of them than can be in the file: tables that are used twice, or a bomb
   */
  *allocated(): Generator<ByteRange> {
    const { clusterBytes, sizeBytes } = this;
    const tableBytes = this.#entriesPerTable * clusterBytes;
    const fileClusters = Math.ceil(this.#file.sizeBytes / clusterBytes);
    let tables = 0;
    let plain = 0;
    let inflatedBytes = 0;
    for (let l1Index = 0; l1Index * tableBytes < sizeBytes; l1Index++) {
      const table = this.#tableOf(l1Index);
      if (table === undefined) continue;
      if (++tables > fileClusters) throw this.#corrupt('qcow2_shared_tables', 'its tables are used more than once');
      const first = l1Index * this.#entriesPerTable;
      for (let i = 0; i < this.#entriesPerTable && (first + i) * clusterBytes < sizeBytes; i++) {
        const place = this.#entryOf(table, i);
        if (place.kind === 'zero') continue;
        if (place.kind === 'plain') plain++;
        else inflatedBytes += clusterBytes;
        if (plain > fileClusters || inflatedBytes > DEFLATE_RATIO_MAX * this.#file.sizeBytes) {
          throw this.#corrupt('qcow2_shared_clusters', 'its tables name more clusters than it can hold');
        }
        const offset = (first + i) * clusterBytes;
        yield { offset, length: Math.min(clusterBytes, sizeBytes - offset) };
      }
    }
  }

  #readFrom(place: ClusterPlace, inCluster: number, into: Uint8Array): void {
    if (place.kind === 'zero') into.fill(0);
    else if (place.kind === 'compressed') {
      into.set(this.#inflatedAt(place).subarray(inCluster, inCluster + into.length));
    } else {
      // The last cluster may be cut off where it was never written.
      const there = Math.max(0, Math.min(into.length, this.#file.sizeBytes - place.at - inCluster));
      if (there > 0) this.#file.read(place.at + inCluster, into.subarray(0, there));
      into.fill(0, there);
    }
  }

  #inflatedAt({ at, lengthBytes }: ClusterPlace & { readonly kind: 'compressed' }): Uint8Array {
    if (this.#inflated?.at === at) return this.#inflated.bytes;
    const input = readBytes(this.#file, at, Math.min(lengthBytes, this.#file.sizeBytes - at));
    const bytes = platform.inflateRaw(input, this.clusterBytes);
    if (bytes?.length !== this.clusterBytes) {
      throw this.#corrupt('qcow2_bad_compression', `the compressed cluster at byte ${at} cannot be unpacked`);
    }
    this.#inflated = { at, bytes };
    return bytes;
  }

  #placeOf(cluster: number): ClusterPlace {
    const table = this.#tableOf(Math.floor(cluster / this.#entriesPerTable));
    return table === undefined ? ZERO : this.#entryOf(table, cluster % this.#entriesPerTable);
  }

  /** Where an L2 table is. */
  #tableOf(l1Index: number): number | undefined {
    const { view, at } = this.#piece(this.#header.l1Offset, l1Index);
    const offset = clusterOffset(view.getUint32(at, false), view.getUint32(at + 4, false));
    if (offset === 0) return undefined;
    return this.#checked(offset, `L1 entry ${l1Index}`, this.clusterBytes);
  }

  #entryOf(table: number, index: number): ClusterPlace {
    const { view, at } = this.#piece(table, index);
    const high = view.getUint32(at, false);
    const low = view.getUint32(at + 4, false);
    if (high === 0 && low === 0) return ZERO;
    const what = `entry ${index} of the table at byte ${table}`;
    if ((high & QCOW2_COMPRESSED) !== 0) return this.#compressedPlace(high, low, what);
    // Reads as zeroes, whatever cluster is kept for it. Version 2 does not have this.
    if (this.#header.version >= 3 && (low & 1) === 1) return ZERO;
    const offset = clusterOffset(high, low);
    return offset === 0 ? ZERO : { kind: 'plain', at: this.#checked(offset, what, 1) };
  }

  /** The place takes so many low bits as leave room for a count of sectors above it. */
  #compressedPlace(high: number, low: number, what: string): ClusterPlace {
    const offsetBitsHigh = 62 - (this.#header.clusterBits - 8) - 32;
    const at = (high & (2 ** offsetBitsHigh - 1)) * 2 ** 32 + low;
    const moreSectors = (high & 0x3fff_ffff) >>> offsetBitsHigh;
    if (at === 0 || at >= this.#file.sizeBytes) {
      throw this.#corrupt('qcow2_bad_entry', `${what} leads to byte ${at}, the file has ${this.#file.sizeBytes}`);
    }
    return { kind: 'compressed', at, lengthBytes: (moreSectors + 1) * SECTOR_BYTES - (at % SECTOR_BYTES) };
  }

  /** @param lengthBytes how much of it must be in the file */
  #checked(offset: number, what: string, lengthBytes: number): number {
    if (offset % this.clusterBytes !== 0) {
      throw this.#corrupt('qcow2_bad_entry', `${what} leads to byte ${offset}, which is not at the start of a cluster`);
    }
    if (offset + lengthBytes > this.#file.sizeBytes) {
      throw this.#corrupt('qcow2_bad_entry', `${what} leads to byte ${offset}, the file has ${this.#file.sizeBytes}`);
    }
    return offset;
  }

  /** The piece of a table that has an entry, and where in it. */
  #piece(table: number, index: number): { readonly view: DataView; readonly at: number } {
    const pieceBytes = Math.min(TABLE_PIECE_BYTES, this.clusterBytes);
    const inTable = index * QCOW2_ENTRY_BYTES;
    const at = inTable % pieceBytes;
    const start = table + inTable - at;
    let view = this.#pieces.get(start);
    if (view === undefined) {
      // The end of an L1 table need not fill its cluster.
      view = viewOf(readBytes(this.#file, start, Math.min(pieceBytes, this.#file.sizeBytes - start)));
      if (this.#pieces.size >= TABLE_PIECES_KEPT) {
        const [oldest] = this.#pieces.keys();
        assert(oldest !== undefined, 'there is a piece to forget');
        this.#pieces.delete(oldest);
      }
      this.#pieces.set(start, view);
    }
    return { view, at };
  }

  #corrupt(error: FaultName, detail: string): CorruptError {
    return new CorruptError(error, { device: this.name }, `a faulty qcow2 file: ${detail}`);
  }
}

/** A cluster's place in an entry; above 2^53 it is past the end of any file. */
function clusterOffset(high: number, low: number): number {
  return (high & QCOW2_OFFSET_HIGH) * 2 ** 32 + (low & ~(SECTOR_BYTES - 1)) + ((low & 0x8000_0000) === 0 ? 0 : 2 ** 32);
}

function readHeader(file: BlockDevice): Header {
  const where = { device: file.name };
  const corrupt = (error: FaultName, detail: string) =>
    new CorruptError(error, where, `a faulty qcow2 file: ${detail}`);
  const unsupported = (error: IncompatibilityName, detail: string) =>
    new IncompatibleError(error, where, `a qcow2 file ${detail}`);

  if (!hasQcow2Magic(file)) throw corrupt('qcow2_bad_magic', 'it does not begin with QFI');
  const view = viewOf(readBytes(file, 0, Math.min(file.sizeBytes, QCOW2_HEADER_V3_BYTES + 8)));
  const version = view.getUint32(QCOW2.version, false);
  if (version !== 2 && version !== 3) throw unsupported('qcow2_version', `of version ${version}, expected 2 or 3`);

  const clusterBits = view.getUint32(QCOW2.cluster_bits, false);
  if (clusterBits < QCOW2_CLUSTER_BITS_MIN || clusterBits > QCOW2_CLUSTER_BITS_MAX) {
    const expected = `${QCOW2_CLUSTER_BITS_MIN} to ${QCOW2_CLUSTER_BITS_MAX}`;
    throw corrupt('qcow2_cluster_bits', `cluster_bits is ${clusterBits}, expected ${expected}`);
  }
  const cryptMethod = view.getUint32(QCOW2.crypt_method, false);
  if (cryptMethod !== 0) {
    const method = { 1: 'AES', 2: 'LUKS' }[cryptMethod] ?? `method ${cryptMethod}`;
    throw unsupported('qcow2_encryption', `that QEMU encrypted (${method}); decrypt it with qemu-img convert`);
  }
  const backing = view.getBigUint64(QCOW2.backing_file_offset, false);
  if (backing !== 0n) {
    const name = backingName(file, backing, view.getUint32(QCOW2.backing_file_size, false));
    throw unsupported('qcow2_backing_file', `on top of another (${name}); join them with qemu-img convert`);
  }
  if (version === 3) refuseFeatures(file, view, unsupported, corrupt);

  const size = view.getBigUint64(QCOW2.size, false);
  const sizeBytes = Number(size);
  if (!Number.isSafeInteger(sizeBytes)) throw corrupt('qcow2_size', `a disk of ${size} bytes, expected below 2^53`);
  const clusterBytes = 2 ** clusterBits;
  const perTableBytes = (clusterBytes / QCOW2_ENTRY_BYTES) * clusterBytes;
  const l1Entries = view.getUint32(QCOW2.l1_size, false);
  const l1Needed = Math.ceil(sizeBytes / perTableBytes);
  if (l1Entries < l1Needed) throw corrupt('qcow2_l1_size', `an L1 table of ${l1Entries} entries, expected ${l1Needed}`);
  if (l1Needed * QCOW2_ENTRY_BYTES > QCOW2_L1_BYTES_MAX) {
    throw corrupt('qcow2_l1_size', `an L1 table of ${l1Needed} entries, expected at most ${QCOW2_L1_BYTES_MAX / 8}`);
  }
  const l1 = view.getBigUint64(QCOW2.l1_table_offset, false);
  const l1End = l1 + BigInt(l1Needed * QCOW2_ENTRY_BYTES);
  if (l1 % BigInt(clusterBytes) !== 0n || l1End > BigInt(file.sizeBytes)) {
    const detail = `an L1 table at byte ${l1}, the file has ${file.sizeBytes}; expected whole clusters inside of it`;
    throw corrupt('qcow2_l1_offset', detail);
  }
  return { version, clusterBits, clusterBytes, sizeBytes, l1Offset: Number(l1) };
}

type Fault<N, E> = (error: N, detail: string) => E;

/** What version 3 adds. */
function refuseFeatures(
  file: BlockDevice,
  view: DataView,
  unsupported: Fault<IncompatibilityName, IncompatibleError>,
  corrupt: Fault<FaultName, CorruptError>,
): void {
  if (view.byteLength < QCOW2_HEADER_V3_BYTES) throw corrupt('qcow2_header_length', 'it ends inside of its header');
  const headerBytes = view.getUint32(QCOW2.header_length, false);
  if (headerBytes < QCOW2_HEADER_V3_BYTES || headerBytes % 8 !== 0 || headerBytes > file.sizeBytes) {
    throw corrupt('qcow2_header_length', `a header of ${headerBytes} bytes, expected ${QCOW2_HEADER_V3_BYTES} or more`);
  }
  const features = view.getBigUint64(QCOW2.incompatible_features, false);
  for (let bit = 0; bit < 64; bit++) {
    if (((features >> BigInt(bit)) & 1n) === 0n) continue;
    const known = FEATURES[bit];
    if (known?.isReadable) continue;
    throw unsupported('qcow2_feature', `with the feature ${known?.name ?? `number ${bit}`}, which is not read here`);
  }
  const hasType = headerBytes > QCOW2.compression_type && view.byteLength > QCOW2.compression_type;
  const compression = hasType ? view.getUint8(QCOW2.compression_type) : 0;
  if (compression !== 0) {
    const type = compression === 1 ? 'zstd' : `type ${compression}`;
    throw unsupported('qcow2_compression', `compressed by ${type}; only deflate is read here`);
  }
}

function backingName(file: BlockDevice, offset: bigint, length: number): string {
  const at = Number(offset);
  if (length === 0 || length > BACKING_NAME_BYTES_MAX || at + length > file.sizeBytes) return 'no proper name';
  try {
    return new TextDecoder().decode(readBytes(file, at, length));
  } catch (thrown) {
    if (!(thrown instanceof DeviceError)) throw thrown;
    return 'its name cannot be read';
  }
}
