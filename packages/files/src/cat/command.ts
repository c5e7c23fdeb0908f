// cat: the bytes of files on standard output, read in order with one megabyte of memory. Holes are zeroes. Bytes before a loss are
// written, those after it only when that is asked for.

import {
  atOption,
  type Context,
  DamageLog,
  defineCommand,
  EXIT,
  filesystemWord,
  lookUp,
  type OpenedTree,
  openTree,
  PASSPHRASE_VARIABLE,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  CHUNK_BYTES,
  type DataError,
  type FileNode,
  fileChunks,
  fileSize,
  pathText,
  UsageError,
} from '@bcachefs-ts/core/engine';

const zeroes = new Uint8Array(CHUNK_BYTES);

export const catCommand = defineCommand({
  name: 'cat',
  summary: 'Write the contents of files to standard output',
  description:
    'The files are written one after the other; every byte is checked against its checksum, and where a replica is damaged another one is ' +
    'taken. Symlinks are followed inside of the filesystem.\n\n' +
    'Where data is lost it stops: what comes before the loss was written. With --ignore_errors it goes on: lost ranges are zeroes, bytes ' +
    'that fail their checksum are written as they are, each is reported on stderr, and the exit code is 1.\n\n' +
    `A passphrase comes from the environment's ${PASSPHRASE_VARIABLE}, from --passphrase_file, or is asked for.`,
  examples: [
    { command: 'bcachefs cat disk.img etc/fstab', does: 'Prints a file' },
    {
      command: 'bcachefs cat sda:sdb backup.tar | tar -tf -',
      does: 'Lists an archive that lies on a filesystem of two devices',
    },
  ],
  positionals: {
    ...filesystemWord,
    paths: { count: 'some', inside: 'all', bytes: true, help: 'files, as paths from the root' },
  },
  options: {
    ignore_errors: { type: 'flag', help: 'go on where data is lost, with zeroes in its place' },
    ...treeOptions,
    ...atOption,
  },
  async run(context: Context, { paths, ignore_errors, ...args }) {
    if (context.json) throw new UsageError('files are bytes: cat has no JSON', '--json');
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage, true);
    try {
      for (const typed of paths) {
        const { node, path } = lookUp(opened.tree, typed);
        writeFile(context, opened, node, path, ignore_errors, log);
      }
      log.finish();
      return { damages: log.count };
    } finally {
      opened.close();
    }
  },
  text() {},
  exitCode: ({ damages }) => (damages > 0 ? EXIT.failed : EXIT.ok),
});

/** @throws what is lost, unless errors are ignored; UsageError for what is not a regular file */
function writeFile(
  context: Context,
  { tree, data, reflinks }: OpenedTree,
  node: FileNode,
  path: Uint8Array,
  ignoreErrors: boolean,
  log: DamageLog,
): void {
  const stat = tree.stat(node);
  if (stat.type !== 'reg')
    throw new UsageError(`${pathText(path)}: not a regular file but of type ${stat.type}`, undefined, 'EINVAL');
  const sizeBytes = fileSize(stat.sizeBytes, `0:${node.inum}:${node.keySnapshot}`);
  const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes };
  let doubt: DataError | undefined;
  let isHealedReported = false;
  const chunks = fileChunks(data, tree.table, file, {
    reflinks,
    ignoreErrors,
    onFinding({ kind, damage, offset, length }) {
      const where = `${pathText(path)}, bytes ${offset} to ${offset + length}`;
      if (kind === 'healed') {
        if (!isHealedReported) context.warn(`${where}: read from another replica: ${damage.message}`);
        isHealedReported = true;
      } else if (ignoreErrors) log.report(`${where}: ${kind}: ${damage.message}`);
      else if (kind === 'metadata') doubt ??= damage;
    },
  });
  for (const chunk of chunks) {
    // Keys were lost: what comes now may be older than the file.
    if (doubt !== undefined) throw doubt;
    if (chunk.kind === 'data') context.bytes.writeBytes(chunk.bytes);
    else if (chunk.kind === 'lost' && !ignoreErrors) throw chunk.error;
    else writeZeroes(context, chunk.length);
  }
  if (doubt !== undefined) throw doubt;
}

function writeZeroes(context: Context, length: number): void {
  for (let done = 0; done < length; done += zeroes.length) {
    context.bytes.writeBytes(zeroes.subarray(0, Math.min(zeroes.length, length - done)));
  }
}
