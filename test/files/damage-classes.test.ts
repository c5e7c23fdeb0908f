// Damage is damage, whichever command meets it: exit code 3 (or 4, where it could be a later version's), one line, and not a byte changed; never a bug
// of ours, never a wrong command line. Lack of space is not a mistake of the command line either.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BchMember, BchSb, FileEdit, FilesystemWriter, loadChecksums, type MemoryDevice, makeBpos, openMembers, sbBits, sealVstruct,
  seededRandom, superblockBytes, viewOf,
} from '@bcachefs-ts/core/engine'; // biome-ignore format: one line of names
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeKey } from '../../packages/core/src/btree/transaction.ts';
import { packInode } from '../../packages/core/src/fs/inode-pack.ts';
import { keyTypes } from '../../packages/core/src/ondisk/keys/key-types.ts';
import { idPos, readSnapshot, writeSnapshot } from '../../packages/core/src/snapshots/create-nodes.ts';
import { type CommandName, run, succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { withTestImage } from '../support/images.ts';
import { formattedImage, MIB, saveImage } from '../support/memory-images.ts';

const SB_OFFSET_BYTES = 4096;
const MEMBERS_V2 = 11;

let folder = '';
beforeAll(async () => {
  await loadChecksums();
  folder = mkdtempSync(join(scratchFolder, 'classes-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Changes the first superblock copy of an image file, and makes its checksum right again. */
function changeSuperblock(path: string, change: (view: DataView) => void): void {
  const image = readFileSync(path);
  const bytes = new Uint8Array(image.buffer, image.byteOffset + SB_OFFSET_BYTES, image.length - SB_OFFSET_BYTES);
  const sb = bytes.subarray(0, superblockBytes(viewOf(bytes), 0));
  const view = viewOf(sb);
  const csumType = Number((view.getBigUint64(BchSb.offset.flags, true) >> 2n) & 0x3fn);
  change(view);
  sealVstruct(csumType, sb);
  writeFileSync(path, image);
}

const flag = (name: keyof typeof sbBits, value: bigint) => (view: DataView) => {
  const { word, lo, hi } = sbBits[name];
  const at = BchSb.offset.flags + 8 * word;
  const mask = ((1n << BigInt(hi - lo)) - 1n) << BigInt(lo);
  view.setBigUint64(at, (view.getBigUint64(at, true) & ~mask) | (value << BigInt(lo)), true);
};

/** Of the first member. */
const member = (change: (view: DataView, at: number) => void) => (view: DataView) => {
  for (let at: number = BchSb.size; at < view.byteLength; at += 8 * view.getUint32(at, true)) {
    if (view.getUint32(at + 4, true) === MEMBERS_V2) return change(view, at + 16);
  }
  throw new Error('there is no members_v2');
};

const superblocks: readonly (readonly [string, (view: DataView) => void])[] = [
  ['BTREE_NODE_SIZE 0', flag('BTREE_NODE_SIZE', 0n)],
  ['BTREE_NODE_SIZE 3', flag('BTREE_NODE_SIZE', 3n)],
  ['string hash 3', flag('STR_HASH_TYPE', 3n)],
  ['string hash 15', flag('STR_HASH_TYPE', 15n)],
  ['metadata checksum type 9', flag('META_CSUM_TYPE', 9n)],
  ['data checksum type 9', flag('DATA_CSUM_TYPE', 9n)],
  ['compression type 15', flag('COMPRESSION_TYPE_LO', 15n)],
  ['background compression type 14', flag('BACKGROUND_COMPRESSION_TYPE_LO', 14n)],
  ['btree_bitmap_shift 255', member((view, at) => view.setUint8(at + BchMember.offset.btree_bitmap_shift, 255))],
  ['a member of 0 buckets', member((view, at) => view.setBigUint64(at + BchMember.offset.nbuckets, 0n, true))],
  ['a member of 1 bucket', member((view, at) => view.setBigUint64(at + BchMember.offset.nbuckets, 1n, true))],
  ['buckets of nothing', member((view, at) => view.setUint16(at + BchMember.offset.bucket_size, 0, true))],
  ['encryption without a key', flag('ENCRYPTION_TYPE', 1n)],
  ['a sequence number at its end', view => view.setBigUint64(BchSb.offset.seq, (1n << 53n) - 1n, true)],
];

const writing: readonly (readonly [CommandName, readonly string[]])[] = [
  ['mkdir', ['IMAGE', '/new']],
  ['rm', ['-r', 'IMAGE', '/deep']],
  ['subvolume create', ['IMAGE', '/new']],
  ['set-fs-option', ['--nocow', 'IMAGE']],
  ['reset-counters', ['IMAGE']],
  ['recovery-pass', ['--set=check_nlinks', 'IMAGE']],
  ['recover-super', ['--yes', '--offset=4096', 'IMAGE']],
];
const reading: readonly (readonly [CommandName, readonly string[]])[] = [
  ['ls', ['IMAGE']],
  ['list', ['--btree=inodes', 'IMAGE']],
  ['show-super', ['IMAGE']],
  ['fs usage', ['IMAGE']],
];

const named = (words: readonly string[], image: string) => words.map(word => (word === 'IMAGE' ? image : word));

describe('"this is a bug" is not said for what is on disk: superblocks', () => {
  test.each(superblocks)(
    '%s: a change is refused, and not a byte changed; reading ends in a value or an error of its kind',
    async (_, change) => {
      await withTestImage('basic', async ([image]) => {
        changeSuperblock(image!, change);
        const before = readFileSync(image!);
        for (const [command, words] of writing) {
          const { exitCode, stderr } = await run(command, named(words, image!));
          // A superblock can be changed where what is wrong is nothing that it is judged by.
          const isOfSuperblocks = ['recover-super', 'recovery-pass', 'reset-counters', 'set-fs-option'].includes(
            command,
          );
          expect(isOfSuperblocks ? [0, 3, 4, 5] : [3, 4, 5], `${command}: ${stderr}`).toContain(exitCode);
          if (exitCode === 0) {
            writeFileSync(image!, before);
            continue;
          }
          expect(stderr, command).not.toContain('--help');
          expect(readFileSync(image!).equals(before), `${command}: ${stderr}`).toBe(true);
        }
        for (const [command, words] of reading) {
          const { exitCode, stderr } = await run(command, named(words, image!));
          expect([0, 1, 3, 4, 5], `${command}: ${stderr}`).toContain(exitCode);
        }
      });
    },
  );
});

/** An image of ours, in which a transaction has put what must not be. */
function contradicting(change: (edit: FileEdit) => void): string {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB });
  let now = 1_800_000_000_000_000_000n;
  const options = { random: seededRandom('classes'), now: () => (now += 1000n) };
  const writer = new FilesystemWriter(openMembers(devices), { ...options, now: () => now / 10n ** 9n });
  const edit = new FileEdit(writer, options);
  change(edit);
  edit.commit();
  const image = join(folder, 'contradicting');
  saveImage(devices[0] as MemoryDevice, image);
  return image;
}

describe('"this is a bug" is not said for what is on disk: keys', () => {
  test.each<[string, (edit: FileEdit) => void, string]>([
    [
      'a root inode without subvolume',
      ({ files, tx }) => {
        const { subvolume, inum } = files.root();
        const pos = makeBpos(0n, inum, files.table.subvolume(subvolume)!.snapshot);
        const inode = packInode({ ...files.inode({ subvolume, inum }), bi_subvol: 0 });
        tx.update('inodes', makeKey(keyTypes.idOf('inode_v3'), pos, inode));
      },
      'inode_bi_subvol_wrong',
    ],
    [
      'a leaf snapshot with a child',
      ({ tx, files }) => {
        const leaf = files.table.subvolume(1)!.snapshot;
        const node = readSnapshot(tx, leaf);
        const tree = tx.get('snapshots', idPos(leaf))!;
        tx.update('snapshots', makeKey(tree.k.type, idPos(leaf - 1), tree.value.slice()));
        writeSnapshot(tx, leaf - 1, { ...node, parent: leaf, depth: 1, subvol: 0, flags: 0, skip: [leaf, leaf, leaf] });
        writeSnapshot(tx, leaf, { ...node, children: [leaf - 1, 0] });
      },
      'snapshot_should_not_have_subvol',
    ],
  ])('%s: a snapshot of it is refused as damage', async (_, change, name) => {
    const image = contradicting(change);
    const before = readFileSync(image);
    const { exitCode, stderr } = await run('subvolume snapshot', ['--json', image, '/', '/snapshot']);
    expect(JSON.parse(stderr), stderr).toMatchObject({ error: 'corrupt', name, exit_code: 3 });
    expect(exitCode).toBe(3);
    expect(readFileSync(image).equals(before)).toBe(true);
  });
});

describe('exit codes and JSON errors', () => {
  test("what a missing member has is 5, never 2 with 'try --help'", async () => {
    const images = ['a', 'b'].map(name => join(folder, name));
    await succeed('format', [
      '-q',
      `--fs_size=${16 * MIB}`,
      '--metadata_replicas=1',
      images[0]!,
      `--fs_size=${16 * MIB}`,
      images[1]!,
    ]);
    const ends: number[] = [];
    for (const image of images) {
      for (const path of ['/', '/nothing']) {
        const { exitCode, stderr } = await run('ls', [image, path]);
        expect(stderr).not.toContain('--help');
        expect(path === '/' ? [0, 5] : [2, 5], `${path}: ${stderr}`).toContain(exitCode);
        ends.push(exitCode);
      }
    }
    // What only the other has is on a device that is not there: no damage.
    expect(ends).toContain(5);
  });

  test('lack of space is stated in bytes, and ends with 1', async () => {
    const { devices } = formattedImage({ sizeBytes: 16 * MIB });
    const image = join(folder, 'small');
    saveImage(devices[0] as MemoryDevice, image);
    const huge = join(folder, 'huge');
    writeFileSync(huge, Buffer.alloc(20 * MIB, 'no zeroes'));
    const { exitCode, stderr } = await run('put', ['--json', image, huge, '/huge']);
    const error = JSON.parse(stderr.trim().split('\n').at(-1)!);
    expect(error).toMatchObject({ error: 'failed', name: 'ENOSPC', exit_code: 1 });
    expect(error.message).toMatch(/no space left for \d+ bytes of data/);
    expect(exitCode).toBe(1);
  });
});
