// A process that dies while superblocks are written leaves the old state or the new one, on one device and on several:
// every point at which the sequence of writes can be cut is tried, and the last write is torn at each of its sectors.

import {
  type BlockDevice,
  editSuperblock,
  fsLabelText,
  groupMembers,
  isSameButForUuid,
  MemoryDevice,
  members,
  openMember,
  openMembers,
  planFormat,
  randomUuid,
  type Superblock,
  seededRandom,
  VERSION_CURRENT_WRITTEN,
  withNewUuid,
  withOption,
  writeSuperblocks,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { readBackProblems } from '../support/cut-states.ts';

const MIB = 2 ** 20;
const SECTOR_BYTES = 512;

/** The power that all devices share: so many more whole writes, then so many sectors of the next one. */
interface Power {
  writes: number;
  sectorsOfLast: number;
}

class PowerLost extends Error {}

/** A device that stops taking writes when the power goes. */
class PoweredDevice implements BlockDevice {
  readonly logicalSectorBytes = SECTOR_BYTES;
  readonly physicalSectorBytes = SECTOR_BYTES;
  readonly rotational = false;
  readonly writable = true;
  readonly name: string;
  constructor(
    readonly memory: MemoryDevice,
    readonly power: Power,
  ) {
    this.name = memory.name;
  }
  get sizeBytes(): number {
    return this.memory.sizeBytes;
  }
  read(offset: number, into: Uint8Array): void {
    this.memory.read(offset, into);
  }
  write(offset: number, from: Uint8Array): void {
    const isWhole = this.power.writes-- > 0;
    this.memory.write(offset, isWhole ? from : from.subarray(0, this.power.sectorsOfLast * SECTOR_BYTES));
    if (!isWhole) throw new PowerLost();
  }
  flush(): void {
    this.memory.flush();
  }
  close(): void {}
}

function formatted(deviceCount: number): MemoryDevice[] {
  const names = Array.from({ length: deviceCount }, (_, i) => `dev${i}`);
  const plan = planFormat({
    devices: names.map(name => ({
      name,
      sizeBytes: 64 * MIB,
      physicalSectorBytes: 0,
      logicalSectorBytes: SECTOR_BYTES,
      durability: 1,
      discard: true,
      dataAllowed: 0b11100,
    })),
    options: new Map(),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    fsLabel: 'old',
    now: 1_700_000_000_000_000_000n,
    random: seededRandom('crash'),
  });
  const devices = names.map(name => new MemoryDevice(64 * MIB, { name }));
  writeSuperblocks(devices.map((device, i) => ({ device, sb: plan.superblocks[i]! })));
  return devices;
}

/** Two things change together: a reader that sees one must see the other. */
function edited(sb: Superblock): Superblock {
  const label = new Uint8Array(32);
  label.set(new TextEncoder().encode('new'));
  return withOption({ ...sb, label }, 'errors', 3);
}

const WRITE_TIME = 1_700_000_100n;

/** What a kernel would make of the devices, by its rule for split brains (bch2_dev_in_fs). */
function assertNoSplitBrain(devices: readonly BlockDevice[]): void {
  const set = openMembers(devices);
  const known = members(set.newest.sb);
  for (const { sb } of set.members) {
    if (sb.seq === set.newest.sb.seq) expect(sb.write_time).toBe(set.newest.sb.write_time);
    const believed = known[sb.dev_idx]!.seq;
    if (believed !== 0) expect(believed).toBeGreaterThanOrEqual(sb.seq);
  }
}

describe.each([1, 3])('editing the superblocks of %i devices', deviceCount => {
  const base = formatted(deviceCount);

  test('is whole when it is finished, and each copy has it', () => {
    const devices = base.map(device => device.clone());
    editSuperblock(openMembers(devices), edited, { now: WRITE_TIME });
    const set = openMembers(devices);
    for (const { sb } of set.members) {
      expect(fsLabelText(sb.label)).toBe('new');
      expect(sb.seq).toBe(1);
    }
    assertNoSplitBrain(devices);
  });

  test('leaves the old state or the new one wherever it is cut', () => {
    const seen = new Set<string>();
    let cuts = 0;
    for (let writes = 0; ; writes++) {
      let finished = true;
      for (let sectorsOfLast = 0; sectorsOfLast <= 4; sectorsOfLast++) {
        const memories = base.map(device => device.clone());
        const power = { writes, sectorsOfLast };
        const devices = memories.map(memory => new PoweredDevice(memory, power));
        try {
          editSuperblock(openMembers(devices), edited, { now: WRITE_TIME });
        } catch (thrown) {
          if (!(thrown instanceof PowerLost)) throw thrown;
          finished = false;
        }
        const { newest, missing } = openMembers(memories);
        const state = `${fsLabelText(newest.sb.label)} ${(newest.sb.flags[0]! >> 8n) & 0xfn}`;
        expect(['old 1', 'new 3']).toContain(state);
        expect(missing).toEqual([]);
        assertNoSplitBrain(memories);
        expect(readBackProblems(openMembers(memories))).toEqual([]);
        seen.add(state);
        cuts++;
      }
      if (finished) break;
    }
    expect(seen).toEqual(new Set(['old 1', 'new 3']));
    // Layout block, the first copy in two parts, and two others on each device, five tears each, and the uncut run.
    expect(cuts).toBe((5 * deviceCount + 1) * 5);
  });

  test('a new UUID that is cut off anywhere is given to all by the same edit again', () => {
    const random = seededRandom('uuid');
    const renamed = (sb: Superblock) => withNewUuid(sb, randomUuid(random), random);
    let torn = 0;
    for (let writes = 0; ; writes++) {
      const memories = base.map(device => device.clone());
      const power = { writes, sectorsOfLast: 1 };
      const devices = memories.map(memory => new PoweredDevice(memory, power));
      let finished = true;
      try {
        editSuperblock(openMembers(devices), renamed, { now: WRITE_TIME });
      } catch (thrown) {
        if (!(thrown instanceof PowerLost)) throw thrown;
        finished = false;
      }
      if (groupMembers(memories.map(openMember)).length > 1) torn++;
      editSuperblock(openMembers(memories, isSameButForUuid), renamed, { now: WRITE_TIME + 1n });
      const { members: opened } = openMembers(memories);
      expect(new Set(opened.map(({ sb }) => `${sb.uuid} ${sb.user_uuid}`)).size).toBe(1);
      expect(opened[0]!.sb.uuid).not.toBe(openMembers(base).newest.sb.uuid);
      expect(readBackProblems(openMembers(memories))).toEqual([]);
      if (finished) break;
    }
    // Between the first members' first copies; a single device has one UUID or the other.
    expect(torn > 0).toBe(deviceCount > 1);
  });
});
