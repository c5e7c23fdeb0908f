// Power cuts while a filesystem is made and filled, in several commits and cut to size at the end: the devices hold no filesystem, or what
// was there before, until the new one is there with every file.

import type { BlockDevice } from '@bcachefs-ts/core/engine';
import {
  CorruptError,
  DeviceError,
  type FileRef,
  type FormatRequest,
  filledContents,
  fsLabelText,
  loadChecksums,
  MemoryDevice,
  openMembers,
  option,
  parseOptionValue,
  planContents,
  planFormat,
  probeSignatures,
  seededRandom,
  shrinkMember,
  VERSION_CURRENT_WRITTEN,
  writeFormat,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { openOn, stateOf } from '../support/cut-states.ts';
import { sized } from '../support/long.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

beforeAll(loadChecksums);

const NOW = 1_700_000_000_000_000_000n;
const FILES = 150;

function requestFor(label: string, seed: string, members: number): FormatRequest {
  return {
    devices: Array.from({ length: members }, (_, nr) => ({
      name: `dev${nr}`,
      sizeBytes: 32 * MIB,
      physicalSectorBytes: 0,
      logicalSectorBytes: 512,
      durability: 1,
      discard: false,
      dataAllowed: 0b11100,
    })),
    options: new Map([
      ['metadata_replicas', members],
      ['btree_node_size', Number(parseOptionValue(option('btree_node_size'), '16k', '1.13'))],
    ]),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    fsLabel: label,
    now: NOW,
    random: seededRandom(seed),
  };
}

/** @returns how many commits it took */
function makeFilled(request: FormatRequest, devices: readonly BlockDevice[]): number {
  const plan = planFormat(request);
  let commits = 0;
  const contents = filledContents(plan, devices, planContents(plan, devices, request), {
    random: request.random,
    now: NOW,
    changesMax: 200,
    fill(edit) {
      const encoder = new TextEncoder();
      let folder: FileRef = edit.edit.files.root();
      for (let nr = 0; nr < FILES; nr++) {
        const { files } = edit.edit;
        if (nr % 30 === 0) folder = files.create(files.root(), encoder.encode(`folder ${nr}`), { mode: 0o40755 });
        const file = files.create(folder, encoder.encode(`file ${nr}`), { mode: 0o100644 });
        edit.edit.content.write(file, 0, new Uint8Array((nr * 997) % 40_000).fill(nr + 1));
        edit.step();
      }
      commits = edit.commits;
    },
    finish(writer) {
      if (devices.length === 1) shrinkMember(writer, 0, 'min');
    },
  });
  const targets = devices.map(device => ({ device, signatures: probeSignatures(device) }));
  writeFormat(plan, targets, contents);
  return commits + 1;
}

/** `none`, or the label of the filesystem and everything that is in it. */
function seen(devices: readonly MemoryDevice[]): string {
  try {
    const filesystem = openOn(devices);
    return `${fsLabelText(filesystem.sb.label)} ${stateOf(filesystem)}`;
  } catch (thrown) {
    // No superblock, on one device or on both; or one device has the new one already.
    if (thrown instanceof CorruptError && /^(invalid_sb|bad_magic|not_a_bcachefs)/.test(thrown.error)) return 'none';
    throw thrown;
  }
}

describe('power cuts while a filesystem is filled', () => {
  const seed = testSeed();
  const blank = (members: number) =>
    Array.from({ length: members }, (_, nr) => new MemoryDevice(32 * MIB, { name: `dev${nr}` }));
  const older = () => {
    const devices = blank(1);
    makeFilled(requestFor('old', 'before', 1), devices);
    return devices;
  };

  test.each([
    ['an empty device', () => blank(1)],
    ['two empty devices', () => blank(2)],
    ['an older filesystem', older],
  ] as const)(`over %s: all or nothing (seed ${seed})`, { timeout: patient(300_000) }, (_, bases) => {
    const before = bases();
    const cuts = new PowerCuts(before);
    expect(makeFilled(requestFor('new', `${seed}`, before.length), cuts.devices)).toBeGreaterThan(3);
    const old = seen(before);
    const whole = seen(cuts.after({ events: cuts.count }));
    expect(whole).toMatch(/^new [0-9a-f]{16}$/);
    const random = randomFrom(seed);
    const found = new Set<string>();
    const percent = sized(8, 8, 100);
    let nr = 0;
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      // The first cut is among them; and the last superblocks are where it counts.
      if (cut.events < cuts.count - 8 && nr++ % 100 >= percent) continue;
      const state = seen(cuts.after(cut));
      expect([old, 'none', whole], cutText(cut)).toContain(state);
      found.add(state);
    }
    expect([...found].sort()).toEqual([...new Set([old, 'none', whole])].sort());
  });

  test('what goes wrong with the files leaves no filesystem', () => {
    const [device] = blank(1);
    const request = requestFor('new', 'fails', 1);
    const plan = planFormat(request);
    const contents = filledContents(plan, [device!], planContents(plan, [device!], request), {
      random: request.random,
      now: NOW,
      changesMax: 10,
      fill(edit) {
        const { files } = edit.edit;
        files.create(files.root(), new TextEncoder().encode('first'), { mode: 0o100644 });
        throw new DeviceError('io', 'source', 'cannot be read');
      },
    });
    expect(() => writeFormat(plan, [{ device: device!, signatures: [] }], contents)).toThrow('cannot be read');
    expect(() => openMembers([device!])).toThrow(CorruptError);
  });
});
