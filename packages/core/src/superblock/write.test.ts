import { expect, test } from 'vitest';
import { planFormat } from '../create/plan.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { RecordingDevice } from '../device/recording-device.ts';
import { SB_SECTOR, VERSION_CURRENT_WRITTEN } from '../engine.ts';
import { seededRandom } from '../util/random.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { writeSuperblocks } from './write.ts';

const MIB = 2 ** 20;

test('the first copy is whole and flushed before another one is touched, and all others share their flushes', () => {
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
  const [sb] = plan.superblocks;
  const { sb_offset, nr_superblocks } = sb!.layout;
  expect(nr_superblocks).toBeGreaterThan(2);
  const device = new RecordingDevice(new MemoryDevice(64 * MIB, { name: 'a' }));
  writeSuperblocks([{ device, sb: sb! }]);

  const copies = sb_offset.slice(0, nr_superblocks).map(sector => sectorsToBytes(Number(sector)));
  /** Which part of which copy each write is. */
  const order = device.events.map(event => {
    if (event.kind === 'flush') return 'flush';
    const copy = copies.findIndex(at => event.offset === at || event.offset === at + 512);
    return copy < 0 ? 'layout' : `${event.offset === copies[copy] ? 'head' : 'rest'} ${copy}`;
  });
  const others = copies.map((_, copy) => copy).slice(1);
  expect(copies[0]).toBe(sectorsToBytes(SB_SECTOR));
  expect(order).toEqual([
    ...['rest 0', 'flush', 'head 0', 'layout', 'flush'],
    ...others.map(copy => `rest ${copy}`),
    'flush',
    ...others.map(copy => `head ${copy}`),
    'flush',
  ]);
});
