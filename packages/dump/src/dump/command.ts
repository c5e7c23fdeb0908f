// dump: the metadata of a filesystem in qcow2 files, one for each member. Mirrors c_src/cmd_dump.c, v1.36.1, and takes
// --single-replica from v1.39.2.

import {
  bytesText,
  type Context,
  defineCommand,
  devicesPositional,
  EXIT,
  filesystemOptions,
  findMembersForReading,
  passphraseFor,
  runSteps,
} from '@bcachefs-ts/command';
import {
  CorruptError,
  type DumpTransform,
  dumpMember,
  encryptionOf,
  Filesystem,
  filesystemOf,
  findMetadata,
  loadChecksums,
  locationText,
  type MemberSet,
  type MetadataMap,
  type MetadataSize,
  masterKey,
  NewFile,
  NO_REPLAY,
  sanitiseTransform,
  UsageError,
} from '@bcachefs-ts/core/engine';

const SANITIZE_LEVELS = ['data', 'filenames', 'all'] as const;
type SanitizeLevel = (typeof SANITIZE_LEVELS)[number];

/** One file that was written. */
interface DumpedMember {
  readonly path: string;
  readonly index: number;
  readonly device: string;
  readonly deviceBytes: number;
  readonly fileBytes: number;
  readonly size: MetadataSize;
}

export const dumpCommand = defineCommand({
  name: 'dump',
  summary: 'Write the metadata of a filesystem to qcow2 files',
  description:
    'Writes all metadata (superblocks, journal, btree nodes) to NAME.qcow2, or of several members to NAME.0.qcow2, NAME.1.qcow2 and so on by ' +
    'the numbers of the members. The contents of files, long targets of symbolic links among them, are left out and read as zeroes; the names of files, their attributes and ' +
    'very small files, which are kept in the btrees, are in the dump unless --sanitize takes them out. Nothing is written to the ' +
    'devices.\n\n' +
    'Every command that reads can open the dump as it is; undump turns it into an image, which a kernel mounts like the ' +
    'original. A file appears under its name only when it is whole.\n\n' +
    'What --sanitize takes out, and what a sanitised dump still says:\n\n' +
    '- data: contents of small files, targets of symbolic links, values of extended attributes and ACLs, the texts of log entries in the ' +
    'journal, and whatever no checksum vouches for. Names of files and of attributes stay.\n\n' +
    '- filenames: these names as well, which become others of the same length. Everything else stays: the shape of the tree, lengths of ' +
    'names, owners, modes, sizes, times, projects and quotas, where all data lies, and in the superblocks the label of the filesystem, the ' +
    'disk labels, all UUIDs, names and models of devices, times, and the key of an encrypted filesystem, sealed by its passphrase: ' +
    'who knows that can read the dump, and with the devices the filesystem. The hashes of a few original names stay too (each leaf ends ' +
    'at one), which a dictionary could be tried against.\n\n' +
    '- all: of the superblocks the label, the disk labels, the UUIDs and the names of devices become others, and an encrypted dump is ' +
    'encrypted anew with a key of its own that stands in the clear. Of the internal UUID the first half stays, by which nodes are known.\n\n' +
    'A sanitised dump can be read and checked like the original, by a kernel as well.\n\n' +
    'Damaged nodes are reported on stderr and dumped as they are. When something could not be found or read, that is reported, the dump is ' +
    'written without it, and the exit code is 1.',
  examples: [
    { command: 'bcachefs dump -o broken disk.img', does: 'Writes broken.qcow2' },
    { command: 'bcachefs dump -o /tmp/pair /dev/sdb /dev/sdc', does: 'Writes /tmp/pair.0.qcow2 and /tmp/pair.1.qcow2' },
    {
      command: 'bcachefs dump --sanitize=filenames -o report disk.img',
      does: 'Writes a dump to attach to a bug report, without names and small files',
    },
    {
      command: 'bcachefs dump --sanitize=all -o report disk.img',
      does: 'The same, and without labels, UUIDs and the key of the filesystem',
    },
    { command: 'bcachefs list --btree=inodes broken.qcow2', does: 'Looks into a dump' },
  ],
  positionals: devicesPositional,
  options: {
    output: {
      type: 'string',
      alias: 'o',
      value: 'NAME',
      required: true,
      file: true,
      help: 'where to write to; .qcow2 is added',
    },
    force: { type: 'flag', alias: 'f', help: 'overwrite files that are there' },
    sanitize: {
      type: 'choice',
      alias: 's',
      choices: SANITIZE_LEVELS,
      bare: 'data',
      help: 'take out what is private: contents of files (data, also without a value), names too (filenames), and whose filesystem it is (all)',
    },
    nojournal: { type: 'flag', help: 'of the journal, only what a mount would replay' },
    single_replica: {
      type: 'flag',
      help: 'one replica of each node, that on the member of the lowest number: smaller, but checks will miss the others',
    },
    noexcl: { type: 'flag', help: 'read devices that are in use, whose dump may not hold together' },
    verbose: { type: 'flag', alias: 'v', help: 'say on stderr what is done' },
    ...filesystemOptions,
  },
  async run(context, args) {
    await loadChecksums();
    let losses = 0;
    const lose = (message: string) => {
      losses++;
      context.warn(message);
    };
    const filesystem = await openForDump(context, { ...args, exclusive: !args.noexcl }, lose);
    try {
      const paths = outputPaths(args.output, filesystem.set);
      const files = newFiles([...paths.values()], args.force);
      const forget = () => {
        for (const file of files) file.discard();
      };
      const done = context.onInterrupt(forget);
      try {
        const map = await findAll(context, filesystem, args, lose);
        const transforms = args.sanitize === undefined ? [] : [sanitiser(context, filesystem, args.sanitize)];
        const members: DumpedMember[] = [];
        let damaged = 0;
        for (const [nr, [index, path]] of [...paths].entries()) {
          const device = filesystem.device(index);
          const file = files[nr];
          if (device === undefined || file === undefined) continue;
          const size = map.size(index);
          if (args.verbose)
            context.warn(`${device.name}: ${size.nodes} nodes, ${bytesText(size.journalBytes)} of journal`);
          const task = context.progress.start({
            what: `dumping ${device.name}`,
            total: size.totalBytes,
            unit: 'bytes',
          });
          const steps = dumpMember(filesystem, map, index, file, {
            transforms,
            onDamage: damage => {
              damaged++;
              context.warn(`${damage.message}; dumped as it is`);
            },
            onLoss: loss => lose(loss.message),
          });
          const fileBytes = await runSteps(steps, bytes => task.at(bytes));
          task.end();
          members.push({ path, index, device: device.name, deviceBytes: device.sizeBytes, fileBytes, size });
        }
        for (const file of files) file.flush();
        for (const file of files) file.commit();
        return { members, damaged, losses, sanitized: args.sanitize };
      } catch (thrown) {
        forget();
        throw thrown;
      } finally {
        done();
      }
    } finally {
      filesystem.close();
    }
  },
  text({ members }, out) {
    for (const { path, device, deviceBytes, fileBytes, size } of members) {
      out.line(`${path}: ${bytesText(fileBytes)}, ${size.nodes} nodes of ${device} (${bytesText(deviceBytes)})`);
    }
  },
  json: ({ members, damaged, losses, sanitized }) => ({
    sanitized: sanitized ?? null,
    damaged_nodes: damaged,
    losses,
    files: members.map(({ path, index, device, deviceBytes, fileBytes, size }) => ({
      path,
      device,
      dev: index,
      device_bytes: deviceBytes,
      file_bytes: fileBytes,
      superblock_bytes: size.superblockBytes,
      journal_bytes: size.journalBytes,
      btree_nodes: size.nodes,
      btree_bytes: size.nodeBytes,
    })),
  }),
  exitCode: ({ losses }) => (losses > 0 ? EXIT.failed : EXIT.ok),
});

type Lose = (message: string) => void;

/** Opens it even when nothing says where its btrees are: superblocks and journal are worth dumping too. */
async function openForDump(
  context: Context,
  args: Parameters<typeof findMembersForReading>[1],
  lose: Lose,
): Promise<Filesystem> {
  const set = findMembersForReading(context, args);
  try {
    const encryption = encryptionOf(set.newest.sb);
    const passphrase = encryption === 'passphrase' ? await passphraseFor(context, args.passphrase_file) : undefined;
    try {
      const filesystem = filesystemOf(set, { degraded: true, passphrase, unvalidated: true });
      for (const { where, detail } of filesystem.replay.problems) {
        context.warn([locationText(where), detail].filter(Boolean).join(': '));
      }
      return filesystem;
    } catch (thrown) {
      // With a wrong key, all that could be dumped is noise.
      if (!(thrown instanceof CorruptError) || thrown.error === 'master_key_wrong') throw thrown;
      lose(`${thrown.message}; only superblocks and the journal are dumped`);
      const key = encryption === 'none' ? undefined : masterKey(set.newest.sb, passphrase);
      return new Filesystem(set, NO_REPLAY, key, { unvalidated: true });
    }
  } catch (thrown) {
    for (const { device } of set.members) device.close();
    throw thrown;
  }
}

/** By member index, as the reference calls them. */
function outputPaths(name: string, { members }: MemberSet): ReadonlyMap<number, string> {
  if (name === '') throw new UsageError('an empty name', '--output');
  const indexes = members.map(({ sb }) => sb.dev_idx).toSorted((a, b) => a - b);
  return new Map(indexes.map(index => [index, indexes.length > 1 ? `${name}.${index}.qcow2` : `${name}.qcow2`]));
}

/** All of them or none. Only their owner may read what is in them. */
function newFiles(paths: readonly string[], overwrite: boolean): readonly NewFile[] {
  const files: NewFile[] = [];
  try {
    for (const path of paths) files.push(new NewFile(path, { overwrite, mode: 0o600 }));
    return files;
  } catch (thrown) {
    for (const file of files) file.discard();
    throw thrown;
  }
}

async function findAll(
  context: Context,
  filesystem: Filesystem,
  { nojournal, single_replica }: { readonly nojournal: boolean; readonly single_replica: boolean },
  lose: Lose,
): Promise<MetadataMap> {
  const task = context.progress.start({ what: 'looking for metadata', unit: 'nodes' });
  const steps = findMetadata(filesystem, {
    dirtyJournalOnly: nojournal,
    singleReplica: single_replica,
    onLoss: loss => lose(loss.message),
  });
  const map = await runSteps(steps, nodes => task.at(nodes));
  task.end();
  return map;
}

function sanitiser(context: Context, filesystem: Filesystem, level: SanitizeLevel): DumpTransform {
  const warn = (message: string) => context.warn(message);
  return sanitiseTransform(filesystem, { filenames: level !== 'data', identity: level === 'all', warn });
}
