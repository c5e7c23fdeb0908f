// kvdb: keys looked at and edited one by one, by the names of their fields. Its words are those of src/commands/kvdb.rs, v1.39.2; what it edits
// beside them are packed fields of inodes, entries of extents, names and values, and with --raw anything below the triggers.
//
// Each command that writes is a commit of its own. Without --rw and --raw the members are opened for reading only. At a terminal the commands
// are typed one after the other, and one that fails is reported; from anywhere else the first that fails ends it.

import {
  type Context,
  defineStreamCommand,
  devicesPositional,
  type FilesystemArgs,
  filesystemOptions,
  openForLooking,
  secondsOf,
  type UndoFileArgs,
  undoFileOption,
  withMembers,
} from '@bcachefs-ts/command';
import {
  type Assignment,
  allSubEntries,
  type Bpos,
  bkeyText,
  bposText,
  btrees,
  CorruptError,
  type DamageTarget,
  DeviceError,
  Filesystem,
  filteredSubEntries,
  IncompatibleError,
  indentOf,
  type JournalReading,
  jsetEntryJson,
  jsetEntryText,
  type Key,
  type KeyFieldValue,
  keyField,
  keyJson,
  keyText,
  keyTypes,
  loadChecksums,
  NoSpaceError,
  POS_MIN,
  PrintBuffer,
  parseBtree,
  parseKeyType,
  parsePosition,
  parsePosRanges,
  putKey,
  readJournal,
  releaseForVersion,
  removeKey,
  SnapshotTable,
  SPOS_MAX,
  type Superblock,
  setSuperblockField,
  superblockField,
  systemRandom,
  UsageError,
  updateKey,
  visibleKeyAt,
  visibleKeys,
} from '@bcachefs-ts/core/engine';
import { forceOption, openTarget, withTarget } from './hand.ts';

/** One thing that a command says. */
type Item =
  | { readonly kind: 'key'; readonly btree: string; readonly key: Key; readonly text: string; readonly json: object }
  | { readonly kind: 'field'; readonly field: string; readonly value: KeyFieldValue; readonly text: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'entry'; readonly seq: number; readonly text: string; readonly entries: readonly unknown[] }
  | { readonly kind: 'edited'; readonly command: string; readonly text: string };

/** What commands work on. */
interface Session {
  readonly superblock: () => Superblock;
  /** Undefined with --nostart. */
  readonly filesystem: (() => Filesystem) | undefined;
  /** Undefined without --rw and --raw. */
  readonly target: DamageTarget | undefined;
  readonly isRaw: boolean;
  /** Undefined without --journal: reading it takes memory by its size. */
  readonly journal: (() => JournalReading) | undefined;
  readonly now: () => bigint;
  /** What reads see, where a position does not say it itself. */
  snapshot: number | undefined;
}

const HELP = `get  [-k] BTREE POS [FIELD...]           the key at exactly this position
peek [-k] BTREE POS [FIELD...]           the first key at this position or after it
peek_prev [-k] BTREE POS [FIELD...]      the last key at this position or before it
list [-k] BTREE [START [END]]            the keys of a range
update BTREE POS FIELD=VALUE...          changes fields of a key
set [-s] BTREE POS TYPE [FIELD=VALUE...] puts a whole key; TYPE deleted takes it away, with -s in its snapshot only
sb get FIELD, sb set FIELD=VALUE         a field or flag of the superblock
list_journal [-k RANGES]                 what the journal has of keys, by transaction, with --journal;
                                         RANGES are BTREE:POS or BTREE:POS-BTREE:POS, with commas between; - before them: all others
snapshot [ID|none]                       what reads see, where a position has no :SNAPSHOT
help, quit`;

export const kvdbCommand = defineStreamCommand({
  name: 'kvdb',
  summary: 'Look at keys and edit them by hand, by the names of their fields',
  description:
    'Runs the commands of -c, or else those on standard input, one a line; the first one that fails ends it. On a terminal it asks for them, ' +
    'with a history and the tab key to complete words; errors are shown, and Ctrl-D ends it. Nothing is written without --rw or --raw, except ' +
    `by sb set with --nostart. Each command that writes is one commit.\n\n${HELP}\n\n` +
    'Keys are shown as they are after the journal is replayed; nothing is written for that.\n\n' +
    'Fields are members of the structs of values (parent, children[1], min_key.offset), packed fields and flags of inodes (bi_nlink, bi_flags.unlinked), ' +
    'entries of extents (ptr[1].dev, crc32.csum_type), names and values (d_name, x_value), counters (counters[0]), the size and version of a key (k.size, ' +
    'k.version.lo), and any byte of a value (raw[3]). Values are numbers, 0x for hexadecimal ones, or names where there are names: state=will_delete.\n\n' +
    'With --rw, what follows from a change in other btrees is changed too, and keys that are not valid are refused; what an inode says of its ' +
    'extents and names is yours to edit. With --raw nothing follows and nothing is refused: that destroys filesystems, which is what it is for.',
  examples: [
    {
      command: "bcachefs kvdb -c 'get inodes 0:4096:U32_MAX' disk.img",
      does: 'Prints the inode of the root directory',
    },
    {
      command: "bcachefs kvdb -c 'get inodes 0:4096:U32_MAX bi_nlink bi_mode' disk.img",
      does: 'Prints two of its fields, a line each',
    },
    {
      command: "bcachefs kvdb --raw -c 'update inodes 0:4096:U32_MAX bi_nlink=7' disk.img",
      does: 'Makes its count wrong: something for fsck to find',
    },
    {
      command: "bcachefs kvdb --journal -c 'list_journal -k inodes:0:4096' disk.img",
      does: 'Prints what has changed the inode of the root directory',
    },
    { command: "bcachefs kvdb --nostart -c 'sb get clean' disk.img", does: 'Prints a flag of the superblock' },
  ],
  positionals: devicesPositional,
  options: {
    command: {
      type: 'string',
      alias: 'c',
      value: 'COMMAND',
      repeat: true,
      help: 'a command',
    },
    rw: { type: 'flag', help: 'let commands write, and change what follows from it too' },
    raw: { type: 'flag', help: 'let commands write anything, and change nothing that follows' },
    nostart: { type: 'flag', help: 'use superblocks only: only the sb commands work, and sb set writes' },
    journal: { type: 'flag', help: 'read the whole journal, for list_journal' },
    norecovery: {
      type: 'flag',
      hidden: true,
      help: 'taken for the sake of scripts: nothing is recovered without --rw',
    },
    force: { ...forceOption.force, help: 'with --raw: also on block devices, not only on image files' },
    ...undoFileOption,
    ...filesystemOptions,
  },
  async *run(context, args): AsyncGenerator<Item> {
    if ((args.rw || args.raw) && args.norecovery)
      throw new UsageError('not together with --rw and --raw', '--norecovery');
    await loadChecksums();
    const common = { isRaw: args.raw, journal: undefined, now: () => secondsOf(context.date()), snapshot: undefined };
    if (args.command.length === 0 && context.prompt.isAttended && !context.json) {
      yield* typed(context, args, common);
      return;
    }
    const lines = args.command.length > 0 ? args.command : await inputLines(context);
    const writes = args.rw || args.raw || (args.nostart && lines.some(line => /^\s*sb\s+set\b/.test(line)));
    if (writes) {
      // Devices are open for writing only as long as nothing waits for a reader of what is printed.
      yield* await withTarget(context, handArgs(args), systemRandom, target => [
        ...runAll(lines, writingSession(target, args, common)),
      ]);
    } else if (args.nostart) yield* superblockOnly(context, args, lines, common);
    else {
      const filesystem = await openForLooking(context, args);
      try {
        yield* runAll(lines, readingSession(filesystem, args, common));
      } finally {
        filesystem.close();
      }
    }
  },
  text(item, out) {
    out.line(item.text);
  },
  json(item) {
    switch (item.kind) {
      case 'key':
        return { kind: 'key', btree: item.btree, ...item.json };
      case 'field':
        return { kind: 'field', field: item.field, value: item.value };
      case 'entry':
        return { kind: 'entry', seq: item.seq, entries: item.entries };
      case 'edited':
        return { kind: 'edited', command: item.command };
      case 'text':
        return { kind: 'text', text: item.text };
    }
  },
});

interface Args extends FilesystemArgs, UndoFileArgs {
  readonly rw: boolean;
  readonly raw: boolean;
  readonly nostart: boolean;
  readonly journal: boolean;
  readonly force: boolean;
}

type Common = Pick<Session, 'isRaw' | 'journal' | 'now' | 'snapshot'>;

/** What can go wrong below the triggers is for images only; what follows from an edit is for devices too. */
const handArgs = (args: Args) => ({ ...args, force: args.force || !args.raw });

const writingSession = (target: DamageTarget, { nostart, journal }: Args, common: Common): Session => ({
  ...common,
  target,
  superblock: () => target.members().newest.sb,
  filesystem: nostart ? undefined : () => target.filesystem(),
  journal: journal ? () => readJournal(target.members(), target.key) : undefined,
});

function readingSession(filesystem: Filesystem, { journal }: Args, common: Common): Session {
  const { set, replay, key } = filesystem;
  // Values are shown as they stand, however wrong.
  const unjudged = new Filesystem(set, replay, key, { unvalidated: true });
  let reading: JournalReading | undefined;
  const readOnce = () => {
    reading ??= readJournal(set, key);
    return reading;
  };
  return {
    ...common,
    target: undefined,
    superblock: () => filesystem.sb,
    filesystem: () => unjudged,
    journal: journal ? readOnce : undefined,
  };
}

/** Commands that a person types, until the end of them; what fails is shown, and nothing is changed by it. */
async function* typed(context: Context, args: Args, common: Common): AsyncGenerator<Item> {
  if (args.rw || args.raw) {
    const { target, close } = await openTarget(context, handArgs(args), systemRandom);
    try {
      yield* typedIn(context, writingSession(target, args, common));
    } finally {
      close();
    }
  } else if (args.nostart) {
    const sb = withMembers(context, args, { write: false }, ({ newest }) => newest.sb);
    yield* typedIn(context, { ...common, superblock: () => sb, filesystem: undefined, target: undefined });
  } else {
    const filesystem = await openForLooking(context, args);
    try {
      yield* typedIn(context, readingSession(filesystem, args, common));
    } finally {
      filesystem.close();
    }
  }
}

async function* typedIn({ prompt }: Context, session: Session): AsyncGenerator<Item> {
  for await (const line of prompt.typedLines('kvdb> ', completionsOf)) {
    if (isQuit(line)) return;
    try {
      yield* runAll([line], session);
    } catch (thrown) {
      const isOurs =
        thrown instanceof UsageError ||
        thrown instanceof CorruptError ||
        thrown instanceof IncompatibleError ||
        thrown instanceof NoSpaceError ||
        thrown instanceof DeviceError;
      if (!isOurs) throw thrown;
      prompt.say(thrown.message);
    }
  }
}

const QUIT: readonly string[] = ['quit', 'exit', 'q'];
const isQuit = (line: string): boolean => QUIT.includes(line.trim());

/** Commands, then btrees, then key types where a key is set. */
function completionsOf(line: string): readonly string[] {
  const words = line
    .trimStart()
    .split(/\s+/)
    .filter(word => word === '' || !word.startsWith('-'));
  const last = words.at(-1) ?? '';
  const offered = (names: Iterable<string>) => [...names].filter(name => name.startsWith(last)).sort();
  const [command = ''] = words;
  if (words.length <= 1) return offered([...commands.keys(), 'quit']);
  if (words.length === 2) {
    if (command === 'sb') return offered(['get', 'set']);
    return WITH_BTREE.includes(command) ? offered(btrees.rows.map(({ name }) => name)) : [];
  }
  if (words.length === 4 && command === 'set') return offered(keyTypes.rows.map(({ name }) => name));
  return [];
}

const WITH_BTREE: readonly string[] = ['get', 'peek', 'peek_prev', 'list', 'update', 'set'];

const superblockOnly = (
  context: Context,
  args: FilesystemArgs,
  lines: readonly string[],
  common: Common,
): readonly Item[] =>
  withMembers(context, args, { write: false }, ({ newest }) => [
    ...runAll(lines, { ...common, superblock: () => newest.sb, filesystem: undefined, target: undefined }),
  ]);

async function inputLines(context: Context): Promise<readonly string[]> {
  return new TextDecoder().decode(await context.readStdin()).split('\n');
}

function* runAll(lines: readonly string[], session: Session): Generator<Item> {
  for (const line of lines) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === '' || word === undefined || word.startsWith('#')) continue;
    if (QUIT.includes(word)) return;
    const command = commands.get(word);
    if (command === undefined) throw new UsageError(`there is no command '${word.slice(0, 80)}': see help`);
    try {
      yield* command(session, rest, word);
    } catch (thrown) {
      if (thrown instanceof UsageError)
        throw new UsageError(`${line.trim().slice(0, 200)}: ${thrown.message}`, undefined, thrown.code);
      throw thrown;
    }
  }
}

type Command = (session: Session, words: readonly string[], name: string) => Iterable<Item>;

const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['get', read],
  ['peek', read],
  ['peek_prev', read],
  ['list', list],
  ['update', update],
  ['set', set],
  ['sb', superblock],
  ['snapshot', snapshot],
  ['list_journal', listJournal],
  ['help', () => [{ kind: 'text', text: HELP }]],
]);

function opened({ filesystem }: Session): Filesystem {
  if (filesystem === undefined) throw new UsageError('with --nostart only the sb commands work');
  return filesystem();
}

function writable({ target }: Session): DamageTarget {
  if (target === undefined) throw new UsageError('nothing is written without --rw or --raw');
  return target;
}

/** A position, and the snapshot that reads see it in: undefined for exactly that one. */
function place(
  session: Session,
  btree: number,
  text: string,
): { readonly pos: Bpos; readonly view: number | undefined } {
  const pos = parsePosition(text).slice();
  const isVersioned = btrees.byId(btree)?.flags.includes('snapshots') ?? false;
  const view = isVersioned && text.split(':').length === 2 ? session.snapshot : undefined;
  if (view !== undefined) pos[0] = view;
  return { pos, view };
}

function flagFirst(words: readonly string[], flag: string): readonly [isThere: boolean, rest: readonly string[]] {
  return words[0] === flag ? [true, words.slice(1)] : [false, words];
}

function* read(session: Session, words: readonly string[], name: string): Generator<Item> {
  const [keyOnly, [btreeName, posText, ...fields]] = flagFirst(words, '-k');
  if (btreeName === undefined || posText === undefined) throw new UsageError(`${name} [-k] BTREE POS [FIELD...]`);
  if (keyOnly && fields.length > 0) throw new UsageError('-k prints no fields');
  const filesystem = opened(session);
  const btree = parseBtree(btreeName);
  const { pos, view } = place(session, btree, posText);
  const found = findKey(filesystem, name, btree, pos, view);
  if (found === undefined) {
    if (fields.length > 0 || name === 'get')
      throw new UsageError(`there is no key at ${bposText(pos)}`, undefined, 'ENOENT');
    yield { kind: 'text', text: '(no key)' };
    return;
  }
  if (fields.length === 0) yield keyItem(filesystem, btree, found, keyOnly);
  for (const field of fields) {
    const value = keyField(found, field);
    yield { kind: 'field', field, value, text: typeof value === 'object' ? value.join(' ') : `${value}` };
  }
}

function findKey(
  filesystem: Filesystem,
  name: string,
  btree: number,
  pos: Bpos,
  view: number | undefined,
): Key | undefined {
  const reader = filesystem.btree(btree);
  const backward = name === 'peek_prev';
  const range = backward ? { to: pos, backward } : { from: pos };
  if (view !== undefined) {
    const table = SnapshotTable.read(filesystem);
    if (name === 'get') return visibleKeyAt(reader, table, view, pos);
    for (const key of visibleKeys(reader, table, view, range)) return key;
    return undefined;
  }
  if (name === 'get') return reader.get(pos);
  for (const key of reader.keys(range)) return key;
  return undefined;
}

function* list(session: Session, words: readonly string[]): Generator<Item> {
  const [keyOnly, [btreeName, startText = 'POS_MIN', endText = 'SPOS_MAX', ...more]] = flagFirst(words, '-k');
  if (btreeName === undefined || more.length > 0) throw new UsageError('list [-k] BTREE [START [END]]');
  const filesystem = opened(session);
  const btree = parseBtree(btreeName);
  const isRaw = [startText, endText].some(text => text.split(':').length > 2);
  const isVersioned = btrees.byId(btree)?.flags.includes('snapshots') ?? false;
  const view = isRaw || !isVersioned ? undefined : session.snapshot;
  const range = {
    from: startText === 'POS_MIN' ? POS_MIN : parsePosition(startText),
    to: endText === 'SPOS_MAX' ? SPOS_MAX : parsePosition(endText),
  };
  const reader = filesystem.btree(btree);
  const keys =
    view === undefined ? reader.keys(range) : visibleKeys(reader, SnapshotTable.read(filesystem), view, range);
  for (const key of keys) yield keyItem(filesystem, btree, key, keyOnly);
}

function keyItem(filesystem: Filesystem, btree: number, key: Key, keyOnly: boolean): Item {
  const context = filesystem.textContext();
  let text = bkeyText(key.k);
  if (!keyOnly) {
    const out = new PrintBuffer();
    keyText(out, key, context);
    text = out.toString();
  }
  const { value, ...header } = Object(keyJson(key, context));
  return { kind: 'key', btree: btrees.nameOf(btree), key, text, json: keyOnly ? header : { ...header, value } };
}

function assignments(words: readonly string[]): readonly Assignment[] {
  return words.map(word => {
    const equals = word.indexOf('=');
    if (equals < 1) throw new UsageError(`'${word.slice(0, 80)}' is not FIELD=VALUE`);
    return { field: word.slice(0, equals), value: word.slice(equals + 1) };
  });
}

/** The position of a command that writes: the exact one, with the session's snapshot where it names none. */
const exact = (session: Session, btreeName: string, posText: string) => {
  const btree = parseBtree(btreeName);
  return { btree, pos: place(session, btree, posText).pos, isRaw: session.isRaw };
};

function* update(session: Session, words: readonly string[]): Generator<Item> {
  const [btreeName, posText, ...fields] = words;
  if (btreeName === undefined || posText === undefined || fields.length === 0) {
    throw new UsageError('update BTREE POS FIELD=VALUE...');
  }
  const target = writable(session);
  opened(session);
  const key = updateKey(target, exact(session, btreeName, posText), assignments(fields));
  yield { kind: 'edited', command: 'update', text: `updated: ${bkeyText(key.k)}` };
}

function* set(session: Session, words: readonly string[]): Generator<Item> {
  const [isInSnapshot, [btreeName, posText, type, ...fields]] = flagFirst(words, '-s');
  if (btreeName === undefined || posText === undefined || type === undefined) {
    throw new UsageError('set [-s] BTREE POS TYPE [FIELD=VALUE...]');
  }
  if (isInSnapshot && type !== 'deleted') throw new UsageError('-s is for deletions only');
  if (type === 'deleted' && fields.length > 0) throw new UsageError('a key that is deleted has no fields');
  const target = writable(session);
  opened(session);
  const edit = exact(session, btreeName, posText);
  if (type === 'deleted') {
    removeKey(target, edit, isInSnapshot);
    yield { kind: 'edited', command: 'set', text: `deleted: ${bposText(edit.pos)}` };
    return;
  }
  const key = putKey(target, edit, parseKeyType(type), assignments(fields));
  yield { kind: 'edited', command: 'set', text: `set: ${bkeyText(key.k)}` };
}

function* superblock(session: Session, [what, field, ...more]: readonly string[]): Generator<Item> {
  if (field === undefined || more.length > 0) throw new UsageError('sb get FIELD, or sb set FIELD=VALUE');
  if (what === 'get') {
    const value = superblockField(session.superblock(), field);
    yield { kind: 'field', field, value, text: `${field} = ${value} (0x${value.toString(16)})` };
    return;
  }
  if (what !== 'set') throw new UsageError('sb get FIELD, or sb set FIELD=VALUE');
  const [assignment] = assignments([field]);
  setSuperblockField(writable(session), assignment!, { isRaw: session.isRaw, now: session.now() });
  yield { kind: 'edited', command: 'sb set', text: `set: ${field}` };
}

function* snapshot(session: Session, [id, ...more]: readonly string[]): Generator<Item> {
  if (more.length > 0) throw new UsageError('snapshot [ID|none]');
  if (id === undefined) {
    yield { kind: 'text', text: session.snapshot === undefined ? 'no snapshot' : `snapshot ${session.snapshot}` };
    return;
  }
  session.snapshot = id === 'none' || id === 'clear' ? undefined : parsePosition(`0:0:${id}`)[0]!;
}

/** Transactions of the journal that touch keys, by the entry that they are in. */
function* listJournal(session: Session, words: readonly string[]): Generator<Item> {
  const [isFiltered, [ranges, ...more]] = flagFirst(words, '-k');
  if (more.length > 0 || isFiltered !== (ranges !== undefined)) throw new UsageError('list_journal [-k RANGES]');
  if (session.journal === undefined) throw new UsageError('the journal was not read: --journal reads it');
  const keys = ranges === undefined ? undefined : parsePosRanges(ranges);
  const filter = { btrees: undefined, functions: undefined, keys, logOnly: false, withLogs: false };
  const reading = session.journal();
  const context = opened(session).textContext();
  const style = {
    ...context,
    style: context.style ?? releaseForVersion(session.superblock().version),
    dateTime: (seconds: bigint) => context.dateTime?.(seconds) ?? `${seconds}`,
  };
  for (const entry of reading.entries) {
    const { entries } = reading.read(entry);
    const shown = keys === undefined ? allSubEntries(entries) : filteredSubEntries(entries, filter);
    if (shown.length === 0) continue;
    const out = new PrintBuffer();
    out.print(`journal entry ${entry.seq}${entry.use === 'blacklisted' ? ' (blacklisted)' : ''}`);
    for (const { entry: sub } of shown) {
      out.newline();
      out.addIndent(2 + indentOf(sub));
      jsetEntryText(out, sub, style);
      out.removeIndent(2 + indentOf(sub));
    }
    const json = shown.map(({ entry: sub }) => jsetEntryJson(sub, style));
    yield { kind: 'entry', seq: entry.seq, text: out.toString(), entries: json };
  }
}
