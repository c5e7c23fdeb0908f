// Commits without triggers, for tests of the btrees and of the order of writes alone: room for nodes comes from past the end of
// the filesystem, which is moved for it.

import {
  bposText,
  type ExtentPtr,
  editSuperblock,
  getBits,
  type Key,
  keyTypes,
  MemoryDevice,
  makeKey,
  members,
  type NodeAllocator,
  openMembers,
  type Superblock,
  sbBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { testImageContents } from './images.ts';

const SIZE_BYTES = 2 ** 30;

/** A key that takes room. */
export function xattrKey(pos: Uint32Array, valueBytes: number): Key {
  const value = new Uint8Array(Math.ceil((4 + 8 + valueBytes) / 8) * 8);
  value.set([0, 8, valueBytes & 0xff, valueBytes >>> 8]);
  value.set(new TextEncoder().encode(bposText(pos).slice(-8).padStart(8, 'x')), 4);
  value.fill(valueBytes & 0x7f, 12, 12 + valueBytes);
  return makeKey(keyTypes.idOf('xattr'), pos, value);
}

/** A test image in memory whose members were made longer, with nothing in what was added. */
export function grown(name: string) {
  const devices = testImageContents(name).map(contents => {
    const device = new MemoryDevice(SIZE_BYTES, { name });
    device.write(0, contents);
    return device;
  });
  const withRoom = (sb: Superblock) => devices.reduce((so, _, index) => withMember(so, index, longer), sb);
  editSuperblock(openMembers(devices), withRoom, { now: 0n });
  return { devices, set: openMembers(devices) };
}

type Member = ReturnType<typeof members>[number];
const longer = (member: Member): Member => ({ ...member, nbuckets: SIZE_BYTES / 512 / member.bucket_size });

/** Takes one node after the other from where nothing ever was. */
export class PastTheEnd implements NodeAllocator {
  readonly #sb: Superblock;
  readonly #next: number[];

  constructor(sb: Superblock, sectorsFurther = 0) {
    this.#sb = sb;
    this.#next = members(sb).map(() => SIZE_BYTES / 2 / 512 + sectorsFurther);
  }

  allocate(): readonly ExtentPtr[] {
    const sectors = getBits(this.#sb.flags, sbBits.BTREE_NODE_SIZE);
    const replicas = getBits(this.#sb.flags, sbBits.META_REPLICAS_WANT);
    return Array.from({ length: replicas }, (_, dev) => {
      const offset = this.#next[dev]!;
      this.#next[dev] = offset + sectors;
      return { type: 'ptr', cached: false, unwritten: false, offset, dev, gen: 0 } as const;
    });
  }

  release(): void {}
}
