// What is read from the journal: entries in order, copies joined, what counts and what does not, and what lies over the btrees. The
// journals are made by hand, so that each rule can be seen alone.

import {
  addAccounting,
  CorruptError,
  decodeKeys,
  encodeClean,
  IncompatibleError,
  type JournalReading,
  makeBpos,
  overlayIndex,
  readJournal,
  readReplayState,
  SeqBlacklist,
  type Superblock,
  sbBits,
  sectionPayload,
  versionOf,
  withBits,
  withSection,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import {
  BLOCK_SECTORS,
  keyBytes,
  logEntry,
  MadeJournal,
  type MadeKey,
  rootEntry,
  subEntry,
} from '../support/hand-made-journal.ts';

const INODES = 1;
/** Its keys are of type set, without a snapshot or a value. */
const SUBVOLUME_CHILDREN = 19;
const ACCOUNTING = 20;

const seqs = ({ entries }: JournalReading) => entries.map(entry => entry.seq);
const uses = ({ entries }: JournalReading) => Object.fromEntries(entries.map(entry => [entry.seq, entry.use]));
const errors = ({ problems }: JournalReading) => problems.map(problem => problem.error);

describe('finding entries', () => {
  test('in the order of sequence numbers, whatever bucket they are in', () => {
    const made = new MadeJournal();
    made.writeAll([{ seq: 5 }, { seq: 6 }], { bucket: 2 });
    made.writeAll([{ seq: 3 }, { seq: 4 }], { bucket: 0 });
    const reading = readJournal(made.set);
    expect(seqs(reading)).toEqual([3, 4, 5, 6]);
    expect(reading.entries[2]).toMatchObject({
      source: { dev: 0, bucketIndex: 2, bucketOffsetSectors: 0, sector: 30 * 256 },
      isFlush: true,
      checksumGood: true,
    });
    expect(reading).toMatchObject({ replayRange: { first: 6, last: 6 }, nextSeq: 7, problems: [] });
  });

  test('entries after a gap are not looked for, nor those older than the one before', () => {
    const made = new MadeJournal();
    made.writeAll([{ seq: 8 }, { seq: 9 }, { seq: 2 }, { seq: 10 }]);
    made.write({ seq: 11 }, { bucket: 1, sector: BLOCK_SECTORS });
    expect(seqs(readJournal(made.set))).toEqual([8, 9]);
  });

  test('after a wrong checksum every block is looked at', () => {
    const made = new MadeJournal();
    made.writeAll([{ seq: 1 }, { seq: 2, torn: true }, { seq: 3 }]);
    made.write({ seq: 4 }, { sector: 10 * BLOCK_SECTORS });
    const reading = readJournal(made.set);
    expect(seqs(reading)).toEqual([1, 2, 3, 4]);
    expect(reading.entries.map(entry => entry.checksumGood)).toEqual([true, false, true, true]);
  });

  test('buckets of different sizes, and an entry that fills its bucket', () => {
    const made = new MadeJournal([64, 256]);
    const big = subEntry('log', new Uint8Array(64 * 512 - 64));
    made.write({ seq: 1, entries: [big] }, { dev: 0 });
    made.write({ seq: 2 }, { dev: 0, bucket: 1 });
    made.write({ seq: 3 }, { dev: 1, bucket: 2 });
    const reading = readJournal(made.set);
    expect(seqs(reading)).toEqual([1, 2, 3]);
    expect(reading.entries[0]!.sizeBytes).toBe(64 * 512);
    expect(reading.entries[2]!.source.sector).toBe(30 * 256);
    expect(reading.read(reading.entries[0]!).entries).toHaveLength(1);
  });

  test('an entry that claims more than its bucket has is cut, and its checksum is wrong', () => {
    const made = new MadeJournal();
    made.write({ seq: 1, u64s: 2 ** 31 });
    const reading = readJournal(made.set);
    expect(errors(reading)).toContain('jset_past_bucket_end');
    expect(reading.entries[0]).toMatchObject({ sizeBytes: 256 * 512, checksumGood: false });
  });

  test('a version that cannot be read is refused by name when the entry is whole, else passed over', () => {
    const newer = new MadeJournal();
    newer.write({ seq: 1, version: 2 << 10 });
    expect(() => readJournal(newer.set)).toThrow(IncompatibleError);
    const torn = new MadeJournal();
    torn.write({ seq: 1, version: 2 << 10, torn: true });
    expect(errors(readJournal(torn.set))).toEqual(['jset_unsupported_version']);
  });

  test('in a bucket full of headers that claim the rest of it, what they claim is not read at every block', () => {
    const bucketSectors = 4096;
    const made = new MadeJournal([bucketSectors]);
    for (let sector = 0; sector < bucketSectors; sector += BLOCK_SECTORS) {
      made.write({ seq: 1, version: 5000, torn: true, u64s: (bucketSectors - sector) * 64 - 7 }, { sector });
    }
    const device = made.devices[0]!;
    const read = device.read.bind(device);
    let bytesRead = 0;
    device.read = (offset, into) => {
      bytesRead += into.length;
      read(offset, into);
    };
    expect(seqs(readJournal(made.set))).toEqual([]);
    expect(bytesRead).toBeLessThan(3 * bucketSectors * 512);
  });

  test('unknown checksum types, MACs without a key', () => {
    const made = new MadeJournal();
    made.writeAll([{ seq: 1 }, { seq: 2 }]);
    const flagsAt = 20 * 256 * 512 + 36;
    made.devices[0]!.write(flagsAt, Uint8Array.of(9));
    const reading = readJournal(made.set);
    expect(errors(reading)).toEqual(['jset_unknown_csum']);
    expect(reading.entries[0]!.checksumGood).toBe(false);
  });

  test('a journal section that cannot be, and one past the end of the device', () => {
    const start0 = new MadeJournal([256], sb => withSection(sb, 'journal_v2', new Uint8Array(16)));
    expect(errors(readJournal(start0.set))).toEqual(['invalid_sb_journal']);
    const small = new MadeJournal();
    small.write({ seq: 1 });
    small.devices[0]!.setSize(21 * 256 * 512);
    const reading = readJournal(small.set);
    expect(seqs(reading)).toEqual([1]);
    expect(errors(reading)).toEqual(['journal_read_error', 'journal_read_error']);
  });
});

describe('copies of one entry', () => {
  test('are joined', () => {
    const made = new MadeJournal([256, 64]);
    for (const dev of [1, 0]) made.write({ seq: 1, entries: [logEntry('same')] }, { dev });
    const [entry] = readJournal(made.set).entries;
    expect(entry!.ptrs.map(ptr => ptr.dev)).toEqual([0, 1]);
  });

  test.each([[[0, 1]], [[1, 0]]])('the one with the right checksum is used', ([good, bad]) => {
    const made = new MadeJournal([256, 256]);
    made.write({ seq: 1 }, { dev: good! });
    made.write({ seq: 1, torn: true }, { dev: bad! });
    const reading = readJournal(made.set);
    expect(reading.entries[0]).toMatchObject({ checksumGood: true, source: { dev: good } });
    expect(reading.problems).toEqual([]);
  });

  test('two whole ones that differ, and two on one device, are reported', () => {
    const made = new MadeJournal([256, 256]);
    made.write({ seq: 1, entries: [logEntry('one')] }, { dev: 0 });
    made.write({ seq: 1, entries: [logEntry('two')] }, { dev: 1 });
    made.write({ seq: 1, entries: [logEntry('two')] }, { dev: 1, bucket: 1 });
    const reading = readJournal(made.set);
    expect(errors(reading)).toEqual(['journal_entry_replicas_data_mismatch', 'journal_entry_dup_same_device']);
    expect(reading.entries).toHaveLength(1);
  });

  test('without checksums, the bytes are compared', () => {
    const made = new MadeJournal([256, 256, 256]);
    made.write({ seq: 1, csumType: 0, entries: [logEntry('one')] }, { dev: 0 });
    made.write({ seq: 1, csumType: 0, entries: [logEntry('one')] }, { dev: 1 });
    made.write({ seq: 1, csumType: 0, entries: [logEntry('two')] }, { dev: 2 });
    expect(errors(readJournal(made.set))).toEqual(['journal_entry_replicas_data_mismatch']);
  });
});

describe('what counts', () => {
  test('from last_seq of the newest flush to that flush', () => {
    const made = new MadeJournal();
    made.writeAll([
      { seq: 1 },
      { seq: 2, noFlush: true, lastSeq: 0 },
      { seq: 3, noFlush: true, lastSeq: 2n ** 63n },
      { seq: 4, lastSeq: 2 },
      { seq: 5, noFlush: true, lastSeq: 0 },
    ]);
    const reading = readJournal(made.set);
    expect(reading.replayRange).toEqual({ first: 2, last: 4 });
    expect(uses(reading)).toEqual({ 1: 'not dirty', 2: 'replay', 3: 'replay', 4: 'replay', 5: 'blacklisted' });
    expect(reading.problems).toEqual([]);
  });

  test('a torn newest flush is passed over, one only', () => {
    const made = new MadeJournal();
    made.writeAll([{ seq: 1 }, { seq: 2, lastSeq: 1 }, { seq: 3, torn: true }]);
    expect(readJournal(made.set).replayRange).toEqual({ first: 1, last: 2 });
    const twice = new MadeJournal();
    twice.writeAll([{ seq: 1 }, { seq: 2, lastSeq: 1, torn: true }, { seq: 3, torn: true }]);
    const reading = readJournal(twice.set);
    expect(reading.replayRange).toEqual({ first: 1, last: 2 });
    expect(errors(reading)).toEqual(['journal_entry_bad_checksum']);
  });

  test('missing entries are reported, blacklisted ones are not missed', () => {
    const made = new MadeJournal([256], withBlacklist([{ start: 4, end: 6 }]));
    made.writeAll([{ seq: 1 }, { seq: 3 }, { seq: 6 }, { seq: 9, lastSeq: 1 }]);
    const reading = readJournal(made.set);
    expect(reading.problems.map(({ error, detail }) => `${error}: ${detail}`)).toEqual([
      'journal_entries_missing: entries 2 to 2 are missing of 1 to 9',
      'journal_entries_missing: entries 7 to 8 are missing of 1 to 9',
    ]);
  });

  test('an entry of a blacklisted number is not used, and reported when it was flushed', () => {
    const made = new MadeJournal([256], withBlacklist([{ start: 2, end: 4 }]));
    made.writeAll([{ seq: 1 }, { seq: 2 }, { seq: 3, noFlush: true }, { seq: 4, lastSeq: 1 }]);
    const reading = readJournal(made.set);
    expect(uses(reading)).toEqual({ 1: 'replay', 2: 'blacklisted', 3: 'blacklisted', 4: 'replay' });
    expect(errors(reading)).toEqual(['jset_seq_blacklisted']);
  });

  test('last_seq beyond seq, nothing flushed, nothing at all', () => {
    const beyond = new MadeJournal();
    beyond.writeAll([{ seq: 1 }, { seq: 2, lastSeq: 3 }]);
    expect(readJournal(beyond.set).replayRange).toEqual({ first: 2, last: 2 });
    expect(errors(readJournal(beyond.set))).toEqual(['jset_last_seq_newer_than_seq']);
    const unflushed = new MadeJournal();
    unflushed.writeAll([{ seq: 1, noFlush: true }]);
    expect(errors(readJournal(unflushed.set))).toEqual(['dirty_but_no_journal_entries_post_drop_nonflushes']);
    const empty = readJournal(new MadeJournal().set);
    expect(empty).toMatchObject({ entries: [], replayRange: undefined, nextSeq: 0, problems: [] });
  });
});

describe('ranges of lost sequence numbers', () => {
  const blacklist = new SeqBlacklist([
    { start: 20, end: 25 },
    { start: 5, end: 10 },
    { start: 9, end: 12 },
    { start: 7, end: 7 },
  ]);

  test('are sorted and joined', () => {
    expect(blacklist.ranges).toEqual([
      { start: 5, end: 12 },
      { start: 20, end: 25 },
    ]);
    expect(blacklist.end).toBe(25);
  });

  test('have their start and not their end', () => {
    expect([4, 5, 11, 12, 19, 20, 24, 25].map(seq => blacklist.has(seq))).toEqual(
      [false, true, true, false, false, true, true, false], // biome-ignore format: one line
    );
  });

  test('what is between them', () => {
    expect(blacklist.gaps(1, 30)).toEqual([
      { start: 1, end: 5 },
      { start: 12, end: 20 },
      { start: 25, end: 30 },
    ]);
    expect(blacklist.gaps(5, 12)).toEqual([]);
    expect(blacklist.gaps(6, 6)).toEqual([]);
    expect(blacklist.gaps(11, 13)).toEqual([{ start: 12, end: 13 }]);
  });
});

describe('the overlay', () => {
  const keys = (...made: MadeKey[]) => subEntry('btree_keys', made, { btree: SUBVOLUME_CHILDREN });
  const positions = (made: MadeJournal) =>
    readReplayState(made.set)
      .overlay.keysOf(SUBVOLUME_CHILDREN, 0)
      .map(({ key, seq }) => `${key.k.p[3]}:${key.k.p[1]} v${key.k.bversion_lo} seq ${seq}`);

  test('is in the order of positions, the newest key of each', () => {
    const made = new MadeJournal();
    made.writeAll([
      { seq: 1, entries: [keys({ inode: 9, version: 1 }, { inode: 7, offset: 2, version: 1 })] },
      { seq: 2, entries: [keys({ inode: 9, version: 2 }), keys({ inode: 8, version: 1 }, { inode: 9, version: 3 })] },
      { seq: 3, entries: [rootEntry(SUBVOLUME_CHILDREN)], lastSeq: 1 },
      { seq: 4, noFlush: true, entries: [keys({ inode: 8, version: 9 })] },
    ]);
    expect(positions(made)).toEqual(['7:2 v1 seq 1', '8:0 v1 seq 2', '9:0 v3 seq 2']);
    const { overlay } = readReplayState(made.set);
    expect(overlay).toMatchObject({ size: 3, keyCount: 3, keysRead: 5 });
    const list = overlay.keysOf(SUBVOLUME_CHILDREN, 0);
    const index = (inode: number) => overlayIndex(list, makeBpos(BigInt(inode), 0n, 0));
    expect([0, 7, 8, 9, 10].map(index)).toEqual([0, 0, 1, 2, 3]);
    expect(overlay.keysOf(SUBVOLUME_CHILDREN, 1)).toEqual([]);
  });

  test('deletions stay in it, overwrites and write-buffer keys do not come into it', () => {
    const made = new MadeJournal();
    made.writeAll([
      {
        seq: 1,
        entries: [
          keys({ inode: 1 }),
          subEntry('overwrite', [{ inode: 2 }], { btree: SUBVOLUME_CHILDREN }),
          subEntry('write_buffer_keys', [{ inode: 3 }], { btree: SUBVOLUME_CHILDREN }),
          keys({ inode: 1, type: 'deleted', version: 4 }),
        ],
      },
    ]);
    expect(positions(made)).toEqual(['1:0 v4 seq 1']);
  });

  test('keys that cannot be keys are left out and reported, the others stay', () => {
    const made = new MadeJournal();
    const odd = keyBytes({ inode: 2 });
    odd[1] = 5; // format
    const bytes = [keyBytes({ inode: 1 }), odd, keyBytes({ inode: 3 })];
    const tooLong = keyBytes({ inode: 4 });
    tooLong[0] = 200;
    const payload = Uint8Array.from([...bytes, tooLong].flatMap(part => [...part]));
    made.writeAll([{ seq: 1, entries: [subEntry('btree_keys', payload, { btree: SUBVOLUME_CHILDREN })] }]);
    expect(positions(made)).toEqual(['1:0 v0 seq 1', '3:0 v0 seq 1']);
    expect(readReplayState(made.set).problems.map(problem => problem.error)).toEqual([
      'journal_entry_bkey_bad_format',
      'journal_entry_bkey_past_end',
    ]);
  });

  test('changes of accounting are added up, those that the btree holds already are not', () => {
    const made = new MadeJournal();
    const delta = (version: number, value: bigint) =>
      subEntry('btree_keys', [{ inode: 0, type: 'accounting', version, value: [value] }], { btree: ACCOUNTING });
    made.writeAll([
      { seq: 1, entries: [delta(1, 5n), delta(2, -2n)] },
      { seq: 2, lastSeq: 1, entries: [delta(3, 10n)] },
    ]);
    const { overlay } = readReplayState(made.set);
    expect(overlay).toMatchObject({ size: 1, keyCount: 3, keysRead: 3 });
    const deltas = overlay.keysOf(ACCOUNTING, 0)[0]!.deltas!;
    const base = (version: number) =>
      decodeKeys(keyBytes({ inode: 0, type: 'accounting', version, value: [100n] }))[0]!;
    const sum = (key: ReturnType<typeof base> | undefined) => {
      const { k, value } = addAccounting(key, deltas);
      return [new DataView(value.buffer).getBigInt64(0, true), k.bversion_lo];
    };
    expect(sum(undefined)).toEqual([13n, 3n]);
    expect(sum(base(0))).toEqual([113n, 3n]);
    expect(sum(base(2))).toEqual([110n, 3n]);
    expect(sum(base(3))).toEqual([100n, 3n]);
  });
});

describe('where a filesystem stands', () => {
  test('the newest root of each btree, unknown btrees too', () => {
    const made = new MadeJournal();
    made.writeAll([
      { seq: 1, entries: [rootEntry(INODES, 0, 512), rootEntry(60)] },
      { seq: 2, lastSeq: 1, entries: [rootEntry(INODES, 1, 1024), subEntry('btree_root', [], { btree: 5 })] },
    ]);
    const { from, roots, problems, lastSeq } = readReplayState(made.set);
    expect({ from, lastSeq }).toEqual({ from: 'journal', lastSeq: 2 });
    expect([...roots.values()].map(({ btree, level, seq, key }) => [btree, level, seq, key !== undefined])).toEqual([
      [INODES, 1, 2, true],
      [60, 0, 1, true],
      [5, 0, 2, false],
    ]);
    expect(problems.map(problem => problem.error)).toEqual(['journal_entry_btree_root_bad_size']);
  });

  test('bsets of entries that a crash took, and of those that a recovery passes over, do not count', () => {
    const made = new MadeJournal();
    const blacklisted = new Uint8Array(16);
    new DataView(blacklisted.buffer).setBigUint64(0, 9000n, true);
    new DataView(blacklisted.buffer).setBigUint64(8, 9001n, true);
    made.writeAll([
      { seq: 10, entries: [subEntry('blacklist_v2', blacklisted)] },
      { seq: 11, noFlush: true },
    ]);
    const { blacklist } = readReplayState(made.set);
    expect(blacklist.ranges).toEqual([
      { start: 11, end: 12 + 4096 },
      { start: 9000, end: 9002 },
    ]);
  });

  test('nothing flushed: the newest entry is the best there is', () => {
    const made = new MadeJournal();
    made.writeAll([
      { seq: 1, noFlush: true },
      { seq: 2, noFlush: true, entries: [rootEntry(INODES)] },
    ]);
    expect(readReplayState(made.set).roots.get(INODES)).toMatchObject({ seq: 2 });
  });

  test('without a clean section and without entries there is nothing to go by', () => {
    expect(() => readReplayState(new MadeJournal().set)).toThrow(CorruptError);
  });

  test('after a clean shutdown the clean section counts, and the journal when that is damaged', () => {
    const clean = {
      flags: 0,
      read_clock: 0,
      write_clock: 0,
      journal_seq: 7,
      entries: [rootEntry(3)],
      damage: undefined,
    };
    const unmounted = (sb: Superblock) => ({
      ...withSection(sb, 'clean', encodeClean(clean)),
      flags: withBits(sb.flags, sbBits.CLEAN, 1),
    });
    const made = new MadeJournal([256], unmounted);
    made.writeAll([{ seq: 7, entries: [rootEntry(INODES)] }]);
    const state = readReplayState(made.set);
    expect(state).toMatchObject({ from: 'clean', lastSeq: 7, journal: undefined, problems: [] });
    expect([...state.roots.keys()]).toEqual([3]);

    const cut = (sb: Superblock) => {
      const whole = unmounted(sb);
      return withSection(whole, 'clean', sectionPayload(whole, 'clean')!.slice(0, -16));
    };
    const damaged = new MadeJournal([256], cut);
    damaged.writeAll([{ seq: 7, entries: [rootEntry(INODES)] }]);
    const fallback = readReplayState(damaged.set);
    expect(fallback.from).toBe('journal');
    expect(fallback.problems.map(problem => problem.error)).toEqual(['sb_clean_entry_overrun']);
  });

  test('a rewind that was cut short is refused by name', () => {
    const made = new MadeJournal([256], sb => ({ ...sb, version: versionOf('per_dev_fragmentation_lru') }));
    made.writeAll([{ seq: 1, entries: [subEntry('rewind', new Uint8Array(16))] }]);
    expect(() => readReplayState(made.set)).toThrow(IncompatibleError);
  });
});

function withBlacklist(ranges: readonly { readonly start: number; readonly end: number }[]) {
  const payload = new Uint8Array(16 * ranges.length);
  const view = new DataView(payload.buffer);
  ranges.forEach(({ start, end }, i) => {
    view.setBigUint64(16 * i, BigInt(start), true);
    view.setBigUint64(16 * i + 8, BigInt(end), true);
  });
  return (sb: Superblock) => withSection(sb, 'journal_seq_blacklist', payload);
}
