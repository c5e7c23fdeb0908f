// locate: where on the devices files are: inode and names in nodes of btrees, each run of the data with all of its copies. Reads only.

import { defineCommand, EXIT, filesystemOptions, filesystemPositional, openForLooking } from '@bcachefs-ts/command';
import {
  bposText,
  CorruptError,
  checksumTypeText,
  compressionTypeText,
  type Damage,
  type Filesystem,
  FileTree,
  fileTypes,
  isDirectory,
  type KeyLocation,
  type LocatedReplica,
  type LocatedRun,
  Locator,
  loadChecksums,
  loadCompression,
  modeType,
  printable,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';

/** One file. */
interface LocatedFile {
  readonly path: string;
  readonly inum: bigint;
  readonly subvolume: number;
  readonly snapshot: number;
  /** Such as reg. */
  readonly type: string;
  readonly sizeBytes: bigint;
  readonly inode: KeyLocation | undefined;
  /** Of a directory. */
  readonly entries: readonly { readonly name: Uint8Array; readonly key: KeyLocation | undefined }[];
  readonly runs: readonly LocatedRun[];
}

interface Located {
  readonly files: readonly LocatedFile[];
  /** Members that are there, by their numbers. */
  readonly devices: ReadonlyMap<number, string>;
  readonly losses: number;
}

export const locateCommand = defineCommand({
  name: 'locate',
  summary: 'Say where on the devices files are',
  description:
    'Prints for each path where its inode is, and for files and symbolic links each run of the contents with every copy: member, byte, bucket, ' +
    'generation, checksum type, compression and stripe; for directories, where the entries are. Bytes can be given to explain. ' +
    'Nothing is written.\n\n' +
    'FS is one device or image, or all members joined by colons. Paths are those of subvolume 1, unless --subvolume or --snapshot chooses another tree; ' +
    'a symbolic link is not followed.\n\n' +
    'Of compressed data, a copy is all that has to be read for any part of it. What could not be read is reported on stderr, and the exit code is 1.',
  examples: [
    { command: 'bcachefs locate disk.img /etc/passwd', does: 'Prints where the file is' },
    { command: 'bcachefs locate sda.img:sdb.img /a /b --json', does: 'Prints the same of two files as JSON' },
    { command: 'bcachefs locate --subvolume=/snap disk.img /file', does: 'Looks into another subvolume' },
  ],
  positionals: {
    fs: filesystemPositional,
    paths: {
      count: 'some',
      inside: 'all',
      bytes: true,
      help: 'files, directories or symbolic links, from the root of the tree',
    },
  },
  options: {
    subvolume: {
      type: 'string',
      value: 'ID|PATH',
      conflictsWith: ['snapshot'],
      help: 'the subvolume whose root is taken for /: its number, or its path from the root of the filesystem',
    },
    snapshot: {
      type: 'number',
      value: 'ID',
      min: 1,
      max: 0xffff_ffff,
      help: 'what the snapshot node of this number sees, also where no subvolume lives in it',
    },
    ...filesystemOptions,
  },
  async run(context, args): Promise<Located> {
    await loadChecksums();
    await loadCompression();
    const filesystem = await openForLooking(context, { ...args, devices: [args.fs] });
    try {
      let losses = 0;
      const onDamage = (damage: Damage) => {
        losses++;
        context.warn(damage.message);
      };
      const tree = openTree(filesystem, args, onDamage);
      const locator = new Locator(filesystem, onDamage);
      const files = args.paths.map(path => locateFile(tree, locator, path, onDamage));
      const devices = new Map(filesystem.set.members.map(({ sb, device }) => [sb.dev_idx, device.name]));
      return { files, devices, losses };
    } finally {
      filesystem.close();
    }
  },
  async text({ files, devices }, out) {
    const deviceText = (dev: number) => devices.get(dev) ?? `member ${dev}, which is not here`;
    for (const [nr, file] of files.entries()) {
      if (nr > 0) out.line();
      const { path, type, inum, subvolume, snapshot, sizeBytes } = file;
      const tree = subvolume === 0 ? `snapshot ${snapshot}` : `subvolume ${subvolume}`;
      out.line(`${printable(path)}: ${type}, inode ${inum} in ${tree}, ${sizeBytes} bytes`);
      const key = (what: string, place: KeyLocation | undefined) => {
        for (const line of keyLines(place, deviceText)) out.line(`  ${what} ${line}`);
      };
      key('inode', file.inode);
      for (const entry of file.entries) key(`entry ${printableBytes(entry.name)}`, entry.key);
      for (const run of file.runs) {
        if (run.inline !== undefined) key(`inline data ${runRange(run)}`, run.inline);
      }
      const rows = file.runs.flatMap(run => runRows(run, devices));
      if (rows.length === 0) continue;
      await out.table({
        head: [
          'offset',
          'length',
          'kind',
          'device',
          'byte',
          'on disk',
          'bucket:byte',
          'gen',
          'checksum',
          'compression',
          '',
        ],
        rows,
        align: 'rrllrrrrlll',
      });
    }
  },
  json: ({ files, devices }) => ({
    devices: [...devices].map(([dev, device]) => ({ dev, device })),
    files: files.map(fileJson),
  }),
  exitCode: ({ losses }) => (losses > 0 ? EXIT.failed : EXIT.ok),
});

interface WhichTree {
  readonly subvolume: string | undefined;
  readonly snapshot: number | undefined;
}

function openTree(filesystem: Filesystem, { subvolume, snapshot }: WhichTree, onDamage: (damage: Damage) => void) {
  if (subvolume === '') throw new UsageError('found nothing, expected a number or a path', '--subvolume');
  // A subvolume at the path `7` is `./7`.
  const which = subvolume !== undefined && /^\d{1,10}$/.test(subvolume) ? Number(subvolume) : subvolume;
  return FileTree.open(filesystem, { subvolume: which, snapshot, onDamage });
}

function locateFile(tree: FileTree, locator: Locator, path: string, onDamage: (damage: Damage) => void): LocatedFile {
  const node = tree.lookup(path, { followLinks: false });
  const { inum, subvolume, snapshot, inode } = node;
  const isFolder = isDirectory(inode);
  const entries = isFolder
    ? [...tree.entries(node)].map(({ name, pos }) => ({ name, key: locator.key('dirents', pos) }))
    : [];
  let runs: readonly LocatedRun[] = [];
  try {
    if (!isFolder) runs = [...locator.runs(tree, node)];
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    onDamage(thrown);
  }
  return {
    path,
    inum,
    subvolume,
    snapshot,
    type: fileTypes.nameOf(modeType(inode.bi_mode)),
    sizeBytes: inode.bi_size,
    inode: locator.inode(node),
    entries,
    runs,
  };
}

function keyLines(place: KeyLocation | undefined, device: (dev: number) => string): readonly string[] {
  if (place === undefined) return ['is not to be found'];
  const key = `${place.btree} ${bposText(place.pos)}`;
  if (place.journalSeq !== undefined) return [`${key}: in journal entry ${place.journalSeq}`];
  return place.replicas.map(
    ({ dev, nodeSector, offset }) => `${key}: ${device(dev)} byte ${offset}, in the node at sector ${nodeSector}`,
  );
}

const runRange = ({ offset, lengthBytes }: LocatedRun) => `${offset}+${lengthBytes}`;

function runRows(run: LocatedRun, devices: ReadonlyMap<number, string>): readonly (readonly (string | number)[])[] {
  const kind = run.btree === 'reflink' ? `${run.kind}, shared` : run.kind;
  const head = [run.offset, run.lengthBytes, kind];
  if (run.replicas.length === 0) return [[...head, '', '', '', '', '', '', '', run.problem ?? '']];
  return run.replicas.map((replica, nr) => {
    const { ptr, crc, bucket, offset, lengthBytes } = replica;
    return [
      ...(nr === 0 ? head : ['', '', '']),
      devices.get(ptr.dev) ?? `(member ${ptr.dev})`,
      offset,
      lengthBytes,
      bucket === undefined ? '' : `${bucket.nr}:${bucket.offset}`,
      ptr.gen,
      checksumTypeText(crc?.csum_type ?? 0),
      compressionCell(replica),
      remarks(replica),
    ];
  });
}

function compressionCell({ crc, isCompressed }: LocatedReplica): string {
  if (crc === undefined) return 'none';
  const name = compressionTypeText(crc.compression_type);
  return isCompressed ? `${name} ${(crc.uncompressed_size / crc.compressed_size).toFixed(2)}` : name;
}

function remarks({ ptr, stripe, age }: LocatedReplica): string {
  const found: string[] = [];
  if (ptr.cached) found.push('cached');
  if (age === 'stale') found.push('stale');
  if (stripe !== undefined) found.push(`stripe ${stripe.idx} block ${stripe.block}`);
  return found.join(', ');
}

function fileJson(file: LocatedFile): object {
  const { path, inum, subvolume, snapshot, type, sizeBytes, inode, entries, runs } = file;
  return {
    path,
    inode: inum,
    subvolume,
    snapshot,
    type,
    size: sizeBytes,
    inode_key: keyJson(inode),
    entries: entries.map(({ name, key }) => ({ name: printableBytes(name), key: keyJson(key) })),
    runs: runs.map(runJson),
  };
}

function keyJson(place: KeyLocation | undefined): object | null {
  if (place === undefined) return null;
  return {
    btree: place.btree,
    pos: bposText(place.pos),
    journal_seq: place.journalSeq ?? null,
    replicas: place.replicas.map(({ dev, nodeSector, offset, lengthBytes }) => ({
      dev,
      node_sector: nodeSector,
      offset,
      length: lengthBytes,
    })),
  };
}

function runJson(run: LocatedRun): object {
  const { kind, offset, lengthBytes, key, btree, replicas, inline, problem } = run;
  return {
    kind,
    offset,
    length: lengthBytes,
    btree: btree ?? null,
    key: key === undefined ? null : bposText(key.k.p),
    inline_key: inline === undefined ? null : keyJson(inline),
    problem: problem ?? null,
    replicas: replicas.map(replica => {
      const { ptr, crc, stripe, bucket, age } = replica;
      return {
        dev: ptr.dev,
        offset: replica.offset,
        length: replica.lengthBytes,
        bucket: bucket?.nr ?? null,
        bucket_offset: bucket?.offset ?? null,
        gen: ptr.gen,
        age,
        cached: ptr.cached,
        checksum_type: checksumTypeText(crc?.csum_type ?? 0),
        compression: compressionTypeText(crc?.compression_type ?? 0),
        compressed_sectors: crc?.compressed_size ?? null,
        uncompressed_sectors: crc?.uncompressed_size ?? null,
        stripe: stripe === undefined ? null : { stripe: stripe.idx, block: stripe.block },
      };
    }),
  };
}
