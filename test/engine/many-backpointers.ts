// The process in which millions of backpointers are put in the place of those of a filesystem, so that its memory is known. They belong to no
// extent: what is on trial is the building alone. Says what became of it.
//
//   many-backpointers.ts IMAGE COUNT

import {
  BchBackpointer,
  backpointer,
  btrees,
  FilesystemWriter,
  type Key,
  keyTypes,
  loadChecksums,
  makeBpos,
  makeKey,
  members,
  openDevice,
  openMembers,
  replaceBtrees,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { cpuMs } from '../support/patience.ts';

export interface BuiltBackpointers {
  readonly keyCount: number;
  readonly isSame: boolean;
  readonly parts: number;
  readonly nodeCount: number;
  /** Of the process: when it begins to build, and the most until it had committed. */
  readonly memoryBytes: { readonly before: number; readonly peak: number };
  /** Of processor time, for the replacing; making the keys takes a part of it. */
  readonly cpuMs: number;
}

const [image, word] = process.argv.slice(2);
const count = Number(word);
const TYPE = keyTypes.idOf('backpointer');
const EXTENTS = btrees.idOf('extents');
const SECTORS = 8;

await loadChecksums();
const device = openDevice(image!, { write: true });
const writer = new FilesystemWriter(openMembers([device]), { random: seededRandom('1'), now: () => 1_800_000_000n });
const bucketSectors = members(writer.filesystem.sb)[0]!.bucket_size;

/** Of extents one after the other, from the middle of the device on. */
function* synthetic(): Generator<Key> {
  const start = Math.floor(device.sizeBytes / 1024 / bucketSectors) * bucketSectors;
  for (let nr = 0; nr < count; nr++) {
    const sector = start + SECTORS * nr;
    const inBucket = (sector % bucketSectors) * 1024;
    const value = backpointer.encode!({
      btree_id: EXTENTS,
      level: 0,
      data_type: 4,
      bucket_gen: inBucket & 0xff,
      flags: Math.floor(inBucket / 256),
      bucket_len: SECTORS,
      pos: makeBpos(BigInt(5000 + (nr >>> 10)), BigInt(SECTORS * (1 + (nr & 1023))), 0xffff_ffff),
    });
    yield makeKey(TYPE, makeBpos(0n, BigInt(sector) * 1024n, 0), value);
  }
}

const isOfExtent = ({ value }: Key): boolean => value[BchBackpointer.offset.level] === 0;
const memory = () => process.resourceUsage().maxRSS * 1024;

const before = memory();
const started = cpuMs();
const { parts, nodeCount } = replaceBtrees(writer, [{ btree: 'backpointers', keys: synthetic }]);
const spentMs = Math.round(cpuMs() - started);
const peak = memory();

let keyCount = 0;
let isSame = true;
const expected = synthetic();
for (const key of writer.filesystem.btree('backpointers').keys()) {
  if (!isOfExtent(key)) continue;
  const { value } = expected.next();
  isSame &&= value !== undefined && Buffer.compare(positionAndValue(key), positionAndValue(value)) === 0;
  keyCount++;
}
isSame &&= expected.next().done === true;
device.close();
const result: BuiltBackpointers = { keyCount, isSame, parts, nodeCount, memoryBytes: { before, peak }, cpuMs: spentMs };
process.stdout.write(JSON.stringify(result));

function positionAndValue({ k, value }: Key): Uint8Array {
  const bytes = new Uint8Array(20 + value.length);
  bytes.set(new Uint8Array(k.p.slice().buffer));
  bytes.set(value, 20);
  return bytes;
}
