// fsck: finds what is wrong with an unmounted filesystem, and repairs it in one commit. What is decided here is who decides: -n looks only,
// over devices that are opened for reading; -y repairs everything; -p what is safe. Otherwise everything is looked at first, and one
// question asked.

import { writeFileSync } from 'node:fs';
import {
  type Context,
  defineStreamCommand,
  devicesPositional,
  filesystemOptions,
  passphraseFor,
  secondsOf,
  undoFileOption,
  undoWrap,
} from '@bcachefs-ts/command';
import {
  type BlockDevice,
  bposText,
  btrees,
  type Decided,
  decidedJson,
  declaredCompressionTypes,
  encryptionOf,
  FilesystemWriter,
  type FindingGroup,
  getBits,
  type Key,
  keyTypes,
  loadChecksums,
  loadCompression,
  masterKey,
  memberPaths,
  OverlayDevice,
  openDevice,
  openMembers,
  type Policy,
  type RecoverReport,
  Reporter,
  recover,
  sbBits,
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { FSCK, fsckExitCodeOf, fsckExitCodes } from './exit-codes.ts';

type Mode = 'plan' | 'yes' | 'preen';

interface FoundItem {
  readonly kind: 'finding';
  readonly decided: Decided;
}

interface SummaryItem {
  readonly kind: 'summary';
  readonly uuid: string;
  readonly members: readonly string[];
  readonly mode: Mode;
  readonly groups: readonly FindingGroup[];
  readonly found: number;
  readonly fixed: number;
  readonly left: number;
  /** Keys that were given up. */
  readonly dropped: number;
  readonly report: RecoverReport | undefined;
  readonly exitCode: number;
}

type Item = FoundItem | SummaryItem;

/** Of one error, where not all are asked for. */
const SHOWN_PER_ERROR = 10;

export const fsckCommand = defineStreamCommand({
  name: 'fsck',
  summary: 'Check a filesystem, and repair it',
  description:
    'Looks for everything that contradicts itself in an unmounted filesystem: the journal, the shape of the btrees, what is in each bucket, ' +
    'counters, files and their names. Lost btree nodes are looked for on the devices, damaged ones read key by key.\n\n' +
    'All repairs are one commit: if it is stopped at any time, the filesystem is as it was, or it is repaired. Without -n, -p and -y ' +
    'everything is looked at first, and one question is asked; without a terminal, that is all.',
  examples: [
    { command: 'bcachefs fsck -n disk.img', does: 'Says what is wrong, and changes nothing' },
    { command: 'bcachefs fsck -y a.img b.img', does: 'Repairs everything' },
  ],
  positionals: devicesPositional,
  options: {
    no: { type: 'flag', alias: 'n', help: 'repair nothing: the devices are opened for reading only' },
    yes: { type: 'flag', alias: 'y', help: 'repair everything' },
    preen: {
      type: 'flag',
      alias: 'p',
      help: 'repair what is safe, and stop at anything else; a clean filesystem is not looked at',
    },
    auto: { type: 'flag', alias: 'a', help: 'the same as --preen' },
    force: { type: 'flag', alias: 'f', help: 'with --preen: look at clean filesystems too' },
    verbose: { type: 'flag', alias: 'v', help: 'show each error, however many there are of a kind' },
    reconstruct_alloc: { type: 'flag', alias: 'R', help: 'make everything anew that says what is in which bucket' },
    quarantine: {
      type: 'string',
      value: 'FILE',
      file: true,
      help: 'write keys that cannot be kept to this new file, as JSON lines',
    },
    kernel: { type: 'flag', alias: 'k', hidden: true, help: 'taken for the sake of scripts: the kernel is never used' },
    no_kernel: {
      type: 'flag',
      alias: 'K',
      hidden: true,
      help: 'taken for the sake of scripts: the kernel is never used',
    },
    progress_fd: {
      type: 'string',
      alias: 'C',
      value: 'FD',
      bare: '0',
      hidden: true,
      help: 'taken for the sake of scripts: see --progress',
    },
    passphrase_file: filesystemOptions.passphrase_file,
    ...undoFileOption,
  },
  exitCodes: fsckExitCodes,
  exitCodeOf: fsckExitCodeOf,
  async *run(context: Context, args): AsyncGenerator<Item> {
    const shownPerError = args.verbose || context.json ? Number.POSITIVE_INFINITY : SHOWN_PER_ERROR;
    const request = { ...args, shownPerError };
    if (args.no || !(args.yes || args.preen || args.auto)) {
      const planned = await check(context, request, 'plan');
      yield* planned.items;
      const isToAsk = !args.no && planned.summary.left > 0 && context.prompt.isAttended && !context.json;
      if (!isToAsk || !(await context.prompt.confirm('Repair all of this?', { flag: '--yes' }))) {
        yield planned.summary;
        return;
      }
    }
    const { items, summary } = await check(context, request, args.preen || args.auto ? 'preen' : 'yes');
    yield* items;
    yield summary;
  },
  text(item, out) {
    if (item.kind === 'finding') out.line(findingLine(item.decided));
    else for (const line of summaryLines(item)) out.line(line);
  },
  json: item => (item.kind === 'finding' ? { finding: decidedJson(item.decided) } : { summary: summaryJson(item) }),
  exitCode: item => (item.kind === 'summary' ? item.exitCode : FSCK.clean),
});

interface Request {
  readonly devices: readonly string[];
  readonly passphrase_file: string | undefined;
  readonly force: boolean;
  readonly reconstruct_alloc: boolean;
  readonly quarantine: string | undefined;
  readonly undo_file: string | undefined;
  readonly shownPerError: number;
}

async function check(
  context: Context,
  request: Request,
  mode: Mode,
): Promise<{ readonly items: readonly FoundItem[]; readonly summary: SummaryItem }> {
  await loadChecksums();
  const isDry = mode === 'plan';
  const opened: BlockDevice[] = [];
  const undoable = isDry ? (device: BlockDevice) => device : undoWrap(context, request);
  try {
    for (const path of memberPaths(request.devices))
      opened.push(undoable(openDevice(path, { write: !isDry, exclusive: true })));
    const set = openMembers(isDry ? opened.map(device => new OverlayDevice(device)) : opened);
    const { sb } = set.newest;
    const found = { uuid: sb.user_uuid, members: opened.map(({ name }) => name), mode };
    const isClean = getBits(sb.flags, sbBits.CLEAN) === 1;
    const hasErrors = getBits(sb.flags, sbBits.HAS_ERRORS) + getBits(sb.flags, sbBits.HAS_TOPOLOGY_ERRORS) > 0;
    if (mode === 'preen' && !request.force && isClean && !hasErrors) {
      const nothing = { groups: [], found: 0, fixed: 0, left: 0, dropped: 0, report: undefined };
      return { items: [], summary: { kind: 'summary', ...found, ...nothing, exitCode: FSCK.clean } };
    }
    await loadCompression(declaredCompressionTypes(sb));
    const isSealed = encryptionOf(sb) === 'passphrase';
    const passphrase = isSealed ? await passphraseFor(context, request.passphrase_file) : undefined;
    const key = encryptionOf(sb) === 'none' ? undefined : masterKey(sb, passphrase);
    const items: FoundItem[] = [];
    const policy: Policy = { kind: mode };
    const reporter = new Reporter({
      policy,
      shownPerError: request.shownPerError,
      onFinding: decided => items.push({ kind: 'finding', decided }),
    });
    const now = secondsOf(context.date());
    const writer = new FilesystemWriter(set, { random: systemRandom, now: () => now, key, isRepair: true });
    const quarantine: object[] = [];
    const report = recover(writer, {
      reporter,
      reconstructAlloc: request.reconstruct_alloc,
      onDropped: (btree, dropped, reason) => quarantine.push(quarantined(btree, dropped, reason)),
    });
    if (request.quarantine !== undefined && quarantine.length > 0) {
      const text = quarantine.map(one => `${JSON.stringify(one)}\n`).join('');
      writeFileSync(request.quarantine, text, { flag: 'wx', mode: 0o600 });
    }
    const counts = { found: reporter.foundCount, fixed: reporter.fixedCount, left: reporter.leftCount };
    const { size } = report.remaining;
    const isLeft = counts.left > 0 || (!isDry && size > 0) || reporter.stopped !== undefined;
    const exitCode = (counts.fixed > 0 ? FSCK.corrected : 0) | (isLeft ? FSCK.uncorrected : 0);
    const groups = reporter.groups();
    return {
      items,
      summary: { kind: 'summary', ...found, groups, ...counts, dropped: quarantine.length, report, exitCode },
    };
  } finally {
    for (const device of opened) device.close();
  }
}

const quarantined = (btree: number, { k, value }: Key, reason: string): object => ({
  btree: btrees.nameOf(btree),
  pos: bposText(k.p),
  size: k.size,
  type: keyTypes.nameOf(k.type),
  value: Buffer.from(value).toString('hex'),
  reason,
});

/** The path first, where there is one; then what is wrong, and what becomes of it. */
function findingLine({ finding, decision }: Decided): string {
  const { path } = finding.where;
  const text = path === undefined ? finding.text() : `${path}: ${finding.error}: ${finding.detail}`;
  return decision === 'fix' ? `${text}: fixed` : text;
}

function* summaryLines({ members, mode, groups, found, fixed, left, dropped, report }: SummaryItem): Generator<string> {
  for (const group of groups) {
    const more = group.found - group.shown;
    if (more > 0) yield `${more} more of ${group.error}`;
  }
  const name = members.join(', ');
  if (report === undefined) yield `${name}: clean, not looked at (--force does)`;
  else if (found === 0) yield `${name}: ${report.isReplay ? replayed(mode, report) : 'clean'}`;
  else if (mode === 'plan') yield `${name}: ${countText(found)} found, nothing was changed`;
  else yield `${name}: ${countText(found)} found, ${fixed} fixed, ${left} left`;
  if (dropped > 0) yield `${dropped} keys could not be kept`;
  if (mode === 'plan') return;
  for (const [error, count] of report?.remaining ?? []) yield `still wrong: ${error}, ${count} times`;
}

const replayed = (mode: Mode, { seq }: RecoverReport): string =>
  mode === 'plan' || seq === undefined
    ? 'nothing is wrong; it was not unmounted, and its journal has to be replayed'
    : 'nothing is wrong; its journal was replayed';

const countText = (count: number): string => (count === 1 ? '1 error' : `${count} errors`);

function summaryJson(item: SummaryItem): object {
  const { uuid, members, mode, found, fixed, left, dropped, report, exitCode } = item;
  return {
    filesystem: uuid,
    members,
    mode,
    found,
    fixed,
    left,
    dropped,
    errors: item.groups.map(({ error, id, severity, found: count, fixed: done }) => ({
      id: error,
      number: id,
      severity,
      found: count,
      fixed: done,
    })),
    replayed_journal: report?.isReplay ?? false,
    journal_seq: report?.seq ?? null,
    remaining: Object.fromEntries(report?.remaining ?? []),
    exit_code: exitCode,
  };
}
