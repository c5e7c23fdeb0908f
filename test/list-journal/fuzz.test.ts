// Damaged and hostile journals: whatever is in the journal's buckets, reading and printing it ends in a value or in one of the errors
// that core throws on purpose, soon, and without an output out of proportion. In half of the mutants entries get a right checksum
// again, since what has a wrong one is read with more suspicion.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import {
  addAccounting,
  type BlockDevice,
  CorruptError,
  DeviceError,
  encryptionOf,
  IncompatibleError,
  type JournalReading,
  JSET,
  Jset,
  jsetBytes,
  jsetEntryJson,
  type MemberSet,
  MemoryDevice,
  masterKey,
  members,
  OverlayDevice,
  openMembers,
  readBytes,
  readJournal,
  readReplayState,
  sealVstruct,
  sectorsToBytes,
  UsageError,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { listJournalCommand } from '@bcachefs-ts/dump';
import { describe, expect, test } from 'vitest';
import { logEntry, MadeJournal, rootEntry, subEntry } from '../support/hand-made-journal.ts';
import { testImageContents, testImages } from '../support/images.ts';
import { sized } from '../support/long.ts';
import { cpuMs, patient } from '../support/patience.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';

const SLOWEST_MS = 5000;
const LONGEST_OUTPUT = 64 * 2 ** 20;
const LARGEST_GROWTH_BYTES = 512 * 2 ** 20;
const MUTANTS = sized(400, 400, 5_000);

/** A journal to damage: its members, the key, and where its entries are. */
interface Original {
  readonly set: MemberSet;
  readonly key: Uint8Array | undefined;
  readonly entries: JournalReading['entries'];
}

function originalOf(set: MemberSet, passphrase: string | undefined): Original {
  const { sb } = set.newest;
  const key = encryptionOf(sb) === 'none' ? undefined : masterKey(sb, new TextEncoder().encode(passphrase ?? ''));
  return { set, key, entries: readJournal(set, key).entries };
}

function handMade(): MemberSet {
  const made = new MadeJournal([256, 64]);
  const accounting = subEntry('btree_keys', [{ inode: 0, type: 'accounting', version: 1, value: [5n] }], { btree: 20 });
  const keys = (inode: number) => subEntry('btree_keys', [{ inode }, { inode: inode + 1 }], { btree: 19 });
  made.writeAll([
    { seq: 1, entries: [logEntry('one'), keys(1), accounting] },
    {
      seq: 2,
      noFlush: true,
      entries: [logEntry('two'), keys(2), accounting, subEntry('blacklist_v2', new Uint8Array(16))],
    },
    { seq: 3, lastSeq: 1, entries: [rootEntry(1), rootEntry(19, 1), subEntry('clock', new Uint8Array(16))] },
  ]);
  made.writeAll(
    [
      { seq: 2, noFlush: true, entries: [logEntry('other copy')] },
      { seq: 4, lastSeq: 1 },
    ],
    { dev: 1 },
  );
  return made.set;
}

const originals: readonly Original[] = [
  originalOf(handMade(), undefined),
  ...testImages.map(({ name, passphrase }) =>
    originalOf(openMembers(testImageContents(name).map(contents => MemoryDevice.from(contents))), passphrase),
  ),
];

/** The same members, with damage lying over them in memory. */
function mutate({ set, entries }: Original, random: Random): MemberSet {
  const devices = set.members.map(member => new OverlayDevice(member.device));
  const copies = set.members.map((member, i): MemberSet['newest'] => ({ ...member, device: devices[i]! }));
  for (let count = 1 + random.below(4); count > 0; count--) {
    const entry = random.pick(entries);
    const ptr = random.pick(entry.ptrs);
    const copy = copies.find(({ sb }) => sb.dev_idx === ptr.dev)!;
    const offset = sectorsToBytes(ptr.sector);
    const bytes = readBytes(copy.device, offset, entry.sizeBytes);
    damage(bytes, random);
    if (random.below(2) === 0) reseal(bytes);
    // Sometimes a torn write, or a write to the wrong place.
    const length = random.below(8) === 0 ? 512 * random.below(Math.ceil(bytes.length / 512)) : bytes.length;
    const isAstray = random.below(16) === 0;
    const at = isAstray ? anyJournalBlock(set, ptr.dev, entries, random) : offset;
    copy.device.write(at, bytes.subarray(0, Math.min(length, copy.device.sizeBytes - at)));
  }
  return { ...set, members: copies, newest: copies[set.members.indexOf(set.newest)]! };
}

function anyJournalBlock(set: MemberSet, dev: number, entries: Original['entries'], random: Random): number {
  const onMember = entries.flatMap(entry => entry.ptrs).filter(ptr => ptr.dev === dev);
  const bucketSectors = members(set.newest.sb)[dev]!.bucket_size;
  const ptr = random.pick(onMember);
  const block = set.newest.sb.block_size;
  return sectorsToBytes(ptr.sector - ptr.bucketOffsetSectors + block * random.below(bucketSectors / block));
}

/** The interesting places are headers: of the entry, of sub-entries, of keys; all of them lie at multiples of 8. */
function damage(bytes: Uint8Array, random: Random): void {
  for (let count = 1 + random.below(6); count > 0; count--) {
    const within = random.below(4) === 0 ? Jset.size : bytes.length;
    const at = Jset.offset.magic + random.below(within - Jset.offset.magic);
    switch (random.below(4)) {
      case 0:
        bytes[at]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at & ~7] = random.pick([0, 1, 4, 5, 6, 7, 13, 127, 255]);
        break;
      case 2:
        bytes.fill(random.pick([0, 0xff]), at, at + 1 + random.below(16));
        break;
      default:
        bytes[(at & ~7) + random.below(8)] = random.below(256);
    }
  }
  if (random.below(8) !== 0) viewOf(bytes).setUint32(Jset.offset.u64s, (bytes.length - Jset.size) / 8, true);
}

/** As a hostile writer would: the checksum fits what is there. Types that need a key stay wrong. */
function reseal(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  const type = JSET.csumType(view.getUint32(Jset.offset.flags, true));
  const length = Math.min(bytes.length, jsetBytes({ u64s: view.getUint32(Jset.offset.u64s, true) }));
  if ([0, 1, 2, 5, 6, 7].includes(type)) sealVstruct(type, bytes.subarray(0, length));
}

const isTyped = (thrown: unknown) =>
  thrown instanceof CorruptError ||
  thrown instanceof IncompatibleError ||
  thrown instanceof DeviceError ||
  thrown instanceof UsageError;

function attempt(use: () => void): void {
  try {
    use();
  } catch (thrown) {
    if (!isTyped(thrown)) throw thrown;
  }
}

/** Does everything with a journal that can be done with it. */
function exercise(set: MemberSet, key: Uint8Array | undefined): number {
  let length = 0;
  attempt(() => {
    const reading = readJournal(set, key);
    for (const entry of reading.entries) {
      attempt(() => {
        for (const sub of reading.read(entry).entries) length += plainText(jsetEntryJson(sub)).length;
      });
    }
  });
  attempt(() => {
    const { overlay, roots, blacklist, problems } = readReplayState(set, key);
    expect(problems.length).toBeLessThan(3000);
    for (let btree = 0; btree < 64; btree++) {
      for (const { key: newest, deltas } of overlay.keysOf(btree, 0)) {
        length += newest.value.length;
        if (deltas !== undefined) addAccounting(undefined, deltas);
      }
    }
    blacklist.has(roots.size);
  });
  return length;
}

const plainText = (value: unknown) => JSON.stringify(value, (_key, one) => (typeof one === 'bigint' ? `${one}` : one));

describe('mutated journals', () => {
  const seed = testSeed();

  test(`${MUTANTS} mutants end in a value or a typed error (TEST_SEED=${seed})`, { timeout: patient(900_000) }, () => {
    const random = randomFrom(seed);
    const before = process.memoryUsage().rss;
    for (let nr = 0; nr < MUTANTS; nr++) {
      const original = random.pick(originals);
      const mutant = mutate(original, random);
      const started = cpuMs();
      let length: number;
      try {
        length = exercise(mutant, original.key);
      } catch (cause) {
        throw new Error(
          `mutant ${nr} of TEST_SEED=${seed}: ${cause instanceof Error ? cause.message : String(cause)}`,
          {
            cause,
          },
        );
      }
      expect(cpuMs() - started, `time of mutant ${nr}`).toBeLessThan(SLOWEST_MS);
      expect(length, `output of mutant ${nr}`).toBeLessThan(LONGEST_OUTPUT);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(LARGEST_GROWTH_BYTES);
  });

  test(`the command prints mutants, or says what is wrong (TEST_SEED=${seed})`, {
    timeout: patient(300_000),
  }, async () => {
    const random = randomFrom(seed + 1);
    const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-journal-fuzz-'));
    try {
      for (let nr = 0; nr < MUTANTS / 20; nr++) {
        // Those of one member and without a passphrase: each is written to a file.
        const original = random.pick(originals.slice(1).filter(({ set, key }) => set.members.length === 1 && !key));
        const mutant = mutate(original, random);
        const file = join(scratch, 'mutant.img');
        writeFileSync(file, contentsOf(mutant.newest.device));
        const { exitCode, stderr } = await runCli(listJournalCommand, ['--all', '--blacklisted', file]);
        expect([0, 3, 4], `mutant ${nr} of TEST_SEED=${seed}: ${stderr}`).toContain(exitCode);
      }
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });

  test('a mutant is not always refused: the decoders are reached', () => {
    const random = randomFrom(1);
    let replayed = 0;
    for (let nr = 0; nr < 100; nr++) {
      const original = random.pick(originals);
      const before = original.entries.length;
      attempt(() => {
        if (readJournal(mutate(original, random), original.key).entries.length >= before - 1) replayed++;
      });
    }
    expect(replayed).toBeGreaterThan(30);
  });
});

const contentsOf = (device: BlockDevice) => readBytes(device, 0, device.sizeBytes);
