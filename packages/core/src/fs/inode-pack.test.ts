// The quick packer against the plain one, for inodes with random fields.
import { expect, test } from 'vitest';
import { inodeFields } from '../ondisk/inode-tables.ts';
import { packInodeV3, unpackInodeV3 } from '../ondisk/inode-unpack.ts';
import { viewOf } from '../ondisk/layout.ts';
import { seededRandom } from '../util/random.ts';
import { type EditableInode, packInode } from './inode-pack.ts';

const random = seededRandom('inode-pack');
const u64 = () => viewOf(random.bytes(8)).getBigUint64(0, true);

test('packs what packInodeV3 packs', () => {
  for (let round = 0; round < 2000; round++) {
    const inode: EditableInode = { ...unpackInodeV3(new Uint8Array(48)) };
    for (const { name, bits } of inodeFields.rows) {
      const kind = random.bytes(1)[0]! % 4;
      const wide = kind === 0 ? 0n : u64() >> BigInt(kind === 1 ? 0 : random.bytes(1)[0]! % 64);
      if (bits >= 64) (inode as Record<string, unknown>)[name] = wide;
      else (inode as Record<string, unknown>)[name] = Number(BigInt.asUintN(bits, wide));
    }
    inode.bi_flags = random.bytes(1)[0]!;
    inode.bi_mode = Number(u64() & 0xffffn);
    inode.bi_size = u64();
    inode.bi_sectors = u64();
    inode.bi_hash_seed = u64();
    inode.str_hash = round % 4;
    const packed = packInode(inode);
    expect(Buffer.from(packed).equals(packInodeV3(inode))).toBe(true);
  }
});
