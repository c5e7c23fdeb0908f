// A device that is formatted by a seed, lived on, and formatted again.

import {
  BchBtreePtrV2,
  type ByteRange,
  decodeExtentPtr,
  FileEdit,
  type FormatRequest,
  filesystemOf,
  getBits,
  type MemoryDevice,
  openMembers,
  planContents,
  planFormat,
  sbBits,
  sectorsToBytes,
  seededRandom,
  VERSION_CURRENT_WRITTEN,
  viewOf,
  writeFormat,
} from '@bcachefs-ts/core/engine';
import { writerOn } from './commits.ts';

/** @param hasOldLife as `format` says it of a disk, when there is a seed */
export function formatAnew(device: MemoryDevice, seed: string, hasOldLife = true): void {
  const request: FormatRequest = {
    devices: [
      {
        name: device.name,
        sizeBytes: device.sizeBytes,
        physicalSectorBytes: 0,
        logicalSectorBytes: 512,
        durability: 1,
        discard: false,
        dataAllowed: 0b11100,
      },
    ],
    options: new Map(),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    now: 1_700_000_000_000_000_000n,
    random: seededRandom(seed),
  };
  const plan = planFormat(request);
  writeFormat(plan, [{ device, signatures: [], hasOldLife }], planContents(plan, [device], request));
}

export interface NodePlace extends ByteRange {
  readonly seq: bigint;
}

/** Where the roots are, in order: a new filesystem has no other nodes. */
export function nodePlaces(device: MemoryDevice): readonly NodePlace[] {
  const { sb, replay } = filesystemOf(openMembers([device]));
  const length = sectorsToBytes(getBits(sb.flags, sbBits.BTREE_NODE_SIZE));
  return [...replay.roots.values()]
    .map(({ key }) => {
      const view = viewOf(key!.value);
      const { offset } = decodeExtentPtr(view.getBigUint64(BchBtreePtrV2.size, true));
      return { offset: sectorsToBytes(offset), length, seq: view.getBigUint64(BchBtreePtrV2.offset.seq, true) };
    })
    .sort((a, b) => a.offset - b.offset);
}

/** Six commits; and in each node of the new filesystem a bset that a kernel has appended since, as far as one looks at it. */
export function liveOn(device: MemoryDevice): void {
  for (const { offset, seq } of nodePlaces(device)) {
    const bset = new Uint8Array(512);
    viewOf(bset).setBigUint64(16, seq, true);
    device.write(offset + 8192, bset);
  }
  for (let nr = 1; nr <= 6; nr++) {
    const { writer, options } = writerOn([device], undefined, nr);
    const edit = new FileEdit(writer, options);
    edit.files.create(edit.files.root(), new TextEncoder().encode(`old ${nr}`), { mode: 0o040755 });
    edit.commit();
  }
}
