// Random changes with all triggers on filesystems that a kernel made, committed by the engine into memory, again and again: after each
// commit the checker finds nothing, keys, nodes and all, and nothing that was live before was overwritten.

import {
  type BlockDevice,
  type BtreeName,
  BucketAllocator,
  bposText,
  bucketStateOf,
  type Filesystem,
  type FilesystemSource,
  FilesystemTriggers,
  FilesystemWriter,
  getBits,
  loadChecksums,
  memberAt,
  OverlayDevice,
  openMembers,
  SnapshotTable,
  sbBits,
  seededRandom,
  type Transaction,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Change, findingsIn, findingsOf, openFixture, writableFixtures } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { RandomChanges } from '../support/random-changes.ts';

const seed = testSeed();
console.info(`random changes: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const BATCHES = 3;
const STEPS = 60;
const CHECKED_EVERY = 20;

/** Counts how often a commit asks for what was added up: its rounds. */
class CountingTriggers extends FilesystemTriggers {
  rounds = 0;
  override settle(tx: Transaction): void {
    this.rounds++;
    super.settle(tx);
  }
}

describe.skipIf(whyNoFixtures !== undefined)(`random changes (seed ${seed})`, () => {
  test.each(whyNoFixtures === undefined ? writableFixtures() : [])('%s', name => {
    const random = randomFrom(seed);
    const original = openFixture(name);
    const overlays = original.set.members.map(({ device }) => new OverlayDevice(device));
    const options = { key: original.key, random: seededRandom(`${seed}`), now: () => 1_700_000_000n };
    let total = 0;
    const rounds: number[] = [];
    try {
      for (let batch = 0; batch < BATCHES; batch++) {
        const devices: BlockDevice[] = overlays.map(device => new OverlayDevice(device));
        const writer = new FilesystemWriter(openMembers(devices), options);
        const { filesystem } = writer;
        const change = beginWith(writer);
        const changes = new RandomChanges(change, random);
        for (let step = 0; step < STEPS && changes.isPossible; step++, total++) {
          changes.step();
          if (step % CHECKED_EVERY === CHECKED_EVERY - 1) expect(findingsOf(filesystem, change)).toEqual([]);
        }
        change.triggers.rounds = 0;
        const isFree = freeBuckets(filesystem);
        const wanted = textOf(change.tx, FILES);
        writer.commit({
          tx: change.tx,
          allocator: change.allocator,
          superblock: sb => change.triggers.needs.applyTo(sb),
        });
        rounds.push(change.triggers.rounds);
        expect(findingsIn(writer.filesystem)).toEqual([]);
        expect(textOf(writer.filesystem, FILES)).toEqual(wanted);
        // With what the new nodes themselves have brought.
        expect(textOf(writer.filesystem, DERIVED)).toEqual(textOf(change.tx, DERIVED));
        for (const [index, device] of devices.entries()) {
          if (!(device instanceof OverlayDevice)) continue;
          expect(overwritten(writer.filesystem, index, device, isFree)).toEqual([]);
          device.commitTo(overlays[index]!);
        }
      }
      console.info(`${name}: ${total} changes, commits of ${rounds.join(', ')} rounds`);
      expect(Math.max(...rounds)).toBeLessThan(12);
    } finally {
      original.close();
    }
  });
});

interface CountedChange extends Change {
  readonly triggers: CountingTriggers;
}

function beginWith(writer: FilesystemWriter): CountedChange {
  const { filesystem } = writer;
  const { sb } = filesystem;
  const seq = writer.nextSeq;
  const triggers = new CountingTriggers(sb, { journalSeq: seq, readClock: 1n, writeClock: 1n });
  const tx = writer.begin(triggers);
  const nodes = {
    replicas: getBits(sb.flags, sbBits.META_REPLICAS_WANT),
    target: getBits(sb.flags, sbBits.METADATA_TARGET),
  };
  return {
    tx,
    triggers,
    allocator: new BucketAllocator(filesystem, triggers, nodes),
    table: SnapshotTable.read(tx),
    seq,
  };
}

const FILES: readonly BtreeName[] = ['extents', 'inodes', 'reflink'];
const DERIVED: readonly BtreeName[] = ['alloc', 'accounting', 'backpointers', 'lru', 'freespace', 'need_discard'];

function textOf(source: Pick<FilesystemSource, 'btree'>, names: readonly BtreeName[]): string {
  const lines = names.flatMap(name =>
    [...source.btree(name).keys()].map(
      ({ k, value }) => `${name} ${bposText(k.p)} ${k.type} ${k.size} ${value.join()}`,
    ),
  );
  return lines.join('\n');
}

type IsFree = (dev: number, bucket: number) => boolean;

function freeBuckets(filesystem: Filesystem): IsFree {
  const used = new Set<string>();
  for (const key of filesystem.btree('alloc').keys()) {
    const { dirtySectors, cachedSectors, stripeSectors, dataType } = bucketStateOf(key);
    // Superblocks and journal are written in their places.
    const isMeta = dataType === 1 || dataType === 2;
    if (dirtySectors + cachedSectors + stripeSectors > 0 && !isMeta) used.add(`${key.k.p[3]}:${key.k.p[1]}`);
  }
  return (dev, bucket) => !used.has(`${dev}:${bucket}`);
}

/** Buckets that were written to although something was in them. */
function overwritten({ set }: Filesystem, index: number, device: OverlayDevice, isFree: IsFree): string[] {
  const { sb } = set.members[index]!;
  const bucketBytes = memberAt(sb, sb.dev_idx)!.bucket_size * 512;
  return device.changedRanges().flatMap(({ offset, length }) => {
    const [first, last] = [Math.floor(offset / bucketBytes), Math.floor((offset + length - 1) / bucketBytes)];
    const buckets = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    return buckets.filter(bucket => !isFree(sb.dev_idx, bucket)).map(bucket => `${sb.dev_idx}:${bucket}`);
  });
}
