// Encrypted filesystems whose sealed master key is damaged in a superblock, under a checksum that is right: the passphrase still opens it, and
// gives another key, with which everything looks lost. That key is never used. Where another copy has the right one, fsck puts it back.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  loadChecksums,
  openMember,
  type Superblock,
  sbBits,
  sectionPayload,
  withBits,
  withSection,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withPassphrase } from '../../packages/core/src/superblock/passphrase.ts';
import { run } from '../support/cli.ts';
import { formattedImage, type MemoryImage, PASSPHRASE, saveImage, testImage } from '../support/memory-images.ts';
import { randomlyDamaged } from '../support/random-damage.ts';
import { hashFile } from '../support/sparse.ts';
import { editCopies } from '../support/superblock-copies.ts';

const folder = mkdtempSync(join(tmpdir(), 'fsck-key-'));
const passphraseFile = join(folder, 'passphrase');
const newPassphraseFile = join(folder, 'new passphrase');
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(async () => {
  await loadChecksums();
  writeFileSync(passphraseFile, PASSPHRASE);
  writeFileSync(newPassphraseFile, 'another one');
});

/** Another byte of the sealed key. */
function withOtherKey(sb: Superblock): Superblock {
  const payload = Uint8Array.from(sectionPayload(sb, 'crypt') ?? []);
  payload[34]! ^= 0x40;
  return withSection(sb, 'crypt', payload);
}

let saved = 0;
function savedImages({ devices }: Pick<MemoryImage, 'devices'>): readonly string[] {
  const nr = saved++;
  return devices.map((device, member) => {
    const path = join(folder, `${nr}.${member}.img`);
    saveImage(device, path);
    return path;
  });
}

const passphrase = `--passphrase_file=${passphraseFile}`;
const fsck = async (flags: readonly string[], images: readonly string[]) =>
  await run('fsck', [...flags, passphrase, ...images]);

/** Each says why in one line, and leaves the bytes as they were. */
async function expectRefused(images: readonly string[], says: string): Promise<void> {
  const before = images.map(hashFile);
  const joined = images.join(':');
  const refusals = [
    { ...(await fsck(['-n'], images)), code: 8 },
    { ...(await fsck(['-y'], images)), code: 8 },
    { ...(await run('scrub', [passphrase, ...images])), code: 8 },
    { ...(await run('ls', [passphrase, joined, '/'])), code: 3 },
    { ...(await run('mkdir', [passphrase, joined, 'new'])), code: 3 },
    {
      ...(await run('set-passphrase', [passphrase, `--new_passphrase_file=${newPassphraseFile}`, ...images])),
      code: 3,
    },
  ];
  for (const { exitCode, code, stdout, stderr } of refusals) {
    expect(stdout).toBe('');
    expect(stderr).toContain(says);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(exitCode, stderr).toBe(code);
  }
  expect(images.map(hashFile)).toEqual(before);
}

describe('a master key that is damaged in every copy', () => {
  test('nothing is repaired with it', async () => {
    const image = testImage('encrypted');
    editCopies(image.devices[0]!, 'all', withOtherKey);
    await expectRefused(savedImages(image), 'authenticates no btree node and no journal entry');
  });

  test('as damage at random had found it', async () => {
    await expectRefused(savedImages(randomlyDamaged('encrypted', 382)), 'authenticates no btree node');
  });

  test('where the journal is to be replayed', async () => {
    const image = testImage('encrypted');
    editCopies(image.devices[0]!, 'all', sb => withOtherKey({ ...sb, flags: withBits(sb.flags, sbBits.CLEAN, 0) }));
    await expectRefused(savedImages(image), 'authenticates no btree node and no journal entry');
  });

  test('where the section is missing, or said to be of no use', async () => {
    const keyless = testImage('encrypted');
    editCopies(keyless.devices[0]!, 'all', sb => withSection(sb, 'crypt', undefined));
    await expectRefused(savedImages(keyless), 'the section with the key is missing');
    const unencrypted = testImage('encrypted');
    editCopies(unencrypted.devices[0]!, 'all', sb => ({
      ...sb,
      flags: withBits(sb.flags, sbBits.ENCRYPTION_TYPE, 0),
    }));
    await expectRefused(savedImages(unencrypted), 'says that nothing is encrypted');
  });
});

/** fsck finds it, puts it back, and then nothing is left. */
async function expectRepaired(images: readonly string[], error: string): Promise<void> {
  const before = images.map(hashFile);
  const looked = await fsck(['-n'], images);
  expect(looked.stdout).toContain(error);
  expect(looked.exitCode, looked.stdout + looked.stderr).toBe(4);
  // It is not asked for a passphrase, and would write one of the keys over the other.
  const edited = await run('set-fs-option', ['--compression=zstd', ...images]);
  expect(edited.stderr).toContain('bcachefs fsck');
  expect(edited.exitCode).not.toBe(0);
  expect(images.map(hashFile)).toEqual(before);
  const repaired = await fsck(['-y'], images);
  expect(repaired.exitCode, repaired.stdout + repaired.stderr).toBe(1);
  expect(repaired.stdout.match(/error/g)?.length).toBeLessThan(10);
  const again = await fsck(['-f', '-n'], images);
  expect(again.exitCode, again.stdout + again.stderr).toBe(0);
  const changed = await run('set-fs-option', ['--compression=zstd', ...images]);
  expect(changed.exitCode, changed.stderr).toBe(0);
}

describe('a master key that another copy has', () => {
  test('the first copy is damaged: readers use the other, writers refuse, fsck puts it back', async () => {
    const image = testImage('encrypted');
    editCopies(image.devices[0]!, 'first', withOtherKey);
    const images = savedImages(image);
    const before = images.map(hashFile);
    const listed = await run('ls', [passphrase, images[0]!, '/']);
    expect(listed.stderr).toContain('the master key in it is not the one that the filesystem is encrypted with');
    expect(listed.stdout).toContain('secret');
    for (const refused of [
      await run('mkdir', [passphrase, images[0]!, 'new']),
      await run('set-passphrase', [passphrase, `--new_passphrase_file=${newPassphraseFile}`, ...images]),
    ]) {
      expect(refused.stderr).toContain('bcachefs fsck');
      expect(refused.exitCode).toBe(3);
    }
    expect(images.map(hashFile)).toEqual(before);
    await expectRepaired(images, 'master_key_wrong');
    expect((await run('ls', [passphrase, images[0]!, '/'])).stdout).toContain('secret');
  });

  test('a later copy is damaged', async () => {
    const image = testImage('encrypted');
    editCopies(image.devices[0]!, 'others', withOtherKey);
    await expectRepaired(savedImages(image), 'superblock_copy_differs');
  });

  test('another member has it', async () => {
    const image = formattedImage({ members: 2, isEncrypted: true });
    editCopies(image.devices[0]!, 'all', withOtherKey);
    await expectRepaired(savedImages(image), 'master_key_wrong');
  });

  test('the section is missing in the first copy', async () => {
    const image = testImage('encrypted');
    editCopies(image.devices[0]!, 'first', sb => withSection(sb, 'crypt', undefined));
    const images = savedImages(image);
    const repaired = await fsck(['-y'], images);
    expect(repaired.stdout).toContain('invalid_sb_crypt');
    expect(repaired.exitCode, repaired.stdout + repaired.stderr).toBe(1);
    const again = await fsck(['-f', '-n'], images);
    expect(again.exitCode, again.stdout + again.stderr).toBe(0);
  });
});

test('a copy that was left behind does not bring an old passphrase back', async () => {
  const image = testImage('encrypted');
  const [device] = image.devices;
  const old = openMember(device!).sb;
  const changed = withPassphrase(old, image.key!, new TextEncoder().encode('another one'));
  editCopies(device!, 'first', () => ({ ...changed, seq: old.seq + 1 }));
  const [path] = savedImages(image);
  const wrong = await run('ls', [passphrase, path!, '/']);
  expect(wrong.stderr).toContain('wrong passphrase');
  expect(wrong.exitCode).not.toBe(0);
  const right = await run('ls', [`--passphrase_file=${newPassphraseFile}`, path!, '/']);
  expect(right.stdout).toContain('secret');
});
