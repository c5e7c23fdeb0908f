import { expect, test } from 'vitest';
import { planFormat } from '../create/plan.ts';
import { readBytes } from '../device/block-device.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { RecordingDevice } from '../device/recording-device.ts';
import { VERSION_CURRENT_WRITTEN } from '../engine.ts';
import { viewOf } from '../ondisk/layout.ts';
import { BchSb, SB_SECTOR } from '../ondisk/superblock.ts';
import { seededRandom } from '../util/random.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { readSuperblock } from './read.ts';
import { superblockCopyBytes, writeSuperblocks } from './write.ts';

const MIB = 2 ** 20;

/** A filesystem on one device, to be written. */
function planned() {
  const plan = planFormat({
    devices: [
      {
        name: 'a',
        sizeBytes: 64 * MIB,
        physicalSectorBytes: 0,
        logicalSectorBytes: 512,
        durability: 1,
        discard: true,
        dataAllowed: 0b11100,
      },
    ],
    options: new Map(),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    fsLabel: '',
    now: 1_700_000_000_000_000_000n,
    random: seededRandom('copies'),
  });
  return plan.superblocks[0]!;
}

test('the first copy is whole and flushed before another one is touched, and all others share their flushes', () => {
  const sb = planned();
  const { sb_offset, nr_superblocks } = sb.layout;
  expect(nr_superblocks).toBeGreaterThan(2);
  const device = new RecordingDevice(new MemoryDevice(64 * MIB, { name: 'a' }));
  writeSuperblocks([{ device, sb }]);

  const copies = sb_offset.slice(0, nr_superblocks).map(sector => sectorsToBytes(Number(sector)));
  /** Which part of which copy each write is. */
  const order = device.events.map(event => {
    if (event.kind === 'flush') return 'flush';
    const copy = copies.findIndex(at => event.offset === at || event.offset === at + 512);
    if (copy < 0) return 'layout';
    if (event.offset !== copies[copy]) return `rest ${copy}`;
    return `${event.bytes.length > 512 ? 'whole' : 'head'} ${copy}`;
  });
  const others = copies.map((_, copy) => copy).slice(1);
  expect(copies[0]).toBe(sectorsToBytes(SB_SECTOR));
  expect(order).toEqual([
    ...['rest 0', 'flush', 'head 0', 'layout', 'flush'],
    ...others.map(copy => `whole ${copy}`),
    'flush',
  ]);
});

test('a crash while the others are written, and another one in the next write, still leave one that is whole', () => {
  const sb = { ...planned(), seq: 5 };
  const before = new MemoryDevice(64 * MIB, { name: 'a' });
  writeSuperblocks([{ device: before, sb }]);
  const cutOff = (device: MemoryDevice, seq: number, onCut: (left: MemoryDevice) => void) => {
    const recorder = new RecordingDevice(device.clone());
    writeSuperblocks([{ device: recorder, sb: { ...sb, seq } }]);
    for (let events = 0; events <= recorder.events.length; events++) {
      for (const lastWriteSectors of [0, 1, 2, 99]) {
        const left = device.clone();
        recorder.replay(left, { events, lastWriteSectors });
        onCut(left);
      }
    }
  };
  let cuts = 0;
  cutOff(before, 6, once => {
    const { seq } = readSuperblock(once).sb;
    expect([5, 6]).toContain(seq);
    cutOff(once, seq + 1, twice => {
      const { seq: found } = readSuperblock(twice).sb;
      expect([seq, seq + 1]).toContain(found);
      expect(BchSb.get(viewOf(readBytes(twice, sectorsToBytes(SB_SECTOR), BchSb.size)), 0).seq).toBe(found);
      cuts++;
    });
  });
  expect(cuts).toBeGreaterThan(500);
});

test('where the first copy is the only one that is whole, or of its number, a crash still leaves one that is', () => {
  const sb = { ...planned(), seq: 5 };
  const [, ...backups] = sb.layout.sb_offset.slice(0, sb.layout.nr_superblocks).map(Number);
  for (const fault of ['torn', 'older'] as const) {
    const before = new MemoryDevice(64 * MIB, { name: 'a' });
    writeSuperblocks([{ device: before, sb }]);
    for (const sector of backups) {
      const bad =
        fault === 'torn' ? new Uint8Array(512) : superblockCopyBytes({ ...sb, seq: sb.seq - 1 }, BigInt(sector));
      before.write(sectorsToBytes(sector) + (fault === 'torn' ? 512 : 0), bad);
    }
    const recorder = new RecordingDevice(before.clone());
    writeSuperblocks([{ device: recorder, sb: { ...sb, seq: sb.seq + 1 } }]);
    for (let events = 0; events <= recorder.events.length; events++) {
      for (const lastWriteSectors of [0, 1, 2, 99]) {
        const left = before.clone();
        recorder.replay(left, { events, lastWriteSectors });
        const { sb: found } = readSuperblock(left);
        expect([sb.seq, sb.seq + 1]).toContain(found.seq);
        // A kernel does not write over a first copy that is torn and of another number than the backup that it read.
        expect(BchSb.get(viewOf(readBytes(left, sectorsToBytes(SB_SECTOR), BchSb.size)), 0).seq).toBe(found.seq);
      }
    }
  }
});
