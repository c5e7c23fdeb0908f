// tar: files of a filesystem as an archive in the pax format, which every tar reads: to standard output, or to a file that is there under its
// name only when it is whole.
//
// The size of a file comes before its data. Reading everything twice, to know of losses before, would double the time, so that losses
// are met in the middle of a file: they become zeroes, are reported at once and again in the summary, and the exit code is 1.

import {
  atOption,
  bytesText,
  type Context,
  DamageLog,
  defineCommand,
  EXIT,
  filesystemWord,
  filterOptions,
  type OpenedTree,
  type Out,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import { bytesOfWord, NewFile, pathText, printableBytes, UsageError } from '@bcachefs-ts/core/engine';
import { PathFilter } from '../filter.ts';
import { FindingTally } from '../restore/report.ts';
import { selectedItems } from '../restore/selection.ts';
import { sourceOf } from '../restore/source.ts';
import { Archive, type ArchiveTotals } from './archive.ts';

/** How many files are listed in each of the summary's lists. */
const LISTED_MAX = 1000;

interface TarResult {
  readonly output: string | undefined;
  readonly totals: ArchiveTotals;
  /** Files with zeroes for what is lost, or with bytes that fail their checksum. */
  readonly damaged: readonly object[];
  readonly leftOut: readonly { readonly path: string; readonly why: string }[];
  /** All of what was reported, of which the lists have the first. */
  readonly problems: number;
  readonly damages: readonly string[];
}

export const tarCommand = defineCommand({
  name: 'tar',
  summary: 'Write files as a tar archive',
  description:
    'Writes the whole tree, or the PATHs of it, as an archive in the pax format to standard output or with --output to a file. The archive ' +
    'holds names of any length and any bytes, owners, permissions, times in nanoseconds, hard links, symlinks, device nodes, fifos, holes ' +
    '(GNU sparse format 1.0), extended attributes and ACLs. To unpack all of it:\n\n' +
    "  tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf FILE\n\n" +
    'Subvolumes and snapshots in the tree are archived as the directories that they look like in a mount. Sockets cannot be in an archive: ' +
    'they are left out and reported, and the exit code is 1. Options and flags of single files are not archived.\n\n' +
    'Every byte is checked against its checksum. What is lost becomes zeroes in the archive, since the size of a file comes before its ' +
    'data: each loss is reported on stderr, the file is listed at the end, and the exit code is 1. With --ignore_errors bytes that fail their ' +
    'checksum are taken as they are.',
  examples: [
    { command: 'bcachefs tar disk.img | zstd > disk.tar.zst', does: 'Archives everything' },
    { command: 'bcachefs tar sda:sdb home etc -o home.tar', does: 'Archives two directories into a file' },
    {
      command: "bcachefs tar --exclude='*.o' disk.img src | tar -xf - -C /tmp",
      does: 'Copies a directory, less what is compiled',
    },
  ],
  positionals: {
    ...filesystemWord,
    paths: {
      count: 'any',
      inside: 'all',
      bytes: true,
      help: 'files and directories, as paths from the root; everything',
    },
  },
  options: {
    output: {
      type: 'string',
      alias: 'o',
      value: 'FILE',
      file: true,
      help: 'write to a file instead of standard output',
    },
    force: { type: 'flag', alias: 'f', needs: ['output'], help: 'overwrite the file if it is there' },
    ignore_errors: { type: 'flag', help: 'take bytes that fail their checksum as they are' },
    sparse: {
      type: 'boolean',
      default: true,
      help: 'leave holes out of the archive (GNU sparse format, which not every reader has); --no_sparse writes zeroes for them',
    },
    creation_times: { type: 'flag', help: 'also when files were made: bsdtar keeps it, GNU tar warns of each' },
    ...filterOptions,
    ...treeOptions,
    ...atOption,
  },
  async run(
    context: Context,
    { paths, output, force, ignore_errors, creation_times, sparse, include, exclude, ...args },
  ): Promise<TarResult> {
    if (output === undefined && context.json)
      throw new UsageError('needs --output: the archive itself goes to standard output', '--json');
    if (output === undefined && context.bytes.isTerminal) {
      throw new UsageError('an archive is not written to a terminal: give --output=FILE, or a pipe');
    }
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage, true);
    try {
      for (const path of paths) opened.tree.lookup(bytesOfWord(path), { followLinks: false });
      const filter = new PathFilter({ paths, include, exclude });
      const options = { ignoreErrors: ignore_errors, creationTimes: creation_times, sparse };
      const request = { opened, filter, log, output, options };
      if (output === undefined) return await archive(context, request, bytes => context.bytes.writeBytes(bytes));
      return await toFile(context, output, force, write => archive(context, request, write));
    } finally {
      opened.close();
    }
  },
  text({ output, totals, damaged, leftOut, problems }, out) {
    // Without --output the archive is on standard output, and all was reported on stderr.
    if (output === undefined) return;
    printSummary(output, totals, out);
    if (problems > 0) out.line(`${damaged.length} damaged, ${leftOut.length} left out: see above`);
  },
  json: ({ output, totals, damaged, leftOut, problems, damages }) => ({
    output,
    totals,
    damaged,
    left_out: leftOut,
    problems,
    damages,
  }),
  exitCode: ({ problems }) => (problems > 0 ? EXIT.failed : EXIT.ok),
});

/** Writes to a file that gets its name at the end; an interrupt leaves nothing. */
async function toFile(
  context: Context,
  output: string,
  force: boolean,
  write: (to: (bytes: Uint8Array) => void) => Promise<TarResult>,
): Promise<TarResult> {
  const file = new NewFile(output, { overwrite: force });
  const release = context.onInterrupt(() => file.discard());
  try {
    let offset = 0;
    const result = await write(bytes => {
      file.write(offset, bytes);
      offset += bytes.length;
    });
    file.commit();
    return result;
  } finally {
    release();
    file.discard();
  }
}

interface ArchiveRequest {
  readonly opened: OpenedTree;
  readonly filter: PathFilter;
  readonly log: DamageLog;
  /** Undefined for standard output. */
  readonly output: string | undefined;
  readonly options: { readonly ignoreErrors: boolean; readonly creationTimes: boolean; readonly sparse: boolean };
}

async function archive(
  context: Context,
  { opened, filter, log, output, options }: ArchiveRequest,
  write: (bytes: Uint8Array) => void,
): Promise<TarResult> {
  const task = context.progress.start({ what: 'archiving', unit: 'bytes' });
  const damaged: object[] = [];
  const leftOut: { readonly path: string; readonly why: string }[] = [];
  let tally: FindingTally | undefined;
  const archived = new Archive(opened, {
    ...options,
    write(bytes) {
      write(bytes);
      task.advance(bytes.length);
    },
    onFinding(path, finding) {
      tally ??= new FindingTally();
      tally.add(finding);
      const { kind, damage, offset, length } = finding;
      if (kind !== 'healed')
        log.report(`${pathText(path)}, bytes ${offset} to ${offset + length}: ${kind}: ${damage.message}`);
    },
    onProblem: (path, problem) => log.report(`${pathText(path)}: ${problem}`),
  });
  for (const { path, choice, node, entry } of selectedItems(sourceOf(opened), filter)) {
    // Where a name leads to something lost, that was reported when it was opened.
    if (choice !== 'taken' || node === undefined) continue;
    const why = hasDotsIn(path)
      ? `${printableBytes(entry?.name ?? path)} is not a name`
      : await inTurns(archived.add(node, path));
    if (why !== undefined) {
      log.report(`${pathText(path)}: left out: ${why}`);
      if (leftOut.length < LISTED_MAX) leftOut.push({ path: printableBytes(path), why });
    }
    if (tally !== undefined && damaged.length < LISTED_MAX && tally.kind !== 'intact')
      damaged.push(tally.verdict(path, true));
    tally = undefined;
  }
  archived.end();
  task.end();
  log.finish();
  return { output, totals: archived.totals, damaged, leftOut, problems: log.count, damages: log.messages };
}

/** How long the event loop waits at most, so that Ctrl-C is heard. */
const TURN_MS = 50;
let turnEndsMs = 0;

/** Runs work to its end, and the event loop now and then. */
async function inTurns<Result>(work: Generator<void, Result>): Promise<Result> {
  for (;;) {
    const { done, value } = work.next();
    if (performance.now() > turnEndsMs) {
      await new Promise(resolve => setImmediate(resolve));
      turnEndsMs = performance.now() + TURN_MS;
    }
    if (done) return value;
  }
}

const DOT = 0x2e;

/** Whether a part of the path is `.` or `..`, which only damage or malice makes: unpacking it would write elsewhere. */
function hasDotsIn(path: Uint8Array): boolean {
  if (!path.includes(DOT)) return false;
  return Buffer.from(path)
    .toString('latin1')
    .split('/')
    .some(part => part === '.' || part === '..');
}

function printSummary(output: string, totals: ArchiveTotals, out: Out): void {
  const { directories, files, links, symlinks, special, data_bytes, archive_bytes } = totals;
  const counts = [`${files + links} files`, `${directories} directories`, `${symlinks} symlinks`, `${special} special`];
  out.line(`wrote ${output}: ${counts.join(', ')}, ${bytesText(data_bytes)} of data in ${bytesText(archive_bytes)}`);
}
