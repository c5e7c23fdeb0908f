// list_journal: prints the journal, oldest entry first. Reads only; the btrees are not looked at, so that it works where they are lost.

import {
  type Context,
  defineStreamCommand,
  devicesPositional,
  filesystemOptions,
  findMembersForReading,
  parseBoolean,
  passphraseFor,
} from '@bcachefs-ts/command';
import {
  allSubEntries,
  bkeyText,
  btrees,
  CorruptError,
  DeviceError,
  encryptionOf,
  Filesystem,
  filteredSubEntries,
  findMasterKey,
  isDatetime,
  isPrintedKeys,
  type JournalEntry,
  type JournalReading,
  type JsetEntries,
  type JsetEntry,
  jsetEntryJson,
  jsetEntryText,
  jsetEntryTypes,
  keysOf,
  locationText,
  type MemberSet,
  missingBetween,
  NO_REPLAY,
  type PosRange,
  PrintBuffer,
  parsePosRanges,
  readJournal,
  releaseForVersion,
  type ShownSubEntry,
  type Signed,
  type TransactionFilter,
  touches,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { parseBtrees, parseFunctions, parseSeqBounds, type SeqBounds } from './arguments.ts';
import { headerText, type JournalTextContext, journalEntrySectors, starred, subEntryText } from './text.ts';

/** What is printed one after another. */
type Item = MissingItem | EntryItem;

interface MissingItem {
  readonly kind: 'missing';
  /** Inclusive. */
  readonly first: number;
  readonly last: number;
  /** Whether a replay needs them. */
  readonly isDirty: boolean;
}

interface EntryItem {
  readonly kind: 'entry';
  readonly entry: JournalEntry;
  readonly isBlacklisted: boolean;
  /** Undefined where only headers are asked for. */
  readonly shown: readonly ShownSubEntry[] | undefined;
  readonly datetimeOnly: boolean;
  readonly values: boolean;
  readonly offsets: boolean;
  readonly highlight: Signed<PosRange> | undefined;
  readonly context: JournalTextContext;
}

const filtering = 'Transactions';

export const listJournalCommand = defineStreamCommand({
  name: 'list_journal',
  summary: 'Print the contents of the journal',
  description:
    'Prints journal entries with everything in them, oldest first: by default those from the last gap in the sequence on.\n\n' +
    'Entries that were never flushed, were torn by a crash, or whose numbers are blacklisted do not count at a mount; ' +
    '--blacklisted shows them, with stars.',
  examples: [
    { command: 'bcachefs list_journal --all disk.img', does: 'Prints every entry that is still there' },
    { command: 'bcachefs list_journal --headers_only a.img b.img', does: 'Prints where each entry is, on two members' },
    {
      command: 'bcachefs list_journal --transaction=bch2_create --btree=dirents disk.img',
      does: 'Prints the names that were created',
    },
    { command: 'bcachefs list_journal --key=inodes:0:4096 disk.img', does: 'Prints what happened to one inode' },
    { command: 'bcachefs list_journal --json --nr_entries=1 disk.img', does: 'Prints the newest entry as JSON' },
  ],
  positionals: devicesPositional,
  options: {
    all: { type: 'flag', alias: 'a', help: 'print the whole journal, not only from its last gap on' },
    dirty_only: { type: 'flag', alias: 'd', help: 'print only entries that a replay would read' },
    nr_entries: { type: 'number', alias: 'n', min: 1, help: 'how many entries to print, counted from the newest' },
    seq: {
      type: 'string',
      alias: 's',
      value: 'SEQ[..SEQ]',
      parse: parseSeqBounds,
      help: 'print this entry, or the entries of this range',
    },
    blacklisted: { type: 'flag', alias: 'B', help: 'print entries that do not count too' },
    flush_only: { type: 'flag', alias: 'F', help: 'print only entries that were flushed' },
    datetime: { type: 'flag', alias: 'D', help: 'print only when each entry was written' },
    headers_only: { type: 'flag', alias: 'H', help: 'print only the headers of entries' },
    offset: { type: 'flag', alias: 'o', help: 'print the place of each sub-entry, in u64s' },
    bkey_val: {
      type: 'string',
      alias: 'V',
      value: 'YES|NO',
      parse: parseBoolean,
      hints: ['yes', 'no'],
      help: 'print the values of keys (yes by default)',
    },
    verbose: { type: 'flag', alias: 'v', help: 'say on stderr what the journal of each member is like' },
    btree: {
      type: 'string',
      alias: 'b',
      value: '[+-]BTREES',
      parse: parseBtrees,
      hints: btrees.rows.flatMap(({ name }) => [name, `-${name}`]),
      heading: filtering,
      help: 'only those that update (-: something else than) these btrees, and only these keys of them',
    },
    transaction: {
      type: 'string',
      alias: 't',
      value: '[+-]FUNCTIONS',
      parse: parseFunctions,
      heading: filtering,
      help: 'only those of (-: not of) these functions',
    },
    key: {
      type: 'string',
      alias: 'k',
      value: '[+-]POSITIONS',
      parse: parsePosRanges,
      heading: filtering,
      help: 'only those that touch (-: do not touch) BTREE:INODE:OFFSET, or a range of two of these with - between',
    },
    log_only: { type: 'flag', alias: 'L', heading: filtering, help: 'only those with log messages' },
    log: {
      type: 'flag',
      alias: 'l',
      heading: filtering,
      help: 'those of nothing but log messages too, when others are left out',
    },
    all_headers: {
      type: 'flag',
      heading: filtering,
      help: 'print headers of entries without any such transaction too',
    },
    ...filesystemOptions,
  },
  async *run(context, args): AsyncGenerator<Item> {
    const set = findMembersForReading(context, args);
    try {
      const key = await keyOf(context, set, args.passphrase_file);
      const reading = readJournal(set, key);
      reportProblems(context, reading, args.verbose);
      yield* selectedItems(context, reading, args, contextOf(set, key));
    } finally {
      for (const { device } of set.members) device.close();
    }
  },
  text(item, out) {
    if (item.kind === 'missing') {
      const rest = item.isDirty ? '' : ' (not dirty)';
      out.line(`missing ${item.last - item.first + 1} entries at ${item.first}-${item.last}${rest}`);
      return;
    }
    const { entry, isBlacklisted, context } = item;
    if (item.datetimeOnly) {
      out.line(datetimeText(item));
      return;
    }
    const write = (text: string) => out.write(isBlacklisted ? starred(text) : text);
    write(headerText(entry, isBlacklisted, context));
    for (const sub of item.shown ?? []) {
      const text = subEntryText(sub, item, context);
      write(touches(item.highlight, sub.entry) ? `${out.color.red(text.trimEnd())}\n` : text);
    }
  },
  json(item) {
    if (item.kind === 'missing') {
      return { kind: 'missing', first_seq: item.first, last_seq: item.last, dirty: item.isDirty };
    }
    const { entry, context } = item;
    return {
      kind: 'entry',
      seq: entry.seq,
      use: item.isBlacklisted ? 'blacklisted' : entry.use,
      bytes: entry.sizeBytes,
      sectors: journalEntrySectors(entry, context.blockSectors),
      version: entry.version,
      last_seq: entry.lastSeq,
      flush: entry.isFlush,
      checksum_good: entry.checksumGood,
      ptrs: entry.ptrs.map(ptr => ({
        device: context.memberName(ptr.dev),
        dev: ptr.dev,
        journal_bucket: ptr.bucketIndex,
        bucket_offset_sectors: ptr.bucketOffsetSectors,
        sector: ptr.sector,
        checksum_good: ptr.checksumGood,
      })),
      ...(item.shown === undefined ? {} : { entries: item.shown.map(sub => subEntryJson(sub, item)) }),
    };
  },
});

/** What the options ask for. */
interface Request {
  readonly all: boolean;
  readonly dirty_only: boolean;
  readonly nr_entries: number | undefined;
  readonly seq: SeqBounds | undefined;
  readonly blacklisted: boolean;
  readonly flush_only: boolean;
  readonly datetime: boolean;
  readonly headers_only: boolean;
  readonly offset: boolean;
  readonly bkey_val: boolean | undefined;
  readonly btree: Signed<number> | undefined;
  readonly transaction: Signed<string> | undefined;
  readonly key: Signed<PosRange> | undefined;
  readonly log_only: boolean;
  readonly log: boolean;
  readonly all_headers: boolean;
}

function* selectedItems(
  context: Context,
  reading: JournalReading,
  request: Request,
  textContext: JournalTextContext,
): Generator<Item> {
  const filter = filterOf(request);
  for (const item of entriesAndGaps(reading, boundsOf(reading, request))) {
    if (item.kind === 'missing') {
      yield item;
      continue;
    }
    const { entry } = item;
    const isBlacklisted = entry.use === 'blacklisted' || reading.blacklist.has(entry.seq);
    if (isBlacklisted && !request.blacklisted) continue;
    if (request.flush_only && !entry.isFlush) continue;
    const shown = shownOf(context, reading, entry, request, filter);
    if (filter !== undefined && shown?.length === 0 && !request.all_headers && !request.datetime) continue;
    yield {
      kind: 'entry',
      entry,
      isBlacklisted,
      shown,
      datetimeOnly: request.datetime,
      values: request.bkey_val ?? true,
      offsets: request.offset,
      highlight: request.key,
      context: textContext,
    };
  }
}

/** Undefined when nothing asks for a filter. */
function filterOf({ btree, transaction, key, log_only, log }: Request): TransactionFilter | undefined {
  if (btree === undefined && transaction === undefined && key === undefined && !log_only) return undefined;
  return { btrees: btree, functions: transaction, keys: key, logOnly: log_only, withLogs: log };
}

function boundsOf(reading: JournalReading, { all, dirty_only, nr_entries, seq }: Request): SeqBounds {
  const first = Math.max(
    all || seq !== undefined ? 0 : startOfLastRun(reading),
    dirty_only ? (reading.replayRange?.first ?? 0) : 0,
    nr_entries === undefined ? 0 : reading.nextSeq - nr_entries,
    seq?.first ?? 0,
  );
  return { first, last: seq?.last ?? Number.MAX_SAFE_INTEGER };
}

/** Undefined where headers are enough: the entry is not read then. */
function shownOf(
  context: Context,
  reading: JournalReading,
  entry: JournalEntry,
  request: Request,
  filter: TransactionFilter | undefined,
): readonly ShownSubEntry[] | undefined {
  if (request.datetime) {
    const all = allSubEntries(readContents(context, reading, entry));
    return all.filter(sub => isDatetime(sub.entry)).slice(0, 1);
  }
  if (filter !== undefined) return filteredSubEntries(readContents(context, reading, entry), filter);
  return request.headers_only ? undefined : allSubEntries(readContents(context, reading, entry));
}

async function keyOf(context: Context, set: MemberSet, file: string | undefined): Promise<Uint8Array | undefined> {
  const encryption = encryptionOf(set.newest.sb);
  if (encryption === 'none') return undefined;
  const passphrase = encryption === 'passphrase' ? await passphraseFor(context, file) : undefined;
  const found = findMasterKey(set, passphrase);
  if (found === undefined) throw new UsageError('wrong passphrase', undefined, 'wrong_passphrase');
  for (const one of found.findings) context.warn(one.text());
  return found.key;
}

/** Where the entries begin that follow each other up to the newest. Mirrors the default of cmd_list_journal. */
function startOfLastRun({ entries, blacklist }: JournalReading): number {
  const [oldest] = entries;
  return oldest === undefined ? 0 : (missingBetween(entries, oldest.seq, blacklist).at(-1)?.end ?? 0);
}

/** The entries of a range of sequence numbers, and the gaps between them. */
function* entriesAndGaps(
  { entries, blacklist, replayRange }: JournalReading,
  { first, last }: SeqBounds,
): Generator<MissingItem | { readonly kind: 'entry'; readonly entry: JournalEntry }> {
  let expected: number | undefined;
  for (const entry of entries) {
    if (entry.seq < first || entry.seq > last) continue;
    for (const { start, end } of blacklist.gaps(expected ?? entry.seq, entry.seq)) {
      yield { kind: 'missing', first: start, last: end - 1, isDirty: end >= (replayRange?.first ?? 0) };
    }
    yield { kind: 'entry', entry };
    expected = entry.seq + 1;
  }
}

/** What cannot be read is reported, and the rest goes on. */
function readContents(context: Context, reading: JournalReading, entry: JournalEntry): readonly JsetEntry[] {
  let contents: JsetEntries;
  try {
    contents = reading.read(entry);
  } catch (thrown) {
    if (!(thrown instanceof DeviceError || thrown instanceof CorruptError)) throw thrown;
    context.warn(`journal entry ${entry.seq}: ${thrown.message}`);
    return [];
  }
  if (contents.damage !== undefined) context.warn(`journal entry ${entry.seq}: ${contents.damage.detail}`);
  return contents.entries;
}

function reportProblems(context: Context, reading: JournalReading, verbose: boolean): void {
  for (const { where, detail } of reading.problems) {
    context.warn([locationText(where), detail].filter(Boolean).join(': '));
  }
  if (reading.problemsNotListed > 0) context.warn(`${reading.problemsNotListed} more problems`);
  for (const index of reading.membersSkipped)
    context.warn(`member ${index} is neither rw nor ro: its journal is not read`);
  if (!verbose) return;
  const { entries, replayRange } = reading;
  const replay = replayRange === undefined ? 'nothing to replay' : `replay ${replayRange.first}-${replayRange.last}`;
  context.warn(`${entries.length} entries, ${entries[0]?.seq ?? 0}-${entries.at(-1)?.seq ?? 0}; ${replay}`);
}

/** Names and sizes that the text of keys needs; the btrees are not opened. */
function contextOf(set: MemberSet, key: Uint8Array | undefined): JournalTextContext {
  const context = new Filesystem(set, NO_REPLAY, key).textContext();
  const { sb } = set.newest;
  const names = new Map(set.members.map(member => [member.sb.dev_idx, fileName(member.device.name)]));
  return {
    ...context,
    style: context.style ?? releaseForVersion(sb.version),
    dateTime: seconds => context.dateTime?.(seconds) ?? `${seconds}`,
    blockSectors: sb.block_size,
    memberName: index => names.get(index),
  };
}

const fileName = (path: string) => path.slice(path.lastIndexOf('/') + 1);

function datetimeText({ entry, isBlacklisted, shown, context }: EntryItem): string {
  const out = new PrintBuffer();
  out.print(`${isBlacklisted ? 'blacklisted ' : ''}journal entry     ${`${entry.seq}`.padEnd(8)} `);
  const datetime = shown?.[0];
  if (datetime !== undefined) jsetEntryText(out, datetime.entry, context);
  return out.toString();
}

function subEntryJson({ entry, offsetU64s }: ShownSubEntry, { values, offsets, context }: EntryItem): object {
  const place = offsets ? { offset_u64s: offsetU64s } : {};
  if (values || !isPrintedKeys(entry)) return { ...place, ...objectOf(jsetEntryJson(entry, context)) };
  return {
    ...place,
    type: jsetEntryTypes.nameOf(entry.type),
    btree: btrees.nameOf(entry.btree_id),
    level: entry.level,
    keys: keysOf(entry).map(({ k }) => bkeyText(k)),
  };
}

/** jsetEntryJson gives an object; its type does not say so. */
const objectOf = (value: unknown): object => (typeof value === 'object' && value !== null ? value : { value });
