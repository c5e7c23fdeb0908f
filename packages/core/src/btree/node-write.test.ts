// Writing nodes: every node of the reference images made again from its keys, compared with the kernel's own bytes, and read back; random
// keys, formats that are too narrow, and encrypted nodes.

import { describe, expect, test } from 'vitest';
import { fixture, fixtureNames, whyNoFixtures } from '../../../../test/support/fixtures.ts';
import { testImageContents, testImages } from '../../../../test/support/images.ts';
import { nodePtr, testKey } from '../../../../test/support/nodes.ts';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce } from '../crypto/nonce.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bkeyFormatText, KeyPacker } from '../ondisk/bkey-format.ts';
import { type Bpos, compareBpos, makeBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { Bset, bsetCsumType } from '../ondisk/bset.ts';
import { BtreeNodeHeader, btreeNodeGeneration, btreeNodeMagic, NODE_BSET_AT } from '../ondisk/btree-node.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { decodeExtentEntries } from '../ondisk/extent-entries.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { viewOf } from '../ondisk/layout.ts';
import { versionOf } from '../ondisk/versions.ts';
import { type Filesystem, filesystemOf, openFilesystem } from '../opened/filesystem.ts';
import { openMembers } from '../superblock/member-set.ts';
import type { BtreeNode } from './node.ts';
import { NodeReader } from './node-read.ts';
import { encodeNode, formatFor, keysU64s, type NodeContents, type NodeTarget, nodeCapacityU64s } from './node-write.ts';

const encoder = new TextEncoder();
/** Nothing is expected of its keys. */
const UNKNOWN_BTREE = 300;
const VERSION = versionOf('inode_has_child_snapshots');
const CRC32C = checksumTypes.idOf('crc32c_nonzero');
const CHACHA = checksumTypes.idOf('chacha20_poly1305_128');
const plainTarget: NodeTarget = {
  magic: 0xfeed_beefn,
  version: VERSION,
  csumType: CRC32C,
  key: undefined,
  blockSectors: 1,
  nodeSectors: 512,
};

/** What a reader finds in these bytes. */
function readBack(bytes: Uint8Array, contents: NodeContents, target: NodeTarget): BtreeNode {
  const device = new MemoryDevice(2 ** 20);
  device.write(0, bytes);
  const reader = new NodeReader({
    ...target,
    versionMin: 0,
    device: () => device,
    isBlacklisted: () => false,
    values: undefined,
  });
  const ptr = nodePtr({
    min: contents.minKey,
    max: contents.maxKey,
    seq: contents.seq,
    written: bytes.length / 512,
    replicas: [{ dev: 0, sector: 0 }],
  });
  return reader.read(contents.btree, contents.level, ptr);
}

const keysOf = (node: BtreeNode): Key[] => Array.from({ length: node.count }, (_, i) => node.key(i));

/** In a form that compares quickly. */
const flat = ({ k, value }: Key): string =>
  [...k.p, k.type, k.size, k.bversion_hi, k.bversion_lo, k.u64s, Buffer.from(value).toString('latin1')].join(' ');

describe('keys of any kind come back as they were', () => {
  const seed = testSeed();

  test(`random (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    const word = () => random.below(2 ** random.below(33));
    for (let round = 0; round < 200; round++) {
      const keys: Key[] = [];
      const isWide = random.below(2) === 0;
      for (let i = random.below(60); i > 0; i--) {
        const value = Uint8Array.from({ length: 8 * random.below(20) }, () => random.below(256));
        const pos = isWide
          ? Uint32Array.of(word(), word(), word(), word(), word())
          : Uint32Array.of(7, random.below(1000), 0, 4096, 3);
        const key = testKey('cookie', [0, 0], value, isWide ? word() : random.below(300));
        const bversion_lo = random.below(3) === 0 ? BigInt(word()) << BigInt(random.below(33)) : 0n;
        keys.push({ ...key, k: { ...key.k, p: pos, bversion_lo, bversion_hi: isWide ? word() : 0 } });
      }
      keys.sort((a, b) => compareBpos(a.k.p, b.k.p));
      const different = keys.filter((key, i) => i === 0 || compareBpos(keys[i - 1]!.k.p, key.k.p) !== 0);
      const first = different[0]?.k.p ?? POS_MIN;
      const isTight = random.below(2) === 0 && different.length > 1;
      const ends: [Bpos, Bpos] = isTight ? [first, different.at(-1)!.k.p] : [POS_MIN, SPOS_MAX];
      // Sometimes a format that was made for the first keys only.
      const format = random.below(2) === 0 ? formatFor(different.slice(0, 3), first, first) : undefined;
      const contents: NodeContents = {
        ...{ btree: UNKNOWN_BTREE, level: 0, minKey: ends[0], maxKey: ends[1], keys: different },
        ...{ seq: 1n + BigInt(word()), journalSeq: word(), ...(format === undefined ? {} : { format }) },
      };
      const target =
        round % 2 === 0 ? plainTarget : { ...plainTarget, csumType: CHACHA, key: new Uint8Array(32).fill(round) };
      const encoded = encodeNode(contents, target);
      const node = readBack(encoded.bytes, contents, target);
      expect(keysOf(node).map(flat)).toEqual(different.map(flat));
      expect(encoded.u64s).toBe(keysU64s(different, ends[0], ends[1], format));
      expect(node.usage()).toEqual({
        packed: different.length - encoded.unpacked,
        unpacked: encoded.unpacked,
        liveU64s: encoded.u64s,
      });
      if (format === undefined) expect(encoded.unpacked).toBe(0);
    }
  });

  test('a key that the format cannot hold is stored unpacked, between packed ones', () => {
    const keys = [
      testKey('cookie', [5, 1]),
      testKey('cookie', [5, 2], new Uint8Array(8).fill(9), 70_000),
      testKey('cookie', [5, 3]),
    ];
    const format = formatFor([keys[0]!, keys[2]!], makeBpos(5n, 0n, 0), makeBpos(5n, 9n, 0));
    const packer = new KeyPacker(format);
    expect(keys.map(({ k }) => packer.fits(k))).toEqual([true, false, true]);
    const contents = {
      btree: UNKNOWN_BTREE,
      level: 0,
      minKey: POS_MIN,
      maxKey: SPOS_MAX,
      keys,
      seq: 5n,
      journalSeq: 0,
      format,
    };
    const encoded = encodeNode(contents, plainTarget);
    expect(encoded).toMatchObject({ unpacked: 1, u64s: 1 + 6 + 1, sectorsWritten: 1 });
    expect(keysOf(readBack(encoded.bytes, contents, plainTarget)).map(flat)).toEqual(keys.map(flat));
  });

  test('what a format is made of', () => {
    const at = (offset: bigint) => makeBpos(4096n, offset, 0xffff_ffff);
    expect(bkeyFormatText(formatFor([], POS_MIN, SPOS_MAX))).toBe('u64s 3 fields 64:0, 64:0, 32:0, 0:0, 0:0, 0:0');
    // Two spare fields are rounded up, from the first on; those that are all the same stay without bits.
    expect(bkeyFormatText(formatFor([testKey('cookie', [4096, 5, 0xffff_ffff])], at(3n), at(1000n)))).toBe(
      'u64s 1 fields 0:4096, 16:3, 0:4294967295, 0:0, 0:0, 0:0',
    );
    expect(bkeyFormatText(formatFor([testKey('extent', [4096, 8, 0xffff_ffff], undefined, 8)], at(0n), at(9n)))).toBe(
      'u64s 1 fields 0:4096, 8:0, 0:4294967295, 8:0, 0:0, 0:0',
    );
  });

  test('as many keys as fit, and not one more', () => {
    const capacity = nodeCapacityU64s(8);
    expect(capacity).toBe((4096 - 160) / 8);
    const keys = Array.from({ length: capacity }, (_, i) => testKey('cookie', [1, i]));
    const [minKey, maxKey] = [keys[0]!.k.p, keys.at(-1)!.k.p];
    expect(keysU64s(keys, minKey, maxKey)).toBe(capacity);
    const contents = { btree: 1, level: 0, minKey, maxKey, seq: 5n, journalSeq: 0 };
    const target = { ...plainTarget, nodeSectors: 8 };
    expect(encodeNode({ ...contents, keys }, target)).toMatchObject({ u64s: capacity, sectorsWritten: 8 });
    const larger = { ...contents, keys: [...keys, testKey('cookie', [1, capacity])], maxKey: SPOS_MAX };
    expect(() => encodeNode(larger, target)).toThrow('the keys fit into the node');
    expect(nodeCapacityU64s(65535)).toBe(65535);
  });
});

/** The header and the first bset of a node as the kernel wrote them, and what they say, decrypted. */
function kernelsOwn(filesystem: Filesystem, node: BtreeNode) {
  const { sb } = filesystem;
  const entries = decodeExtentEntries(node.facts.ptr.value.subarray(BchBtreePtrV2.size));
  const place = entries.find(entry => entry.type === 'ptr' && filesystem.device(entry.dev)?.name === node.facts.device);
  if (place?.type !== 'ptr') throw new Error('the node was read from one of its replicas');
  const bytes = new Uint8Array(filesystem.reader.nodeSectors * 512);
  filesystem.device(place.dev)?.read(node.facts.sector * 512, bytes);
  const bset = Bset.get(viewOf(bytes), NODE_BSET_AT);
  const header = bytes.slice(0, NODE_BSET_AT);
  const csumType = bsetCsumType(bset);
  if (checksumTypes.byId(csumType)?.isEncryption) {
    chacha20(filesystem.key!, btreeNonce(bset, 0), header.subarray(BtreeNodeHeader.offset.flags));
  }
  const generation = btreeNodeGeneration(BtreeNodeHeader.get(viewOf(header), 0));
  const target: NodeTarget = {
    ...{ magic: btreeNodeMagic(sb.uuid), version: bset.version, csumType, key: filesystem.key },
    ...{ blockSectors: sb.block_size, nodeSectors: filesystem.reader.nodeSectors },
  };
  return { bytes, bset, generation, target };
}

interface Tally {
  nodes: number;
  identical: number;
  /** Formats that do not start at zero or are narrower than a position. */
  narrow: number;
  ours: number;
  kernels: number;
}

/** Makes every sound node of a filesystem again. */
function rewriteAll(filesystem: Filesystem): Tally {
  const tally: Tally = { nodes: 0, identical: 0, narrow: 0, ours: 0, kernels: 0 };
  for (const id of filesystem.replay.roots.keys()) {
    for (let level = 0; level < 4; level++) {
      for (const node of filesystem.btree(id).nodes({ level, onDamage: () => {} })) {
        const { facts } = node;
        if (facts.damage.length > 0) continue;
        tally.nodes++;
        const { bytes, bset, generation, target } = kernelsOwn(filesystem, node);
        const common = { btree: id, level, minKey: facts.minKey, maxKey: facts.maxKey, seq: facts.seq, generation };

        // The first bset again, byte for byte: the format that the kernel chose, its packing, encryption and checksum.
        const first = facts.bsets[0]!.keys;
        const firstKeys = Array.from({ length: first.count }, (_, i) => node.keyOf(first, i));
        const again = encodeNode({ ...common, keys: firstKeys, journalSeq: bset.journal_seq }, target);
        if (Buffer.compare(again.bytes, bytes.subarray(0, again.bytes.length)) === 0) tally.identical++;
        if (again.format.field_offset.some(offset => offset !== 0n)) tally.narrow++;

        // All keys as one bset.
        const keys = keysOf(node);
        const contents = { ...common, keys, journalSeq: facts.bsets.at(-1)!.journalSeq };
        const whole = encodeNode(contents, target);
        const found = keysOf(readBack(whole.bytes, contents, target));
        if (found.length !== keys.length) throw new Error(`${found.length} keys, expected ${keys.length}`);
        for (const [i, key] of keys.entries())
          if (flat(found[i]!) !== flat(key)) expect(flat(found[i]!)).toBe(flat(key));
        tally.ours += whole.u64s;
        tally.kernels += node.usage().liveU64s;
      }
    }
  }
  return tally;
}

describe('nodes that a kernel wrote', () => {
  test.each(testImages)('$name', ({ name, passphrase }) => {
    const devices = testImageContents(name).map((content, i) => MemoryDevice.from(content, { name: `${name}.${i}` }));
    const options = passphrase === undefined ? {} : { passphrase: encoder.encode(passphrase) };
    const tally = rewriteAll(filesystemOf(openMembers(devices), options));
    expect(tally.nodes).toBeGreaterThan(7);
    expect(tally.identical).toBe(tally.nodes);
  });

  const names = whyNoFixtures === undefined ? fixtureNames() : [];
  test.skipIf(names.length === 0)(
    `of the reference images${whyNoFixtures === undefined ? '' : `: ${whyNoFixtures}`}`,
    () => {
      const sum: Tally = { nodes: 0, identical: 0, narrow: 0, ours: 0, kernels: 0 };
      for (const name of names) {
        const { images, json } = fixture(name);
        let filesystem: Filesystem;
        try {
          const passphrase = json.passphrase === null ? undefined : encoder.encode(json.passphrase);
          filesystem = openFilesystem(images, { degraded: true, passphrase });
        } catch {
          continue; // those whose superblocks or journals are damaged have tests of their own
        }
        try {
          const tally = rewriteAll(filesystem);
          for (const member of ['nodes', 'identical', 'narrow', 'ours', 'kernels'] as const)
            sum[member] += tally[member];
        } finally {
          filesystem.close();
        }
      }
      expect(sum.nodes).toBeGreaterThan(1000);
      expect(sum.narrow).toBeGreaterThan(50);
      expect(sum.identical).toBe(sum.nodes);
      expect(sum.ours).toBeLessThanOrEqual(sum.kernels);
    },
  );
});
