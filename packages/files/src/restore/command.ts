// restore: copies files out of a filesystem that is not mounted into a folder of the host, with everything that the host can keep, and
// says of every file whether it is whole. Nothing is written to the filesystem.

import {
  atOption,
  bytesText,
  type Context,
  defineCommand,
  EXIT,
  filesystemWord,
  filterOptions,
  loadNativeCalls,
  type OpenedTree,
  type Out,
  openTree,
  type TreeArgs,
  treeOptions,
} from '@bcachefs-ts/command';
import { assert, CorruptError, type Damage, UsageError, wordOfBytes } from '@bcachefs-ts/core/engine';
import { PathFilter } from '../filter.ts';
import { Destination, lookAt, notEmpty } from './destination.ts';
import { type FileVerdict, Report, unkeptKinds, verdictKinds } from './report.ts';
import { expectedBytes, Restore } from './restore.ts';
import { missingPaths, selectedItems } from './selection.ts';
import { type RestoreSource, sourceOf } from './source.ts';
import { type RestoreIdentity, RestoreState } from './state.ts';

const ORPHANS_FOLDER = 'lost+found.restored';

interface RestoreArgs extends TreeArgs {
  readonly words: readonly string[];
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly ignore_errors: boolean;
  readonly merge: boolean;
  readonly dry_run: boolean;
  readonly orphans: boolean;
  readonly verbose: boolean;
}

export interface RestoreResult {
  readonly destination: string;
  readonly isDryRun: boolean;
  readonly isResumed: boolean;
  /** Whether DEST itself is one of the folders that were restored. */
  readonly isTopCounted: boolean;
  readonly expected: Expected;
  readonly report: Report;
}

/** What a first walk counts. */
export interface Expected {
  entries: number;
  directories: number;
  files: number;
  symlinks: number;
  special: number;
  data_bytes: number;
}

export const restoreCommand = defineCommand({
  name: 'restore',
  summary: 'Copy files out of a filesystem, and say whether they are whole',
  description:
    'Copies the whole tree, or the PATHs of it, into the folder DEST under the same paths. DEST is made; one that is not empty is refused ' +
    'without --merge. Every byte is checked against its checksum; where a replica is damaged another one is taken, or the parity of ' +
    'a stripe. Subvolumes and snapshots in the tree are restored as the folders that they look like in a mount.\n\n' +
    'Kept are holes, hard links, symlinks, owners, permissions, times in nanoseconds, extended attributes, ACLs, device nodes, fifos and ' +
    'sockets, as far as the host and its permissions allow; what could not be kept is summed up at the end. Creation times, ' +
    'project numbers, options of single files and immutable flags are not restored. Without root, owners and device nodes are left out, ' +
    'and so are setuid and setgid bits, as always where the owner could not be kept.\n\n' +
    'A damaged file is left out of DEST and named in the verdict, the others are restored: what is in DEST is right. With ' +
    '--ignore_errors damaged files are kept as well, with holes where data is lost and with bytes that fail their checksum.\n\n' +
    'An interrupted restore (Ctrl-C, a full disk) goes on when the same command is given again: files that are whole are not written a ' +
    'second time. Until the end DEST holds the folder .bcachefs-restore for that.\n\n' +
    'Nothing is written outside of DEST, whatever names the filesystem holds, no symlink in DEST is followed, and a .bcachefs-restore that ' +
    'others can write to is not used. On the way to DEST symlinks are followed unless another user could have put them there.',
  examples: [
    { command: 'bcachefs restore disk.img out', does: 'Restores everything into the folder out' },
    {
      command: 'bcachefs restore sda:sdb:sdc home/anna etc/fstab out',
      does: 'Restores a folder and a file, as out/home/anna and out/etc/fstab',
    },
    {
      command: "bcachefs restore --include='*.jpg' --exclude='*cache*' disk.img out",
      does: 'Restores all pictures that are in no cache',
    },
    {
      command: 'bcachefs restore --ignore_errors --orphans disk.img out',
      does: 'Recovers what it can from a damaged filesystem',
    },
    { command: 'bcachefs restore --dry_run disk.img out', does: 'Says how much would be restored' },
  ],
  positionals: {
    ...filesystemWord,
    words: {
      count: 'some',
      usage: '[path]... <dest>',
      inside: 'all_but_last',
      file: true,
      bytes: true,
      help: 'paths in the filesystem, none for everything; then DEST, the folder to restore into',
    },
  },
  options: {
    ignore_errors: {
      type: 'flag',
      help: 'keep damaged files too: with holes for what is lost, and bytes that fail their checksum',
    },
    orphans: { type: 'flag', help: `also restore files that no directory names, into ${ORPHANS_FOLDER}` },
    merge: {
      type: 'flag',
      alias: 'f',
      help: 'restore into a folder that is not empty; files of the same names are replaced',
    },
    dry_run: { type: 'flag', alias: 'n', help: 'write nothing, say what would be restored' },
    verbose: { type: 'flag', alias: 'v', help: 'list every file, and everything that could not be kept' },
    ...filterOptions,
    ...treeOptions,
    ...atOption,
  },
  run: (context, args) => restore(context, args),
  text: printRestored,
  json: restoredJson,
  exitCode: restoreExitCode,
});

export function restoreExitCode({ report, isDryRun }: RestoreResult): number {
  return (isDryRun ? report.damageCount === 0 : report.isIntact) ? EXIT.ok : EXIT.failed;
}

async function restore(context: Context, args: RestoreArgs): Promise<RestoreResult> {
  const { words } = args;
  const paths = words.slice(0, -1);
  const destination = words.at(-1);
  assert(destination !== undefined, 'a positional that wants some has one');
  if (args.orphans && paths.length > 0)
    throw new UsageError('files without a name are below no path: give no PATH', '--orphans');
  const filter = new PathFilter({ paths, include: args.include, exclude: args.exclude });
  if (!args.dry_run) checkDestination(destination, args.merge);
  const report = new Report({
    listsAll: args.verbose,
    onUnkept: args.verbose
      ? (kind, path, reason) => context.warn(`${path}: ${unkeptKinds[kind]} not kept: ${reason}`)
      : undefined,
  });
  const opened = await openTree(context, args, (damage: Damage) => report.damage(damage), true);
  try {
    let isRootless = false;
    const onRootless = (error: Damage): void => {
      if (!isRootless) report.damage(error);
      isRootless = true;
    };
    const source = sourceOf(opened, args.orphans ? onRootless : undefined);
    const expected = countFiles(context, source, filter, paths);
    const isAll = paths.length === 0 && args.include.length === 0 && args.exclude.length === 0;
    if (isAll && !args.orphans) reportCutOff(source, report);
    if (args.dry_run) return { destination, isDryRun: true, isResumed: false, isTopCounted: true, expected, report };
    const isResumed = await writeFiles(context, args, { opened, source, filter, paths, destination, expected, report });
    return { destination, isDryRun: false, isResumed, isTopCounted: true, expected, report };
  } finally {
    opened.close();
  }
}

/** What no name leads to is lost to who does not know of it. Files that were deleted while they were open are not missed. */
function reportCutOff(source: RestoreSource, report: Report): void {
  let count = 0;
  for (const { isUnlinked } of source.orphans()) if (!isUnlinked) count++;
  if (count === 0) return;
  const what = count === 1 ? '1 file or folder has' : `${count} files or folders have`;
  report.damage(new CorruptError('inode_unreachable', {}, `${what} no name in any directory; --orphans restores them`));
}

/** Before the filesystem is opened, which may take a passphrase. */
function checkDestination(path: string, merge: boolean): void {
  if (lookAt(path) === 'taken' && !merge) throw notEmpty(path);
}

/** @throws UsageError for a path that leads to nothing */
export function countFiles(
  context: Context,
  source: RestoreSource,
  filter: PathFilter,
  paths: readonly string[],
): Expected {
  const expected: Expected = { entries: 0, directories: 0, files: 0, symlinks: 0, special: 0, data_bytes: 0 };
  const seen = new Set<string>();
  const linked = new Set<string>();
  const task = context.progress.start({ what: 'counting', unit: 'files' });
  for (const { node, path, choice } of selectedItems(source, filter)) {
    if (paths.length > 0) seen.add(wordOfBytes(path));
    expected.entries++;
    task.advance(1);
    if (node === undefined || choice !== 'taken') continue;
    const stat = source.stat(node);
    if (stat.type === 'dir') expected.directories++;
    else if (stat.type === 'lnk') expected.symlinks++;
    else if (stat.type !== 'reg') expected.special++;
    else {
      expected.files++;
      if (stat.nlink > 1) {
        const id = `${node.snapshot}:${node.inum}`;
        if (linked.has(id)) continue;
        linked.add(id);
      }
      expected.data_bytes += expectedBytes(stat);
    }
  }
  task.end();
  const missing = missingPaths(paths, path => seen.has(path));
  if (missing.length > 0)
    throw new UsageError(`${missing.join(', ')}: no such file or directory in the filesystem`, undefined, 'ENOENT');
  return expected;
}

export type WriteArgs = Pick<RestoreArgs, 'include' | 'exclude' | 'orphans' | 'merge' | 'ignore_errors'>;

export interface Writing {
  readonly opened: OpenedTree;
  readonly source: RestoreSource;
  readonly filter: PathFilter;
  readonly paths: readonly string[];
  readonly destination: string;
  readonly expected: Expected;
  readonly report: Report;
}

/** @returns whether an interrupted restore went on */
export async function writeFiles(context: Context, args: WriteArgs, writing: Writing): Promise<boolean> {
  const { opened, source, filter, paths, expected, report } = writing;
  const native = loadNativeCalls();
  const user = currentUser();
  const destination = new Destination(writing.destination, { merge: args.merge, native, user });
  try {
    const { sb } = opened.filesystem;
    const identity: RestoreIdentity = {
      filesystem: sb.user_uuid,
      sequence: sb.seq,
      subvolume: opened.tree.subvolume,
      snapshot: opened.tree.snapshot,
      paths,
      include: args.include,
      exclude: args.exclude,
      orphans: args.orphans,
    };
    const state = destination.isResumed
      ? RestoreState.resume(destination.work, identity, writing.destination)
      : RestoreState.begin(destination.work, identity);
    const release = context.onInterrupt(() => {
      destination.discardNew();
      context.warn('interrupted; give the same command again to go on');
    });
    const task = context.progress.start({ what: 'restoring', total: expected.data_bytes, unit: 'bytes' });
    try {
      await new Restore({
        source,
        filter,
        destination,
        state,
        report,
        native,
        user,
        ignoreErrors: args.ignore_errors,
        merge: args.merge,
        orphansFolder: args.orphans ? ORPHANS_FOLDER : undefined,
        onBytes: bytes => task.advance(bytes),
      }).run();
    } finally {
      task.end();
      release();
      state.close();
    }
    return destination.isResumed;
  } finally {
    destination.close();
  }
}

function currentUser(): { readonly uid: number; readonly gid: number } | undefined {
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

export async function printRestored(
  { destination, isDryRun, isResumed, isTopCounted, expected, report }: RestoreResult,
  out: Out,
): Promise<void> {
  const { totals, verdicts } = report;
  printDamages(report, out);
  if (isDryRun) {
    out.line(
      `would restore ${amounts(expected.directories, expected.files, expected.symlinks, expected.special)}, ${bytesText(expected.data_bytes)} of data`,
    );
    return;
  }
  if (report.files.length > 0) {
    await out.table({ head: ['VERDICT', 'RESTORED', 'FILE', 'WHAT'], rows: report.files.map(verdictRow) });
    if (report.unlisted > 0) out.line(`and ${report.unlisted} more`);
    out.line();
  }
  for (const { kind, count, reason, names, paths } of report.unkept.values()) {
    const which = names.length === 0 ? '' : ` ${names.join(', ')}`;
    const where = `${paths.join(', ')}${count > paths.length ? ', …' : ''}`;
    out.line(`not kept: ${unkeptKinds[kind]}${which} of ${plural(count, 'file')} (${reason}): ${where}`);
  }
  const files = totals.files + totals.links;
  const resumed = totals.resumed > 0 ? `, ${totals.resumed} of them earlier` : '';
  out.line(
    `restored ${amounts(totals.directories + (isTopCounted ? 1 : 0), files, totals.symlinks, totals.special)} into ${destination}${isResumed ? ' (continued)' : ''}: ` +
      `${bytesText(totals.data_bytes)} of data written${resumed}`,
  );
  const others = verdictKinds
    .filter(kind => kind !== 'intact' && verdicts[kind] > 0)
    .map(kind => `${verdicts[kind]} ${verdictWords[kind]}`);
  if (report.healed > 0) others.push(`${report.healed} healed from another replica`);
  out.line([`${verdicts.intact} intact`, ...others].join(', '));
}

const verdictWords = {
  intact: 'intact',
  holes: 'with lost data',
  checksum: 'with checksum errors',
  doubtful: 'doubtful',
  unreadable: 'unreadable',
  not_written: 'not written',
} as const;

function printDamages({ damages, damageCount }: Report, out: Out): void {
  for (const damage of damages) out.line(`damaged: ${damage}`);
  if (damageCount > damages.length) out.line(`and ${damageCount - damages.length} more`);
}

const amounts = (folders: number, files: number, symlinks: number, special: number): string =>
  [
    plural(files, 'file'),
    plural(folders, 'folder'),
    plural(symlinks, 'symlink'),
    ...(special > 0 ? [`${special} special`] : []),
  ].join(', ');

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

function verdictRow({
  verdict,
  restored,
  path,
  detail,
  ranges,
  lost_bytes,
  healed_bytes,
}: FileVerdict): readonly string[] {
  const first = ranges?.[0];
  const lost =
    lost_bytes === undefined || first === undefined ? [] : [`${bytesText(lost_bytes)} lost from byte ${first[0]} on`];
  const healed = healed_bytes === undefined ? [] : [`${bytesText(healed_bytes)} healed from another replica`];
  return [
    verdict,
    restored ? 'yes' : 'no',
    path,
    [...lost, ...healed, ...(detail === undefined ? [] : [detail])].join('; '),
  ];
}

export function restoredJson({ destination, isDryRun, isResumed, expected, report }: RestoreResult): object {
  return {
    destination,
    dry_run: isDryRun,
    resumed: isResumed,
    intact: isDryRun ? report.damageCount === 0 : report.isIntact,
    expected,
    ...(isDryRun ? {} : { totals: report.totals, verdicts: { ...report.verdicts, healed: report.healed } }),
    files: report.files,
    unlisted: report.unlisted,
    not_kept: [...report.unkept.values()].map(({ kind, count, reason, names, paths }) => ({
      kind,
      count,
      reason,
      ...(names.length === 0 ? {} : { names }),
      paths,
    })),
    damages: report.damages,
    damage_count: report.damageCount,
  };
}
