// Everything that can be read of a filesystem, as the commands do it: the journal, every btree with its text and JSON, every path with its
// attributes, all data, what is in no directory, and usage. What is lost is counted; what is thrown on purpose ends the part that it
// was thrown in, anything else comes out.

import {
  btrees,
  CorruptError,
  DataReader,
  DeviceError,
  Filesystem,
  FileTree,
  fileChunks,
  fileSize,
  IncompatibleError,
  IndirectExtents,
  jsetEntryJson,
  jsetEntryText,
  type ListRequest,
  listItems,
  type MemberSet,
  orphans,
  POS_MIN,
  PrintBuffer,
  pathsOf,
  readJournal,
  readReplayState,
  readUsage,
  SPOS_MAX,
  scrub,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { usageFields, usageText } from '@bcachefs-ts/dump';
import type { Random } from '../support/random.ts';

/** How far reading came: a fuzz test that reaches nothing tests nothing. */
export interface Reached {
  journalEntries: number;
  keys: number;
  paths: number;
  dataBytes: number;
  losses: number;
  counters: number;
}

/** Losses that one reading may report: each costs memory where they are kept. */
const LOSSES_MAX = 100_000;

/** Each may go over all names. */
const SEARCHES = 20;

export function isTyped(thrown: unknown): boolean {
  return [CorruptError, DeviceError, IncompatibleError, UsageError].some(kind => thrown instanceof kind);
}

/** @param key the master key of an encrypted filesystem */
export function readEverything(set: MemberSet, key: Uint8Array | undefined, random: Random): Reached {
  const reached: Reached = { journalEntries: 0, keys: 0, paths: 0, dataBytes: 0, losses: 0, counters: 0 };
  const attempt = (part: () => void): void => {
    try {
      part();
    } catch (thrown) {
      if (!isTyped(thrown)) throw thrown;
    }
  };
  const onDamage = (): void => {
    if (++reached.losses > LOSSES_MAX) throw new Error(`more than ${LOSSES_MAX} losses`);
  };
  attempt(() => {
    const filesystem = new Filesystem(set, readReplayState(set, key), key);
    attempt(() => readJournalOf(filesystem, reached));
    attempt(() => listAll(filesystem, reached, random, onDamage));
    attempt(() => readFiles(filesystem, reached, random, onDamage));
    attempt(() => {
      const usage = readUsage(filesystem, onDamage);
      usageText(usage, { fields: new Set(usageFields), human: true });
      reached.counters += usage.counters.length;
    });
    attempt(() => scrubAll(filesystem));
  });
  return reached;
}

/** What it finds is not counted among the losses: most copies of a damaged filesystem are met again. */
function scrubAll(filesystem: Filesystem): void {
  const report = scrub(filesystem, {
    onFinding(finding) {
      if (finding.kind === 'lost') for (const { paths } of finding.files) plain(paths.length);
      plain(finding.damage.text());
    },
  });
  plain(report);
}

function readJournalOf(filesystem: Filesystem, reached: Reached): void {
  const reading = readJournal(filesystem.set, filesystem.key);
  const context = { ...filesystem.textContext(), style: '1.36', dateTime: String } as const;
  for (const entry of reading.entries) {
    for (const sub of reading.read(entry).entries) {
      jsetEntryText(new PrintBuffer(), sub, context);
      plain(jsetEntryJson(sub));
      reached.journalEntries++;
    }
  }
}

function listAll(filesystem: Filesystem, reached: Reached, random: Random, onDamage: () => void): void {
  for (const id of new Set([...btrees.rows.map(row => row.id), ...filesystem.replay.roots.keys()])) {
    const btree = filesystem.btree(id);
    const mode = random.pick(['keys', 'keys', 'formats', 'nodes', 'nodes-ondisk'] as const);
    const request: ListRequest = { mode, btree, type: undefined, level: random.below(2), from: POS_MIN, to: SPOS_MAX };
    for (const item of listItems(filesystem, request, onDamage)) {
      item.text();
      plain(item.json());
    }
    for (const key of btree.keys({ backward: random.below(2) === 0, onDamage })) {
      if (key.value.length > 2 ** 16) throw new Error('a value longer than its length can say');
      reached.keys++;
    }
  }
}

function readFiles(filesystem: Filesystem, reached: Reached, random: Random, onDamage: () => void): void {
  const tree = FileTree.open(filesystem, { onDamage });
  const reader = new DataReader(filesystem, { onDamage });
  const reflinks = new IndirectExtents(filesystem);
  const ignoreErrors = random.below(2) === 0;
  let searches = 0;
  for (const { path, node } of tree.walk()) {
    reached.paths++;
    if (node === undefined) continue;
    const stat = tree.stat(node);
    tree.xattrs(node, { path });
    tree.options(node);
    if (stat.type === 'lnk') tree.linkTarget(node, { path });
    if (stat.type !== 'reg' || stat.sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) continue;
    const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes: fileSize(stat.sizeBytes, '') };
    let end = 0;
    for (const chunk of fileChunks(reader, tree.table, file, { onFinding: onDamage, ignoreErrors, reflinks })) {
      if (chunk.offset !== end || chunk.length <= 0) throw new Error(`chunk ${chunk.offset}+${chunk.length} at ${end}`);
      end += chunk.length;
      if (chunk.kind === 'data') reached.dataBytes += chunk.bytes.length;
    }
    if (end !== file.sizeBytes) throw new Error(`chunks of ${end} bytes, the file has ${file.sizeBytes}`);
    if (random.below(16) === 0 && searches++ < SEARCHES)
      pathsOf(tree, node.inum, { search: random.pick(['none', 'fallback', 'all'] as const) });
  }
  for (const { node } of orphans(tree)) tree.stat(node);
}

/** As JSON output has it. */
function plain(value: unknown): string {
  return JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? `${one}` : one));
}
