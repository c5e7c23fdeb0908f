// A full member that is made larger, cut off at every write: the files are what they were, the filesystem is as large as it was or as it is to
// be, and asking for the same again completes it. In between, the new buckets are in no list, or a superblock copy has two places.

import {
  checkInvariants,
  FileEdit,
  type Filesystem,
  type FilesystemWriter,
  findingText,
  getBits,
  growMember,
  loadChecksums,
  type MemoryDevice,
  members,
  NoSpaceError,
  sbBits,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { type CommitOptions, writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isSoak, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`cut off while growing: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const text = new TextEncoder();
const TOP = 'changed here';
const BUCKET_BYTES = 16 * 1024;

/** Of buckets for a superblock copy, before it counts or after. */
const WITH_OTHER_PLACE = ['alloc_key_data_type_wrong', 'alloc_key_dirty_sectors_wrong'];
/** Of buckets that have just come. */
const WITHOUT_END = ['freespace_hole_missing', 'freespace_key_wrong', 'accounting_mismatch'];

const rulesOf = (filesystem: Filesystem) => checkInvariants(filesystem).findings;
const bucketsOf = (filesystem: Filesystem, dev: number) => members(filesystem.sb)[dev]!.nbuckets;

/** Small files, and then data until nothing more goes in. */
function fill(writer: FilesystemWriter, options: CommitOptions, model: FileModel): void {
  const edit = new FileEdit(writer, options);
  const top = edit.files.create(edit.files.root(), text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < 40; i++) model.step(edit, top);
  edit.commit();
  for (let nr = 0, sizeBytes = MIB; sizeBytes >= BUCKET_BYTES; nr++) {
    const more = new FileEdit(writer, options);
    const ref = more.files.create(more.files.root(), text.encode(`ballast ${nr}`), { mode: 0o100644 });
    try {
      more.content.write(ref, 0, new Uint8Array(sizeBytes).fill(nr + 1));
      more.commit();
    } catch (thrown) {
      if (!(thrown instanceof NoSpaceError)) throw thrown;
      sizeBytes /= 2;
    }
  }
}

function full(memberCount: number) {
  const { devices } = formattedImage({
    members: memberCount,
    sizeBytes: 12 * MIB,
    bucketBytes: BUCKET_BYTES,
    options: { btree_node_size: '16k', metadata_replicas: `${memberCount}` },
  });
  const { writer, options } = writerOn(devices, undefined, seed);
  const model = new FileModel(randomFrom(seed));
  fill(writer, options, model);
  return { devices, writer, options, model };
}

const longer = (devices: readonly MemoryDevice[], dev: number, sizeBytes: number) =>
  devices.map((device, nr) => {
    const copy = device.clone();
    if (nr === dev) copy.setSize(sizeBytes);
    return copy;
  });

describe(`power cuts (seed ${seed})`, () => {
  test.each([1, 2])('%d members', { timeout: patient(300_000) }, memberCount => {
    const dev = memberCount - 1;
    const random = randomFrom(seed);
    const { devices, writer, model } = full(memberCount);
    const before = bucketsOf(writer.filesystem, dev);
    const after = (30 * MIB) / BUCKET_BYTES;
    const expected = model.text();

    const cuts = new PowerCuts(longer(devices, dev, 30 * MIB));
    const grown = writerOn(cuts.devices, undefined, seed).writer;
    expect(growMember(grown, dev, after)).toMatchObject({ bucketCount: after, commits: 3 });
    expect(rulesOf(grown.filesystem).map(findingText)).toEqual([]);
    const everyWhole = isSoak || memberCount === 1 ? 1 : 6;
    const seen = { old: 0, 'no list': 0, 'two places': 0, new: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      const isWhole = cut.sectorsOfLast === undefined && cut.arrived === undefined;
      if (random.below(isWhole ? everyWhole : sized(18 * memberCount, 18 * memberCount, 1)) !== 0) continue;
      const left = cuts.after(cut);
      const { filesystem } = writerOn(left, undefined, seed).writer;
      const found = bucketsOf(filesystem, dev);
      expect([before, after], cutText(cut)).toContain(found);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const findings = rulesOf(filesystem);
      const isEndLost = findings.some(({ error }) => error === 'freespace_hole_missing');
      // With a superblock that calls itself clean, all is listed.
      if (isEndLost) expect([found, getBits(filesystem.sb.flags, sbBits.CLEAN)], cutText(cut)).toEqual([after, 0]);
      const allowed = isEndLost ? WITHOUT_END : found === after ? WITH_OTHER_PLACE : [];
      expect(findings.filter(({ error }) => !allowed.includes(error)).map(findingText), cutText(cut)).toEqual([]);
      seen[isEndLost ? 'no list' : found === before ? 'old' : findings.length > 0 ? 'two places' : 'new']++;

      const again = writerOn(left, undefined, seed + 1).writer;
      growMember(again, dev, after);
      expect(bucketsOf(again.filesystem, dev)).toBe(after);
      expect(rulesOf(again.filesystem).map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(again.filesystem, TOP), cutText(cut)).toEqual(expected);
      expect(growMember(again, dev, after).commits, cutText(cut)).toBe(0);
    }
    console.info(`${memberCount} members: ${cuts.count} events, ${JSON.stringify(seen)}`);
    // Where every whole cut was tried, each state was seen.
    const least = everyWhole === 1 ? 1 : 0;
    for (const count of Object.values(seen)) expect(count).toBeGreaterThanOrEqual(least);
  });
});
