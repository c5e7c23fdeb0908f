// What format puts into a filesystem: complete by every rule of the checker, whatever was asked for; what the reference's own
// initialisation leaves, where both had the same to decide; and either there or not, wherever the power goes.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BTREE_ID_MAX,
  bposText,
  btrees,
  bucketStateOf,
  CorruptError,
  checkInvariants,
  type DeviceRequest,
  decodeJournalV2,
  FileEdit,
  type Filesystem,
  FilesystemWriter,
  FileTree,
  type FormatRequest,
  filesystemOf,
  findingText,
  fsLabelText,
  getBits,
  type Key,
  loadChecksums,
  MemoryDevice,
  members,
  newJournalBuckets,
  openFilesystem,
  openMembers,
  planContents,
  planFormat,
  probeSignatures,
  sbBits,
  sectionPayload,
  seededRandom,
  superblockProblems,
  VERSION_CURRENT_WRITTEN,
  writeFormat,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { openFixture } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { formatCases, isComplete, MIB, PASSPHRASE, prepareFormat } from '../support/format-cases.ts';
import { sized } from '../support/long.ts';
import { PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

if (whyNoFixtures !== undefined) console.warn(`some tests of format skipped: ${whyNoFixtures}`);
beforeAll(loadChecksums);

const NOW = 1_700_000_000_000_000_000n;

function deviceRequest(changes: Partial<DeviceRequest> = {}): DeviceRequest {
  return {
    name: 'disk.img',
    sizeBytes: 128 * MIB,
    physicalSectorBytes: 0,
    logicalSectorBytes: 512,
    durability: 1,
    discard: false,
    dataAllowed: 0b11100,
    ...changes,
  };
}

function formatRequest(seed: string, changes: Partial<FormatRequest>): FormatRequest {
  return {
    devices: [deviceRequest()],
    options: new Map(),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    now: NOW,
    random: seededRandom(seed),
    ...changes,
  };
}

/** The devices of a request, with a filesystem on them. */
function formatted(request: FormatRequest): MemoryDevice[] {
  const devices = request.devices.map(({ name, sizeBytes }) => new MemoryDevice(sizeBytes, { name }));
  formatDevices(request, devices);
  return devices;
}

function formatDevices(request: FormatRequest, devices: readonly PowerCuts['devices'][number][]): void {
  const plan = planFormat(request);
  const contents = planContents(plan, devices, request);
  const targets = devices.map(device => ({ device, signatures: probeSignatures(device) }));
  writeFormat(plan, targets, contents);
}

const findingsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

const pathsOf = (filesystem: Filesystem): string[] =>
  [...FileTree.open(filesystem).walk()].map(({ path }) => Buffer.from(path).toString());

describe('every way to format', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-contents-'));
  writeFileSync(join(folder, 'passphrase'), `${PASSPHRASE}\n`);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const cases = formatCases.map((format, nr) => prepareFormat(format, nr, folder));

  test.each(cases)('$format.name', async ({ format, words, images }) => {
    await succeed('format', words);
    const passphrase = new TextEncoder().encode(format.passphrase);
    const filesystem = openFilesystem(images, format.passphrase === undefined ? {} : { passphrase });
    try {
      expect(findingsOf(filesystem)).toEqual([]);
      expect(filesystem.set.members.flatMap(({ sb }) => superblockProblems(sb, {}))).toEqual([]);
      if (!isComplete(format)) {
        expect(filesystem.replay.from).toBe('uninitialized');
        return;
      }
      expect(filesystem.replay).toMatchObject({ from: 'clean', lastSeq: 1 });
      expect(pathsOf(filesystem)).toEqual(['', 'lost+found']);
      for (const { sb } of filesystem.set.members) {
        const ranges = decodeJournalV2(sectionPayload(sb, 'journal_v2') ?? new Uint8Array(0));
        expect(ranges.reduce((sum, { nr }) => sum + nr, 0)).toBeGreaterThanOrEqual(8);
      }
    } finally {
      filesystem.close();
      for (const image of images) rmSync(image);
    }
  });
});

test('the journal alone says the same: a kernel that reads it finds the entry of the superblock', () => {
  const devices = formatted(
    formatRequest('journal', { devices: [deviceRequest({ name: 'a' }), deviceRequest({ name: 'b' })] }),
  );
  const { replay } = filesystemOf(openMembers(devices));
  const writer = new FilesystemWriter(openMembers(devices), {
    random: seededRandom('more'),
    now: () => 1_700_000_001n,
  });
  const edit = new FileEdit(writer, { random: seededRandom('files'), now: () => NOW });
  edit.files.create(edit.files.root(), new TextEncoder().encode('first'), { mode: 0o100644 });
  edit.commit();
  const after = filesystemOf(openMembers(devices));
  expect(replay.lastSeq).toBe(1);
  expect(after.replay.lastSeq).toBe(2);
  expect(findingsOf(after)).toEqual([]);
  expect(pathsOf(after)).toEqual(['', 'first', 'lost+found']);
});

test.each([
  ['btree nodes', 0b10100, /^no space left for 65536 bytes of metadata \(no device may take it\)$/],
  ['the journal', 0b11000, /^--data_allowed: no device may hold the journal$/],
])('devices that may not hold %s are refused before anything is written', (_, dataAllowed, message) => {
  const device = new MemoryDevice(128 * MIB);
  const request = formatRequest('refused', { devices: [deviceRequest({ dataAllowed })] });
  expect(() => formatDevices(request, [device])).toThrow(message);
  expect(device.writtenRanges()).toEqual([]);
});

describe('journal buckets', () => {
  const layoutOf = (sizeBytes: number, bucketBytes: number) =>
    planFormat(formatRequest('journal', { devices: [deviceRequest({ sizeBytes, bucketBytes })] })).geometry.devices[0]!;

  test.each([
    ['the least there are', 64 * MIB, 65536, 8],
    ['a 128th of all', 1024 * MIB, 131072, 64],
    ['8192 buckets at most', 2 ** 40, 262144, 8192],
    ['8 GiB at most', 2 ** 43, 2 * MIB, 4096],
  ])('%s', (_, sizeBytes, bucketBytes, count) => {
    const { layout, bucketCount } = layoutOf(sizeBytes, bucketBytes);
    const buckets = newJournalBuckets({ layout, bucketSizeSectors: bucketBytes / 512, bucketCount });
    expect(buckets).toHaveLength(count);
    const superblocks = layout.sb_offset.slice(0, layout.nr_superblocks).map(offset => Number(offset) * 512);
    for (const start of superblocks) {
      const end = start + 512 * 2 ** layout.sb_max_size_bits;
      expect(buckets.filter(nr => nr * bucketBytes < end && (nr + 1) * bucketBytes > start)).toEqual([]);
    }
    expect(buckets[0]).toBeGreaterThan(0);
  });
});

const plain = ({ k, value }: Key): string =>
  `${bposText(k.p)} type ${k.type} size ${k.size} ${Buffer.from(value).toString('hex')}`;

/** What both must come to: how many keys of which btrees, and the keys themselves where neither time nor place is in them. */
function comparable(filesystem: Filesystem) {
  const { sb, replay } = filesystem;
  const keys = (name: Parameters<Filesystem['btree']>[0]) => [...filesystem.btree(name).keys()];
  const counts = [...replay.roots.keys()]
    .filter(id => !PLACES.includes(btrees.nameOf(id)))
    .map(id => `${btrees.nameOf(id)} ${keys(id).length}`);
  return {
    btrees: [...replay.roots.keys()].map(id => btrees.nameOf(id)).sort(),
    counts: counts.sort(),
    flags: [sbBits.INITIALIZED, sbBits.CLEAN, sbBits.VERSION_UPGRADE_COMPLETE].map(bit => getBits(sb.flags, bit)),
    features: sb.features,
    compat: sb.compat,
    downgrade: sectionPayload(sb, 'downgrade'),
    ext: sectionPayload(sb, 'ext'),
    journals: filesystem.set.members.map(member => sectionPayload(member.sb, 'journal_v2')),
    members: members(sb).map(member => [member.nbuckets, member.bucket_size, member.flags]),
    snapshots: keys('snapshots').map(plain),
    subvolumes: keys('subvolumes').map(plain),
    trees: keys('snapshot_trees').map(plain),
    // Of buckets: superblocks and journal, which are at the same places, without times.
    buckets: keys('alloc')
      .map(key => ({ pos: bposText(key.k.p), ...bucketStateOf(key) }))
      .filter(({ dataType }) => dataType === 1 || dataType === 2)
      .map(({ readTime, writeTime, journalSeq, ...state }) => Object.values(state).join()),
    counters: keys('accounting').map(({ k, value }) => `${bposText(k.p)} ${Buffer.from(value).toString('hex')}`),
  };
}

/** A kernel writes a node several times before it is done, so its nodes lie elsewhere, and what was free is in more pieces. */
const PLACES = ['alloc', 'freespace', 'backpointers', 'need_discard', 'lru', 'accounting', 'bucket_gens'];

describe.skipIf(whyNoFixtures !== undefined)('beside the initialisation of the reference', () => {
  test('fresh-113: the same btrees, sections and keys', () => {
    const reference = openFixture('fresh-113');
    try {
      const request = formatRequest('reference', {
        devices: [deviceRequest({ bucketBytes: 131072 })],
        options: new Map([
          ['block_size', 4096],
          ['encoded_extent_max', 65536],
          ['inodes_32bit', 1],
        ]),
        superblockBytes: MIB,
      });
      const ours = filesystemOf(openMembers(formatted(request)));
      expect(comparable(ours)).toEqual(comparable(reference));
    } finally {
      reference.close();
    }
  });
});

describe('power cuts', () => {
  const seed = testSeed();
  const request = (label: string, text: string) =>
    formatRequest(`${seed} ${text}`, {
      devices: [deviceRequest({ name: 'a', sizeBytes: 16 * MIB }), deviceRequest({ name: 'b', sizeBytes: 16 * MIB })],
      options: new Map([['metadata_replicas', 2]]),
      fsLabel: label,
    });
  const blank = () => ['a', 'b'].map(name => new MemoryDevice(16 * MIB, { name }));

  /** `none`, or the label of the filesystem, which has to be whole. */
  function stateOf(devices: readonly MemoryDevice[]): string {
    try {
      const filesystem = filesystemOf(openMembers(devices));
      for (let id = 0; id < BTREE_ID_MAX; id++) for (const key of filesystem.btree(id).keys()) void key;
      expect(findingsOf(filesystem)).toEqual([]);
      return fsLabelText(filesystem.sb.label);
    } catch (thrown) {
      // No superblock, on one device or on both; or one device has the new one already.
      if (thrown instanceof CorruptError && /^(invalid_sb|bad_magic|not_a_bcachefs)/.test(thrown.error)) return 'none';
      throw thrown;
    }
  }

  test.each([
    ['empty devices', blank, ['none', 'new']],
    ['an older filesystem', () => formatted(request('old', 'before')), ['old', 'none', 'new']],
  ] as const)(`over %s: all or nothing (seed ${seed})`, (_, bases, states) => {
    const cuts = new PowerCuts(bases());
    formatDevices(request('new', 'now'), cuts.devices);
    const random = randomFrom(seed);
    const seen = new Set<string>();
    for (const cut of cuts.points(random, sized(1, 1, 8))) {
      const state = stateOf(cuts.after(cut));
      expect(states, `events ${cut.events} of ${cuts.count}`).toContain(state);
      seen.add(state);
    }
    expect([...seen].sort()).toEqual([...states].sort());
    expect(stateOf(cuts.after({ events: cuts.count }))).toBe('new');
  });
});
