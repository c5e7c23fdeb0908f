// Decompression against filesystems that others wrote: every compressed extent of the reference images is verified, decrypted and
// decompressed, and files are put together from them and compared with what the kernel read. Where the extents are comes from the
// reference's own listing, so that nothing above this room is needed except the superblock. The images are not part of the
// project; without them these tests are skipped.

import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Fixture, fixture, whyNoFixtures } from '../../../../test/support/fixtures.ts';
import { patient } from '../../../../test/support/patience.ts';
import { checksum } from '../checksum/checksum.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { extentNonce } from '../crypto/nonce.ts';
import { readBytes } from '../device/block-device.ts';
import { openDevice } from '../device/file-device.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { compressionTypes } from '../ondisk/compression-types.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import { masterKey } from '../superblock/passphrase.ts';
import { readSuperblock } from '../superblock/read.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { decompress, loadCompression } from './decompress.ts';

const why = whyNoFixtures === undefined ? '' : ` (skipped: ${whyNoFixtures})`;

/** An extent as the reference prints it; sizes in sectors. */
interface ListedExtent {
  readonly inode: string;
  readonly start: number;
  readonly length: number;
  readonly version: bigint;
  readonly compressed: number;
  readonly uncompressed: number;
  /** Where in the uncompressed data this key's part begins. */
  readonly offset: number;
  readonly nonce: number;
  readonly csumType: number;
  readonly csum: string;
  readonly compressionType: number;
  readonly dev: number;
  readonly bucket: number;
  readonly bucketOffset: number;
}

interface ManifestFile {
  /** A number in the newest manifests, where the highest are rounded when they are parsed: those cannot be looked up. */
  readonly ino: string | number;
  readonly type: string;
  readonly size: number;
  /** Not for the largest. */
  readonly sha256?: string;
}

/** What was found in an image, and how much of it was right. */
interface Tally {
  /** Extents by compression type. */
  readonly extents: Record<string, number>;
  /** Of these, how many are only partly visible, since they were written over or cut. */
  partial: number;
  /** Files of the manifest, put together from extents, whose contents are right. */
  files: number;
  readonly wrong: string[];
}

beforeAll(async () => loadCompression());

describe.skipIf(whyNoFixtures !== undefined)(`compressed reference images${why}`, () => {
  it.each([
    ['compress-lz4', { extents: { lz4: 151, incompressible: 29, none: 1 }, partial: 0, files: 75 }],
    ['compress-background', { extents: { lz4: 148, incompressible: 26, none: 2 }, partial: 0, files: 72 }],
    ['compress-gzip', { extents: { gzip: 159, incompressible: 27, none: 1 }, partial: 0, files: 73 }],
    ['compress-zstd', { extents: { zstd: 154, incompressible: 28, none: 1 }, partial: 0, files: 76 }],
    ['encrypted-wide-lz4', { extents: { lz4: 19, incompressible: 4 }, partial: 0, files: 20 }],
    ['basic', { extents: { zstd: 3, incompressible: 1, none: 742 }, partial: 7, files: 226 }],
    ['ec-1.39', { extents: { lz4: 10, none: 53 }, partial: 1, files: 2 }],
    ['geom-bs512', { extents: { zstd: 4, none: 171 }, partial: 11, files: 110 }],
    ['u103-basic', { extents: { incompressible: 136 }, partial: 0, files: 87 }],
    ['u136-bsfold', { extents: { none: 47 }, partial: 0, files: 27 }],
    ['u136-zstd', { extents: { zstd: 56, incompressible: 32 }, partial: 0, files: 78 }],
  ])('%s: every extent decompresses, and files are what they were', { timeout: patient(120_000) }, (name, expected) => {
    expect(examine(fixture(name))).toEqual({ ...expected, wrong: [] });
  });
});

function examine(image: Fixture): Tally {
  const disks = image.images.map(path => openDevice(path, { write: false }));
  const { sb } = readSuperblock(disks[0]!);
  const { passphrase } = image.json;
  const key = passphrase ? masterKey(sb, new TextEncoder().encode(passphrase)) : undefined;
  const tally: Tally = { extents: {}, partial: 0, files: 0, wrong: [] };

  const { extents, unreadable } = listedExtents(image.readText('list.txt'));
  const byInode = new Map<string, { readonly extent: ListedExtent; readonly contents: Uint8Array }[]>();
  for (const extent of extents) {
    const sector = extent.bucket * memberAt(sb, extent.dev)!.bucket_size + extent.bucketOffset;
    const bytes = readBytes(disks[extent.dev]!, sector * SECTOR_BYTES, extent.compressed * SECTOR_BYTES);
    const nonce = extentNonce(
      { hi: 0, lo: extent.version },
      {
        compressionType: extent.compressionType,
        uncompressedSectors: extent.uncompressed,
        nonceSectors: extent.nonce,
      },
    );
    const { lo, hi } = checksum(extent.csumType, bytes, key && { key, nonce });
    const where = `${extent.inode}:${extent.start}`;
    if (`${hi.toString(16)}:${lo.toString(16)}` !== extent.csum) tally.wrong.push(`checksum of ${where}`);
    if (key !== undefined) chacha20(key, nonce, bytes);

    const { name } = compressionTypes.byId(extent.compressionType)!;
    const contents = decompress(extent.compressionType, bytes, extent.uncompressed * SECTOR_BYTES);
    tally.extents[name] = (tally.extents[name] ?? 0) + 1;
    if (extent.length < extent.uncompressed) tally.partial++;
    const visible = contents.subarray(extent.offset * SECTOR_BYTES, (extent.offset + extent.length) * SECTOR_BYTES);
    byInode.set(extent.inode, [...(byInode.get(extent.inode) ?? []), { extent, contents: visible }]);
  }

  for (const file of image.readManifest<ManifestFile>()) {
    if (file.type !== 'reg' || file.sha256 === undefined) continue;
    if (typeof file.ino === 'number' && !Number.isSafeInteger(file.ino)) continue;
    const parts = byInode.get(String(file.ino));
    if (parts === undefined || unreadable.has(String(file.ino))) continue;
    const contents = new Uint8Array(Math.ceil(file.size / SECTOR_BYTES) * SECTOR_BYTES);
    for (const { extent, contents: part } of parts) {
      const at = extent.start * SECTOR_BYTES;
      // The last extent may go on past the end of the file.
      if (at < contents.length) contents.set(part.subarray(0, contents.length - at), at);
    }
    const sha256 = createHash('sha256').update(contents.subarray(0, file.size)).digest('hex');
    if (sha256 === file.sha256) tally.files++;
    else tally.wrong.push(`contents of inode ${file.ino}`);
  }
  for (const disk of disks) disk.close();
  return tally;
}

/** The extents in a listing, and the inodes that also have keys of other types, whose contents the listing does not show. */
function listedExtents(listing: string): { extents: ListedExtent[]; unreadable: Set<string> } {
  const section = /^=== keys btree=extents level=0\n(.*?)(?=^=== |$(?![\s\S]))/ms.exec(listing)?.[1] ?? '';
  const extents: ListedExtent[] = [];
  const unreadable = new Set<string>();
  for (const text of section.split(/^(?=u64s )/m)) {
    const key = /^u64s \d+ type (\w+) (\d+):(\d+):\S+ len (\d+) ver (\d+)/.exec(text);
    if (key === null) continue;
    const [, type, inode, end, length, version] = key;
    if (type !== 'extent') {
      unreadable.add(inode!);
      continue;
    }
    const crc =
      /crc\d+: c_size (\d+) size (\d+) offset (\d+) nonce (\d+) csum (\w+) (\w+:\w+) {2}compress (\w+)\n(?: +stripe_ptr: .*\n)? +ptr: \S+ (\d+):(\d+):(\d+) /;
    const [, compressed, uncompressed, offset, nonce, csumType, csum, compression, dev, bucket, bucketOffset] =
      crc.exec(text) ?? [];
    if (compression === undefined) {
      unreadable.add(inode!);
      continue;
    }
    extents.push({
      inode: inode!,
      start: Number(end) - Number(length),
      length: Number(length),
      version: BigInt(version!),
      compressed: Number(compressed),
      uncompressed: Number(uncompressed),
      offset: Number(offset),
      nonce: Number(nonce),
      csumType: checksumTypes.byName(csumType!)!.id,
      csum: csum!,
      compressionType: compressionTypes.byName(compression)!.id,
      dev: Number(dev),
      bucket: Number(bucket),
      bucketOffset: Number(bucketOffset),
    });
  }
  return { extents, unreadable };
}
