// Writing against a real kernel: Linux fills filesystems, our engine changes them at random in several commits (its own files against a
// model, the kernel's in place), then Linux checks and reads them: no complaint, everything as we read it. Then Linux changes
// them in turn, and we read and check what it has left.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  createSnapshot,
  deleteSubvolume,
  FileEdit,
  type FileRef,
  type Filesystem,
  FilesystemWriter,
  FileTree,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  masterKey,
  openDevice,
  openFilesystem,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isLong } from '../support/long.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { caseNamed, compareManifests, resultOf, runInKernel, type Step, unlockKey } from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;
const PASSPHRASE = 'correct horse';
const TOP = 'changed here';

const problemsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);
const COMMITS = 4;
const STEPS = 250;

interface Kind {
  readonly name: string;
  readonly format: readonly string[];
  readonly devices?: number;
  readonly isEncrypted?: boolean;
}

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'plain', format: ['--fs_size=320M', 'DEV0'] },
  { name: 'zstd', format: ['--compression=zstd', '--fs_size=320M', 'DEV0'] },
  { name: 'lz4', format: ['--compression=lz4', '--data_checksum=xxhash', '--str_hash=crc32c', '--fs_size=320M', 'DEV0'] },
  { name: 'gzip', format: ['--compression=gzip', '--data_checksum=crc64', '--str_hash=crc64', '--fs_size=320M', 'DEV0'] },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--fs_size=320M', 'DEV0'], isEncrypted: true },
  { name: 'three', format: ['--replicas=2', '--fs_size=320M', 'DEV0', '--fs_size=256M', 'DEV1', '--fs_size=320M', 'DEV2'], devices: 3 },
  { name: 'small-nodes', format: ['--btree_node_size=16k', '--block_size=512', '--fs_size=320M', 'DEV0'] },
];
/** The others differ in how data is encoded. */
const FEW = ['lz4', 'encrypted', 'three', 'small-nodes'];
const kinds = allKinds.filter(({ name }) => isLong || FEW.includes(name));

const text = new TextEncoder();

/**
 * check_nlinks of 6.12 counts a name that is new in a snapshot for the version of the inode above it too, where the one in the snapshot has
 * just one link: after `ln f g`, a snapshot, `mv f F; rm g` it says "wrong i_nlink (2, should be 3)" of what the kernel alone has made. Our
 * own checker judges link counts; what is random here may run into it.
 */
const isFalseAlarm = ({ text }: { readonly text: string }): boolean =>
  / has wrong i_nlink \(\d+, should be \d+\)/.test(text) || text === 'done going read-only, filesystem not clean';

/** Changes files that the kernel has made: some go, some are cut, written into, renamed or linked, and subvolumes too. */
function changeTheirs(edit: FileEdit, random: Random): void {
  const { files, content } = edit;
  files.flush();
  const tree = FileTree.open(edit.tx);
  const found: {
    readonly directory: FileRef;
    readonly name: Uint8Array;
    readonly type: number;
    readonly ref: FileRef;
  }[] = [];
  for (const { entry, node, path } of tree.walk()) {
    if (entry === undefined || node === undefined || Buffer.from(path).toString().startsWith(TOP)) continue;
    if (tree.table.subvolume(entry.directory.subvolume)?.isReadOnly) continue;
    const { directory, name, type } = entry;
    found.push({ directory: directory, name, type, ref: { subvolume: node.subvolume, inum: node.inum } });
  }
  const untouched = new Set(found);
  for (let step = 0; step < 60 && untouched.size > 0; step++) {
    const one = random.pick([...untouched]);
    untouched.delete(one);
    // What was moved or deleted with something else is left out.
    if (files.lookup(one.directory, one.name)?.inum !== one.ref.inum) continue;
    const isFile = one.type === 8;
    const choice = random.below(6);
    if (choice === 0 && one.type !== 4 && one.type !== 16) files.remove(one.directory, one.name);
    else if (choice === 1 && isFile) content.truncate(one.ref, random.below(Number(files.inode(one.ref).bi_size) + 1));
    else if (choice === 2 && isFile)
      content.write(
        one.ref,
        random.below(50_000),
        random.below(2) ? text.encode('in between') : new Uint8Array(30_000).fill(7),
      );
    else if (choice === 3 && isFile) content.punch(one.ref, random.below(20_000), 20_000 + random.below(40_000));
    else if (choice === 4 && (isFile || one.type === 4))
      files.setXattr(one.ref, 'user.changed', text.encode(`step ${step}`));
    else if (choice === 5 && isFile)
      files.rename(one.directory, one.name, one.directory, text.encode(`renamed-${step}`));
    else if (one.type === 16)
      createSnapshot(files, files.root(), text.encode(`snapshot-${step}-${one.ref.subvolume}`), one.ref.subvolume);
  }
}

/** One of the subvolumes with nothing below them goes, others having been snapshotted from it or not. */
function dropTheirs(edit: FileEdit): void {
  const tree = FileTree.open(edit.tx);
  for (const { entry, node, path } of tree.walk()) {
    if (entry?.type !== 16 || node === undefined || Buffer.from(path).toString().startsWith(TOP)) continue;
    if (tree.table.subvolumes().some(({ fsPathParent }) => fsPathParent === node.subvolume)) continue;
    if (tree.table.subvolume(entry.directory.subvolume)?.isReadOnly) continue;
    deleteSubvolume(edit.files, entry.directory, entry.name);
    return;
  }
}

kernelSuite('what we write is what the kernel reads', () => {
  const seed = testSeed();
  console.info(`kernel writes: TEST_SEED=${seed}`);
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-write-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const all = kinds.map(kind => {
    const disks = Array.from({ length: kind.devices ?? 1 }, (_, i) => `${kind.name}.${i}`);
    return { ...kind, disks, images: disks.map(disk => join(folder, `${disk}.img`)) };
  });
  type One = (typeof all)[number];
  const keyOf = ({ isEncrypted, images }: One) => (isEncrypted ? { key: unlockKey(images[0]!, PASSPHRASE) } : {});
  const passphraseOf = ({ isEncrypted }: One) => (isEncrypted ? { passphrase: text.encode(PASSPHRASE) } : {});
  const disks = all.flatMap(one => one.disks.map((name, i) => ({ name, path: one.images[i]! })));
  const inKernel = (stepsOf: (one: One, nr: number) => readonly Step[], throwaway: boolean) =>
    runInKernel({
      disks: disks.map(disk => ({ ...disk, throwaway })),
      cases: all.map((one, nr) => ({ name: one.name, steps: stepsOf(one, nr) })),
      timeoutSeconds: 900,
    });
  const models = new Map<string, FileModel>();
  const looks: Record<'ours' | 'theirs', Awaited<ReturnType<typeof inKernel>> | undefined> = {
    ours: undefined,
    theirs: undefined,
  };
  const look = () =>
    inKernel(
      one => [
        { do: 'fsck', disks: one.disks, as: 'fsck', timeoutSeconds: 200, ...keyOf(one) },
        { do: 'mount', disks: one.disks, readOnly: true, options: 'nochanges', ...keyOf(one) },
        { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
        { do: 'umount' },
      ],
      true,
    );

  function changeByEngine(one: One): void {
    const devices = one.images.map(path => openDevice(path, { write: true }));
    try {
      const random = randomFrom(seed);
      let clock = 1_800_000_000_000_000_000n;
      const now = () => (clock += 1_000_003n);
      const set = openMembers(devices);
      const key = one.isEncrypted ? masterKey(set.newest.sb, text.encode(PASSPHRASE)) : undefined;
      const options = { random: seededRandom(`${seed}`), now };
      const writer = new FilesystemWriter(set, { key, random: options.random, now: () => clock / 10n ** 9n });
      const model = new FileModel(random);
      models.set(one.name, model);
      for (let commit = 0; commit < COMMITS; commit++) {
        const edit = new FileEdit(writer, options);
        const root = edit.files.root();
        const name = text.encode(TOP);
        const top = edit.files.lookup(root, name) ?? edit.files.create(root, name, { mode: 0o040755 });
        for (let step = 0; step < STEPS; step++) model.step(edit, top);
        changeTheirs(edit, random);
        if (commit % 2 === 1) dropTheirs(edit);
        edit.commit();
        expect(problemsOf(writer.filesystem)).toEqual([]);
        expect(treeText(writer.filesystem, TOP)).toEqual(model.text());
      }
    } finally {
      for (const device of devices) device.close();
    }
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    const passphraseFile = join(folder, 'passphrase');
    writeFileSync(passphraseFile, PASSPHRASE);
    for (const { format, images } of all) {
      const words = format.map(word =>
        word.replace('PASSPHRASE', passphraseFile).replace(/^DEV(\d)$/, (_, nr: string) => images[Number(nr)]!),
      );
      await succeed('format', words);
    }
    await inKernel(
      (one, nr) => [
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        { do: 'fill', seed: nr, sizeBytes: 4 * MIB, subvolumes: true, timeoutSeconds: 200 },
        { do: 'umount' },
      ],
      false,
    );
  }, 1_000_000);

  describe('after our changes', () => {
    test.each(all)('$name: changed in four commits', one => changeByEngine(one), 200_000);
    test('the kernel has looked', async () => {
      looks.ours = await look();
    }, 1_000_000);
    test.each(all)('$name: no complaint', one => {
      noComplaint(one, 'ours');
    });
    test.each(all)('$name: everything is as we read it', one => compareWithUs(one, 'ours'), 100_000);
  });

  describe('after the kernel has changed it in turn', () => {
    test('the kernel has changed and looked', async () => {
      await inKernel(
        (one, nr) => [
          { do: 'mount', disks: one.disks, ...keyOf(one) },
          {
            do: 'sh',
            script: `cd '${TOP}'; n=0; find . -xdev -type f | while read -r f; do n=$((n+1)); case $((n%4)) in
              0) rm -f "$f";; 1) echo more >> "$f";; 2) mv "$f" "$f.moved";; 3) truncate -s 1000 "$f";; esac; done; sync`,
            timeoutSeconds: 200,
          },
          { do: 'mkdir', path: 'again' },
          { do: 'write', path: 'again/file', pattern: { kind: 'text', seed: nr }, sizeBytes: 300_000 },
          { do: 'umount' },
        ],
        false,
      );
      looks.theirs = await look();
    }, 1_000_000);
    test.each(all)('$name: no complaint', one => {
      noComplaint(one, 'theirs');
    });
    test.each(all)('$name: everything is as we read it', one => compareWithUs(one, 'theirs'), 100_000);
  });

  function noComplaint(one: One, which: 'ours' | 'theirs'): void {
    const fsck = resultOf(caseNamed(looks[which]!, one.name), 'fsck').fsck;
    expect(fsck?.mounted).toBe(true);
    const complaints = fsck?.complaints ?? [];
    const isAlarmed = complaints.some(({ text }) => text.includes('wrong i_nlink'));
    expect(isAlarmed ? complaints.filter(complaint => !isFalseAlarm(complaint)) : complaints).toEqual([]);
  }

  function compareWithUs(one: One, which: 'ours' | 'theirs'): void {
    const expected = resultOf(caseNamed(looks[which]!, one.name), 'seen').manifest ?? [];
    const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
    const filesystem = openFilesystem(one.images, passphraseOf(one));
    try {
      const { entries, complaints } = treeManifest(filesystem, key => data.get(key));
      expect(complaints).toEqual([]);
      expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
      expect(expected.length).toBeGreaterThan(100);
      expect(problemsOf(filesystem)).toEqual([]);
    } finally {
      filesystem.close();
    }
  }
});
