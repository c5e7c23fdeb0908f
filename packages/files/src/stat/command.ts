// stat: everything that is known about files, in the lines of stat(1) and then what only bcachefs has: subvolume and snapshot, flags, options,
// hashes, and how the data is stored.

import {
  atOption,
  bytesFields,
  type Context,
  DamageLog,
  defineCommand,
  EXIT,
  filesystemWord,
  lookUp,
  type OpenedTree,
  type Out,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  type ExtendedAttribute,
  type FileStat,
  type InodeOptionText,
  inodeFlags,
  option,
  optionFromSuperblock,
  optionToText,
  pathText,
  printable,
  printableBytes,
  sectorsToBytes,
  strHashTypes,
  utf8Text,
} from '@bcachefs-ts/core/engine';
import { modeText, statJson, targetOf, timeText, typeWords } from '../entry-text.ts';
import { aclText } from '../tar/acl-text.ts';
import { type ExtentSummary, summariseExtents } from './extents.ts';

interface StatedFile {
  readonly path: Uint8Array;
  readonly stat: FileStat;
  readonly snapshot: number;
  /** The snapshot of the inode's key: that one, or an ancestor. */
  readonly keySnapshot: number;
  readonly encoding: string;
  readonly version: bigint;
  readonly journalSeq: bigint;
  readonly flags: readonly string[];
  readonly directory: bigint;
  readonly hashSeed: bigint;
  readonly hashType: string;
  readonly isCasefolded: boolean;
  readonly options: readonly InodeOptionText[];
  readonly xattrs: readonly ExtendedAttribute[];
  readonly target: Uint8Array | undefined;
  /** Of regular files. */
  readonly extents: ExtentSummary | undefined;
}

export const statCommand = defineCommand({
  name: 'stat',
  summary: 'Show everything that is known about files',
  description:
    'The lines of stat(1), then what bcachefs knows besides: subvolume and snapshot, inode flags, options set on the file itself and in ' +
    'effect, project, generation, the hash of its names, how its data is stored (compression, checksums, replicas, devices), and extended ' +
    'attributes with their values. Symlinks are not followed without --dereference. Times are local, in the zone of TZ.\n\n' +
    'What is lost is reported on stderr, and the exit code is 1.',
  examples: [
    { command: 'bcachefs stat disk.img etc/fstab', does: 'Shows one file' },
    { command: 'bcachefs stat --json disk.img / home', does: 'Shows two directories as JSON' },
  ],
  positionals: {
    ...filesystemWord,
    paths: { count: 'some', inside: 'all', bytes: true, help: 'files, as paths from the root' },
  },
  options: {
    dereference: { type: 'flag', alias: 'L', help: 'follow symlinks' },
    ...treeOptions,
    ...atOption,
  },
  async run(context: Context, { paths, dereference, ...args }) {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    try {
      const files = paths.map(typed => stated(opened, typed, dereference, log));
      log.finish();
      return { files, blockBytes: sectorsToBytes(opened.filesystem.sb.block_size), damages: log.messages };
    } finally {
      opened.close();
    }
  },
  text({ files, blockBytes }, out) {
    for (const [nr, file] of files.entries()) {
      if (nr > 0) out.line();
      printFile(file, blockBytes, out);
    }
  },
  json: ({ files, damages }) => ({ files: files.map(fileJson), damages }),
  exitCode: ({ damages }) => (damages.length > 0 ? EXIT.failed : EXIT.ok),
});

function stated(opened: OpenedTree, typed: string, followLinks: boolean, log: DamageLog): StatedFile {
  const { tree } = opened;
  const { node, path } = lookUp(tree, typed, { followLinks });
  const { inode } = node;
  const stat = tree.stat(node);
  const onDamage = (damage: Error) => log.report(`${pathText(path)}: ${damage.message}`);
  return {
    path,
    stat,
    snapshot: node.snapshot,
    keySnapshot: node.keySnapshot,
    encoding: inode.encoding,
    version: inode.bi_version,
    journalSeq: inode.bi_journal_seq,
    flags: inodeFlags.rows.filter(({ id }) => ((inode.bi_flags >>> id) & 1) !== 0).map(({ name }) => name),
    directory: inode.bi_dir,
    hashSeed: inode.bi_hash_seed,
    hashType: strHashTypes.nameOf(inode.str_hash),
    isCasefolded: stat.type === 'dir' && tree.isCasefolded(inode),
    options: effectiveOptions(opened, tree.options(node)),
    xattrs: tree.xattrs(node, { path }).toSorted((a, b) => Buffer.compare(a.name, b.name)),
    target: targetOf(tree, node, stat, path),
    extents: stat.type === 'reg' ? summariseExtents(opened, node, onDamage) : undefined,
  };
}

/** Options of files that the inode says nothing about are the filesystem's. */
const shownAlways = ['data_checksum', 'compression', 'data_replicas'] as const;

function effectiveOptions({ filesystem }: OpenedTree, own: readonly InodeOptionText[]): readonly InodeOptionText[] {
  const { sb } = filesystem;
  const filesystems = shownAlways
    .filter(name => own.every(one => one.name !== name))
    .map(name => {
      const value = optionFromSuperblock(option(name), sb);
      return { name, text: optionToText(option(name), value, { choices: 'value' }), isOwn: false };
    });
  return [...own, ...filesystems];
}

const xattrText = (value: Uint8Array): string => {
  const text = utf8Text(value);
  return text === undefined || printable(text) !== text
    ? `0x${Buffer.from(value).toString('hex')}`
    : JSON.stringify(text);
};

function printFile(file: StatedFile, blockBytes: number, out: Out): void {
  const { stat, path, target, extents } = file;
  const arrow = target === undefined ? '' : ` -> ${printableBytes(target)}`;
  const rows: [string, string][] = [
    ['File', `${pathText(path)}${arrow}`],
    ['Type', typeWords[stat.type]],
    ['Size', `${stat.sizeBytes}`],
    ['Blocks', `${stat.blocks} of 512 bytes; the filesystem's block is ${blockBytes} bytes`],
    ...(stat.rdev === undefined ? [] : [['Device', `${stat.rdev.major}, ${stat.rdev.minor}`] as [string, string]]),
    ['Inode', `${stat.ino}`],
    ['Links', `${stat.nlink}`],
    ['Access', `${stat.mode.toString(8).padStart(4, '0')}/${modeText(stat.type, stat.mode)}`],
    ['Uid', `${stat.uid}`],
    ['Gid', `${stat.gid}`],
    ['Accessed', timeText(stat.atimeNs)],
    ['Modified', timeText(stat.mtimeNs)],
    ['Changed', timeText(stat.ctimeNs)],
    ['Born', timeText(stat.btimeNs)],
    ['Subvolume', stat.subvolume === 0 ? 'none' : `${stat.subvolume}`],
    [
      'Snapshot',
      file.snapshot === file.keySnapshot ? `${file.snapshot}` : `${file.snapshot}, inode from ${file.keySnapshot}`,
    ],
    ['Flags', file.flags.join(', ') || 'none'],
    ['Project', `${stat.projectId}`],
    ['Generation', `${stat.generation}`],
    ['Version', `${file.version}, journal entry ${file.journalSeq}, key type ${file.encoding}`],
    [
      'Hash',
      `${file.hashType}, seed ${file.hashSeed.toString(16).padStart(16, '0')}${file.isCasefolded ? ', casefolded' : ''}`,
    ],
    ...(file.directory === 0n ? [] : [['Directory', `inode ${file.directory}`] as [string, string]]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) out.line(`${`${name}:`.padStart(width + 1)} ${value}`);
  section(
    out,
    'Options',
    file.options.map(({ name, text, isOwn }) => [name, `${text}${isOwn ? ' (set here)' : ''}`]),
  );
  if (extents !== undefined) section(out, 'Data', extentRows(extents));
  section(
    out,
    'Attributes',
    file.xattrs.map(({ name, value }) => [printableBytes(name), valueText(name, value)]),
  );
}

/** ACLs are shown in words. */
function valueText(name: Uint8Array, value: Uint8Array): string {
  const isAcl = (utf8Text(name) ?? '').startsWith('system.posix_acl_');
  return (isAcl ? aclText(value) : undefined) ?? xattrText(value);
}

function section(out: Out, title: string, rows: readonly (readonly [string, string])[]): void {
  if (rows.length === 0) return;
  out.line(`${title}:`);
  for (const [name, value] of rows) out.line(`  ${name}: ${value}`);
}

function extentRows(extents: ExtentSummary): (readonly [string, string])[] {
  const { compression, checksum, replicas, devices, extents: count, ...bytes } = extents;
  const named = (by: Record<string, number>) =>
    Object.entries(by)
      .map(([name, sum]) => `${name} ${sum}`)
      .join(', ');
  return [
    ['extents', `${count}`],
    ...Object.entries(bytes)
      .filter(([, sum]) => sum > 0)
      .map(([name, sum]) => [name, `${sum} bytes`] as const),
    ...Object.entries({ compression, checksum, replicas, devices })
      .filter(([, by]) => Object.keys(by).length > 0)
      .map(([name, by]) => [name, named(by)] as const),
  ];
}

function fileJson(file: StatedFile): object {
  const { path, stat, options, xattrs, target, extents } = file;
  return {
    ...bytesFields('path', path),
    ...statJson(stat),
    ...(target === undefined ? {} : bytesFields('target', target)),
    snapshot: file.snapshot,
    inode_snapshot: file.keySnapshot,
    project: stat.projectId,
    generation: stat.generation,
    inode_version: file.version,
    journal_seq: file.journalSeq,
    key_type: file.encoding,
    flags: file.flags,
    directory: file.directory,
    hash: { type: file.hashType, seed: file.hashSeed.toString(16).padStart(16, '0') },
    casefolded: file.isCasefolded,
    options: options.map(({ name, text, isOwn }) => ({ name, value: text, own: isOwn })),
    xattrs: xattrs.map(({ name, value }) => ({
      ...bytesFields('name', name),
      value_hex: Buffer.from(value).toString('hex'),
    })),
    ...(extents === undefined ? {} : { extents }),
  };
}
