// Checksums and encryption against filesystems that others wrote: every superblock of the reference images, and every journal
// entry, btree node and extent of the encrypted ones, down to the contents of files. Structs are picked apart by hand here,
// so that nothing above this room is needed. The images are not part of the project; without them these tests are skipped.

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fixture, fixtureImageFiles, imageHead, whyNoFixtures } from '../../../../test/support/fixtures.ts';
import { patient } from '../../../../test/support/patience.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { deriveKey, isKeySealed, openKey } from '../crypto/keys.ts';
import { btreeNonce, extentNonce, journalNonce, nonceAdd, sbKeyNonce } from '../crypto/nonce.ts';
import { viewOf } from '../ondisk/layout.ts';
import { decodeCrypt, kdfParameters } from '../ondisk/sb-fields/crypt.ts';
import { BCHFS_MAGIC, BchSb, BchSbField, SB_SECTOR } from '../ondisk/superblock.ts';
import { canChecksum, checksum, verifyVstruct } from './checksum.ts';
import { csumEquals } from './csum.ts';

/** More than any of the images has. */
const WHOLE_IMAGE_BYTES = 256 << 20;
const why = whyNoFixtures === undefined ? '' : ` (skipped: ${whyNoFixtures})`;

describe.skipIf(whyNoFixtures !== undefined)(`superblocks of the reference images${why}`, () => {
  it('carry the checksums that we compute', { timeout: patient(120_000) }, () => {
    const typesSeen = new Map<number, number>();
    const bad: string[] = [];
    for (const image of fixtureImageFiles()) {
      // The last copy is at the end of the device: looked at where types other than the usual one occur.
      const bytes = imageHead(image, image.startsWith('csum-') ? WHOLE_IMAGE_BYTES : undefined);
      const view = viewOf(bytes);
      const sectors = [SB_SECTOR, 2056, 4096, ...BchSb.get(view, SB_SECTOR * 512).layout.sb_offset.map(Number)];
      for (const sector of new Set(sectors)) {
        const at = sector * 512;
        if (sector === 0 || at + BchSb.size > bytes.length) continue;
        const { magic, u64s, flags } = BchSb.get(view, at);
        if (magic !== BCHFS_MAGIC) continue;
        const type = Number((flags[0]! >> 2n) & 63n);
        typesSeen.set(type, (typesSeen.get(type) ?? 0) + 1);
        expect(canChecksum(type)).toBe(true);
        const vstruct = bytes.subarray(at, at + BchSb.size + 8 * u64s);
        if (!verifyVstruct(type, vstruct).good) bad.push(`${image} sector ${sector}`);
      }
    }
    expect(bad).toEqual(['sb-backup-bitflip.img sector 2056', 'sb-primary-bitflip.img sector 8']);
    expect([...typesSeen.keys()].sort()).toEqual([0, 1, 2, 7]);
    expect([2, 7].map(type => typesSeen.get(type))).toEqual([3, 3]);
  });
});

/** What was found in an encrypted image, and how much of it was right. */
interface Tally {
  journalEntries: number;
  nodes: number;
  laterBsets: number;
  extents: number;
  extentCsumTypes: number[];
  compressed: number;
  /** Files whose decrypted contents have the SHA-256 that the manifest says. */
  files: number;
  wrong: string[];
}

describe.skipIf(whyNoFixtures !== undefined)(`encrypted reference images${why}`, () => {
  it.each([
    ['encrypted', { journalEntries: 11, nodes: 13, extents: 31, extentCsumTypes: [3], compressed: 0, files: 9 }],
    ['encrypted-unclean', { journalEntries: 5, nodes: 9, extents: 20, extentCsumTypes: [3], compressed: 0, files: 12 }],
    [
      'encrypted-wide-lz4',
      { journalEntries: 8, nodes: 13, extents: 28, extentCsumTypes: [4], compressed: 22, files: 4 },
    ],
    ['u136-enc', { journalEntries: 8, nodes: 13, extents: 28, extentCsumTypes: [3], compressed: 0, files: 17 }],
    ['u136-enc-nopass', { journalEntries: 8, nodes: 13, extents: 24, extentCsumTypes: [3], compressed: 0, files: 13 }],
  ])(
    '%s: every MAC is right, and what it covers decrypts to sense',
    { timeout: patient(120_000) },
    (name, expected) => {
      const tally = examine(name);
      expect(tally.wrong).toEqual([]);
      expect(tally).toMatchObject(expected);
      expect(tally.laterBsets).toBeGreaterThan(0);
    },
  );
});

function examine(name: string): Tally {
  const tally: Tally = {
    journalEntries: 0,
    nodes: 0,
    laterBsets: 0,
    extents: 0,
    extentCsumTypes: [],
    compressed: 0,
    files: 0,
    wrong: [],
  };
  const image = imageHead(`${name}.img`, WHOLE_IMAGE_BYTES);
  const key = masterKey(image);
  const view = viewOf(image);
  const sbMagic = view.getBigUint64(SB_SECTOR * 512 + BchSb.offset.uuid, true);
  const jsetMagic = sbMagic ^ 0x2452_35c1_a362_5032n;
  const bsetMagic = sbMagic ^ 0x9013_5c78_b99e_07f5n;
  const extents: Uint8Array[] = [];
  for (let at = 0; at + 512 <= image.length; at += 512) {
    const magic = view.getBigUint64(at + 16, true);
    if (magic === jsetMagic) extents.push(...examineJset(image, at, key, tally));
    if (magic === bsetMagic) examineNode(image, at, key, tally);
  }
  const shaByInode = manifestFiles(name);
  for (const extent of extents) examineExtent(image, extent, key, shaByInode, tally);
  return tally;
}

function masterKey(image: Uint8Array): Uint8Array {
  const sbAt = SB_SECTOR * 512;
  const view = viewOf(image);
  const end = sbAt + BchSb.size + 8 * view.getUint32(sbAt + BchSb.offset.u64s, true);
  for (let at = sbAt + BchSb.size; at < end; ) {
    const { u64s, type } = BchSbField.get(view, at);
    if (type === 2) {
      const crypt = decodeCrypt(image.subarray(at + 8, at + 8 * u64s));
      if (!isKeySealed(crypt)) return crypt.key;
      const passphraseKey = deriveKey(new TextEncoder().encode('correct horse'), kdfParameters(crypt));
      const uuid = image.subarray(sbAt + BchSb.offset.uuid, sbAt + BchSb.offset.uuid + 16);
      const key = openKey(crypt, passphraseKey, sbKeyNonce(uuid));
      expect(key, 'the passphrase opens the key').toBeDefined();
      return key!;
    }
    at += 8 * u64s;
  }
  throw new Error('no crypt section');
}

/** Verifies and decrypts a journal entry, walks its sub-entries; gives back the extent keys in it. */
function examineJset(image: Uint8Array, at: number, key: Uint8Array, tally: Tally): Uint8Array[] {
  const view = viewOf(image);
  const nonce = journalNonce(Number(view.getBigUint64(at + 24, true)));
  const type = view.getUint32(at + 36, true) & 15;
  const jset = image.slice(at, at + 56 + 8 * view.getUint32(at + 40, true));
  if (!verifyVstruct(type, jset, { key, nonce }).good) tally.wrong.push(`jset at ${at}`);
  tally.journalEntries++;

  // Encrypted from the byte after u64s on: the two clocks, last_seq, and the sub-entries.
  chacha20(key, nonce, jset.subarray(44));
  const plain = viewOf(jset);
  const extents: Uint8Array[] = [];
  let entryAt = 56;
  while (entryAt < jset.length) {
    const [entryType, btree, level] = [jset[entryAt + 4]!, jset[entryAt + 2]!, jset[entryAt + 3]!];
    const entryEnd = entryAt + 8 + 8 * plain.getUint16(entryAt, true);
    if (entryType > 12 && entryType !== 255) tally.wrong.push(`jset at ${at}: entry type ${entryType}`);
    if (entryType === 0 && btree === 0 && level === 0) {
      for (let keyAt = entryAt + 8; keyAt < entryEnd && jset[keyAt]! > 0; keyAt += 8 * jset[keyAt]!) {
        if (jset[keyAt + 2] === 6) extents.push(jset.subarray(keyAt, keyAt + 8 * jset[keyAt]!));
      }
    }
    entryAt = entryEnd;
  }
  if (entryAt !== jset.length) tally.wrong.push(`jset at ${at}: sub-entries end at ${entryAt} of ${jset.length}`);
  return extents;
}

/** Verifies a btree node, decrypts its header, and verifies the bsets that were appended to it. */
function examineNode(image: Uint8Array, at: number, key: Uint8Array, tally: Tally): void {
  const view = viewOf(image);
  const bsetAt = (headerAt: number) => ({
    seq: view.getBigUint64(headerAt, true),
    journal_seq: Number(view.getBigUint64(headerAt + 8, true)),
    type: view.getUint32(headerAt + 16, true) & 15,
    bytes: 24 + 8 * view.getUint16(headerAt + 22, true),
  });
  const first = bsetAt(at + 136);
  const node = image.slice(at, at + 136 + first.bytes);
  const nonce = btreeNonce(first, 0);
  if (!verifyVstruct(first.type, node, { key, nonce }).good) tally.wrong.push(`node at ${at}`);
  tally.nodes++;

  // Two streams: from flags to the bset header, rounded up to whole blocks, then the keys.
  chacha20(key, nonce, node.subarray(24, 136));
  chacha20(key, nonceAdd(nonce, 128), node.subarray(160));
  const keyFormat = [node[80], node[81]]; // key_u64s, nr_fields
  if (keyFormat[0]! > 5 || keyFormat[1] !== 6) tally.wrong.push(`node at ${at}: key format ${keyFormat}`);

  const blockBytes = 512 * view.getUint16(SB_SECTOR * 512 + BchSb.offset.block_size, true);
  const roundUp = (bytes: number) => Math.ceil(bytes / blockBytes) * blockBytes;
  for (let offset = roundUp(node.length); ; ) {
    const later = bsetAt(at + offset + 16);
    if (later.seq !== first.seq) break;
    const entry = image.subarray(at + offset, at + offset + 16 + later.bytes);
    const good = verifyVstruct(later.type, entry, { key, nonce: btreeNonce(later, offset) }).good;
    if (!good) tally.wrong.push(`bset at ${at} + ${offset}`);
    tally.laterBsets++;
    offset += roundUp(entry.length);
  }
}

interface ManifestFile {
  readonly ino: string;
  readonly type: string;
  readonly size: number;
  readonly sha256: string;
}

function manifestFiles(name: string): Map<string, ManifestFile> {
  const entries = fixture(name).readManifest<ManifestFile>();
  return new Map(entries.filter(entry => entry.type === 'reg').map(entry => [entry.ino, entry]));
}

/** Verifies what an extent key points to; compares the contents where the extent is a whole file. */
function examineExtent(
  image: Uint8Array,
  extent: Uint8Array,
  key: Uint8Array,
  files: ReadonlyMap<string, ManifestFile>,
  tally: Tally,
): void {
  const view = viewOf(extent);
  const version = { lo: view.getBigUint64(4, true), hi: view.getUint32(12, true) };
  const sizeSectors = view.getUint32(16, true);
  const endSector = Number(view.getBigUint64(24, true));
  const inode = view.getBigUint64(32, true);

  // One crc entry (crc64 or crc128: their low bits are 100 and 1000), then one pointer (low bit 1).
  const word = view.getBigUint64(40, true);
  const bits = (from: number, count: number) => Number((word >> BigInt(from)) & ((1n << BigInt(count)) - 1n));
  const wide = bits(0, 4) === 8;
  const crc = wide
    ? {
        sectors: bits(4, 13) + 1,
        uncompressed: bits(17, 13) + 1,
        nonce: bits(43, 13),
        type: bits(56, 4),
        by: bits(60, 4),
      }
    : {
        sectors: bits(3, 9) + 1,
        uncompressed: bits(12, 9) + 1,
        nonce: bits(30, 10),
        type: bits(40, 4),
        by: bits(44, 4),
      };
  const stored = wide
    ? { lo: view.getBigUint64(48, true), hi: view.getBigUint64(56, true) }
    : { lo: view.getBigUint64(48, true), hi: BigInt(bits(48, 16)) };
  const sector = Number((view.getBigUint64(wide ? 64 : 56, true) >> 4n) & ((1n << 44n) - 1n));

  const nonce = extentNonce(version, {
    compressionType: crc.by,
    uncompressedSectors: crc.uncompressed,
    nonceSectors: crc.nonce,
  });
  const bytes = image.slice(sector * 512, (sector + crc.sectors) * 512);
  if (!csumEquals(checksum(crc.type, bytes, { key, nonce }), stored))
    tally.wrong.push(`extent of ${inode}:${endSector}`);
  tally.extents++;
  if (!tally.extentCsumTypes.includes(crc.type)) tally.extentCsumTypes.push(crc.type);
  if (crc.by !== 0 && crc.by !== 5) {
    tally.compressed++;
    return;
  }
  const file = files.get(String(inode));
  if (file === undefined || endSector !== sizeSectors || file.size === 0 || file.size > bytes.length) return;
  chacha20(key, nonce, bytes);
  const sha256 = createHash('sha256').update(bytes.subarray(0, file.size)).digest('hex');
  if (sha256 === file.sha256) tally.files++;
  else tally.wrong.push(`contents of inode ${inode}`);
}
