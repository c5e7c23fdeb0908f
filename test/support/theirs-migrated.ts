// A filesystem in the shape that the reference's migrate leaves, made by hand: its superblocks are inside of what is a file of the old filesystem, nothing
// at the start of the device leads to them, files own sectors there without checksums, and old_migrated_filesystem owns all others
// (cmd_migrate.c, posix_to_bcachefs.c, v1.13.0).

import {
  bytesToSectors,
  type FormatRequest,
  filledContents,
  MemoryDevice,
  type OptionName,
  type OptionNumber,
  planContents,
  planFormat,
  seededRandom,
  VERSION_CURRENT_WRITTEN,
  writeSuperblocks,
} from '@bcachefs-ts/core/engine';

const MIB = 2 ** 20;
const NOW = 1_700_000_000_000_000_000n;
const BUCKET_BYTES = MIB / 4;
/** Where the file `bcachefs` of the old filesystem begins. */
const NEW_START = 20 * MIB;
const OLD_END = 12 * MIB;
/** Of the first superblock. */
export const THEIR_SECTOR = bytesToSectors(NEW_START);

/** Where a file's bytes lie, as the old filesystem had them: over where superblocks belong, and elsewhere. */
const FILES = [
  { name: 'low', at: MIB / 2, length: 300_000 },
  { name: 'in bucket 0', at: 64 * 1024, length: 50_000 },
  { name: 'high', at: 9 * MIB, length: 700_000 },
] as const;

export const contentOf = (name: string): Buffer => {
  const { length = 0, at = 0 } = FILES.find(file => file.name === name) ?? {};
  return Buffer.from(Array.from({ length }, (_, i) => (i * 31 + (i >> 9) + at / 4096) & 0xff));
};
export const theirFiles: readonly string[] = FILES.map(({ name }) => name);

export function theirMigrated(): MemoryDevice {
  const device = new MemoryDevice(160 * MIB, { name: 'theirs.img' });
  // The old filesystem's superblock, as far as others look at it: blocks in a group, and the magic.
  device.write(1024 + 0x20, Uint8Array.of(0, 0x80));
  device.write(1024 + 0x38, Uint8Array.of(0x53, 0xef));
  for (const { name, at } of FILES) device.write(at, contentOf(name));
  const copySectors = 2048;
  const request: FormatRequest = {
    devices: [
      {
        name: device.name,
        sizeBytes: device.sizeBytes,
        physicalSectorBytes: 512,
        logicalSectorBytes: 512,
        bucketBytes: BUCKET_BYTES,
        superblockSectors: [THEIR_SECTOR, THEIR_SECTOR + copySectors],
        durability: 1,
        discard: false,
        dataAllowed: 0b11100,
      },
    ],
    options: new Map<OptionName, OptionNumber>([['block_size', 4096]]),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    superblockBytes: copySectors * 512,
    now: NOW,
    random: seededRandom('theirs'),
  };
  const format = planFormat(request);
  const isExcluded = (_dev: number, bucket: number) => bucket < (NEW_START + 2 * MIB) / BUCKET_BYTES;
  const options = { random: seededRandom('theirs'), now: NOW, isExcluded };
  const contents = filledContents(format, [device], planContents(format, [device], options), {
    ...options,
    usesReserve: true,
    *fill({ edit: { files, content } }) {
      const place = (start: number, end: number) => ({
        dev: 0,
        sector: bytesToSectors(start),
        sectors: bytesToSectors(end - start),
        gen: 0,
      });
      const create = (name: string, mode: number) => {
        const file = files.create(files.root(), new TextEncoder().encode(name), {
          mode: 0o100000 | mode,
          uid: 0,
          gid: 0,
        });
        files.setOption(file, 'data_checksum', 0);
        return file;
      };
      const ends = FILES.map(({ at, length }) => ({ at, end: Math.ceil((at + length) / 4096) * 4096 }));
      for (const [i, { name, length }] of FILES.entries()) {
        const file = create(name, 0o644);
        content.adopt(file, 0, place(ends[i]!.at, ends[i]!.end));
        content.truncate(file, length);
      }
      const old = create('old_migrated_filesystem', 0o400);
      let start = 0;
      for (const { at, end } of [...ends].sort((a, b) => a.at - b.at)) {
        if (start < at) content.adopt(old, start, place(start, at));
        start = end;
      }
      content.adopt(old, start, place(start, OLD_END));
      content.truncate(old, OLD_END);
      yield;
    },
  });
  const steps = contents.write();
  let step = steps.next();
  while (!step.done) step = steps.next();
  writeSuperblocks(step.value);
  return device;
}
