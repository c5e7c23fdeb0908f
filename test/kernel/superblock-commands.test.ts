// What the superblock commands write, judged by a real kernel: options, passphrases and counters that were changed offline are
// what the kernel then finds, on every member, and repaired superblocks mount.

import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { copySparse, fixture, fixtureNames } from '../support/fixtures.ts';
import {
  caseNamed,
  compareManifests,
  KernelFailure,
  kernelFsckAll,
  resultOf,
  runInKernel,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-superblock-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string) => join(folder, name);

function damage(image: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(image, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

kernelSuite('superblock commands', () => {
  test('changes made between two mounts are what the kernel finds at the second', async () => {
    const pair = [file('a.img'), file('b.img')];
    const secret = file('secret.img');
    const torn = file('torn.img');
    writeFileSync(file('old'), 'old passphrase\n');
    writeFileSync(file('new'), 'new passphrase\n');
    await succeed('format', ['--label=ssd.a', '--fs_size=96M', pair[0]!, '--label=hdd.b', '--fs_size=96M', pair[1]!]);
    await succeed('format', ['--encrypted', `--passphrase_file=${file('old')}`, '--fs_size=96M', secret]);
    await succeed('format', ['--fs_size=96M', torn]);

    const disks = [...pair, secret, torn].map((path, nr) => ({ name: ['a', 'b', 'secret', 'torn'][nr]!, path }));
    const fill = { do: 'fill', sizeBytes: 2 * MIB } as const;
    await runInKernel({
      disks,
      cases: [
        { name: 'pair', steps: [{ do: 'mount', disks: ['a', 'b'] }, fill] },
        { name: 'secret', steps: [{ do: 'mount', disks: ['secret'], key: unlockKey(secret, 'old passphrase') }, fill] },
        { name: 'torn', steps: [{ do: 'mount', disks: ['torn'] }, fill] },
      ],
    });

    // With the kernel's own superblocks now on the disks, change them.
    const refused = await run('set-fs-option', ['--compression=zstd', pair[0]!]);
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('name all of them') });
    await succeed('set-fs-option', [
      ...[
        '--compression=zstd:7',
        '--foreground_target=ssd',
        '--background_target=hdd',
        '--errors=ro',
        '--journal_flush_delay=500',
      ],
      ...pair,
    ]);
    await succeed('set-fs-option', ['--durability=0', '--label=cache.c', '--dev_idx=1', ...pair]);
    await succeed('reset-counters', pair);
    await succeed('recovery-pass', ['--set=check_inodes,check_nlinks', ...pair]);
    await succeed('set-passphrase', [
      `--passphrase_file=${file('old')}`,
      `--new_passphrase_file=${file('new')}`,
      secret,
    ]);
    expect((await run('unlock', ['--check', `--file=${file('old')}`, secret])).exitCode).toBe(1);
    expect((await run('unlock', ['--check', `--file=${file('new')}`, secret])).exitCode).toBe(0);
    damage(torn, 4096, new Uint8Array(4096)); // the first superblock
    damage(torn, 3584, new Uint8Array(512)); // and the layout
    await succeed('recover-super', ['--yes', torn]);

    const fillAgain = [
      { do: 'mkdir', path: 'again' },
      { ...fill, at: '/mnt/again' },
    ] as const;
    const after = await runInKernel({
      disks,
      failures: 'return',
      cases: [
        {
          name: 'pair',
          steps: [
            { do: 'mount', disks: ['a', 'b'] },
            {
              do: 'sh',
              as: 'options',
              script: `cd /sys/fs/bcachefs/*-*/options
                for o in compression foreground_target background_target errors journal_flush_delay; do echo "$o $(cat $o)"; done
                echo "label $(cat ../dev-1/label) durability $(cat ../dev-1/durability)"`,
            },
            { do: 'write', path: 'compressed', pattern: { kind: 'text' }, sizeBytes: MIB },
            { do: 'umount' },
            { do: 'fsck', disks: ['a', 'b'], as: 'fsck' },
          ],
        },
        {
          name: 'old passphrase',
          steps: [{ do: 'mount', disks: ['secret'], key: unlockKey(secret, 'old passphrase'), expectFailure: true }],
        },
        {
          name: 'secret',
          steps: [
            { do: 'mount', disks: ['secret'], key: unlockKey(secret, 'new passphrase') },
            ...fillAgain,
            { do: 'umount' },
            { do: 'fsck', disks: ['secret'], key: unlockKey(secret, 'new passphrase'), as: 'fsck' },
          ],
        },
        {
          name: 'torn',
          steps: [
            { do: 'mount', disks: ['torn'] },
            ...fillAgain,
            { do: 'umount' },
            { do: 'fsck', disks: ['torn'], as: 'fsck' },
          ],
        },
      ],
    });
    if (!after.ok) throw new KernelFailure(after);
    expect(resultOf(caseNamed(after, 'pair'), 'options').stdout.trim().split(/ *\n/)).toEqual([
      'compression zstd:7',
      'foreground_target ssd',
      'background_target hdd',
      'errors continue fix_safe panic [ro]',
      'journal_flush_delay 500',
      'label cache.c durability 0',
    ]);
    for (const name of ['pair', 'secret', 'torn']) {
      expect(resultOf(caseNamed(after, name), 'fsck').fsck).toMatchObject({ mounted: true, complaints: [] });
    }

    // Without a passphrase the kernel needs no key at all.
    await succeed('remove-passphrase', [`--passphrase_file=${file('new')}`, secret]);
    await runInKernel({
      disks: [{ name: 'secret', path: secret }],
      steps: [{ do: 'mount', disks: ['secret'] }, { do: 'list' }],
    });
  });

  test('a member without any superblock gets one from another member, and nothing is lost', async () => {
    const pair = [file('first.img'), file('second.img')];
    await succeed('format', ['--fs_size=96M', pair[0]!, '--fs_size=96M', pair[1]!]);
    const disks = pair.map((path, nr) => ({ name: `dev${nr}`, path }));
    const mount = { do: 'mount', disks: ['dev0', 'dev1'] } as const;
    const filled = await runInKernel({
      disks,
      steps: [mount, { do: 'fill', sizeBytes: 4 * MIB }, { do: 'manifest', as: 'manifest' }, { do: 'umount' }],
    });
    const { places } = JSON.parse(await succeed('recover-super', ['--json', '--dry_run', pair[1]!]));
    damage(pair[1]!, 3584, new Uint8Array(512));
    for (const { sector } of places) damage(pair[1]!, sector * 512, new Uint8Array(8192));
    expect((await run('show-super', [pair[1]!])).exitCode).toBe(3);

    await succeed('recover-super', ['--yes', `--src_device=${pair[0]}`, '--dev_idx=1', pair[1]!]);
    const after = await runInKernel({
      disks,
      steps: [
        // The kernel's first repair makes a new journal and miscounts its buckets, the second one corrects that.
        { do: 'fsck', disks: ['dev0', 'dev1'], fixErrors: true },
        { do: 'fsck', disks: ['dev0', 'dev1'], fixErrors: true },
        mount,
        { do: 'manifest', as: 'manifest' },
        { do: 'umount' },
        { do: 'fsck', disks: ['dev0', 'dev1'], as: 'fsck' },
      ],
    });
    const [before, now] = [filled, after].map(result => resultOf(result, 'manifest').manifest!);
    expect(compareManifests(now!, before!, { ignore: ['ctime_ns', 'mtime_ns'] })).toEqual([]);
    expect(resultOf(after, 'fsck').fsck).toMatchObject({ mounted: true, complaints: [] });
  });

  const damaged = ['sb-backup-bitflip', 'sb-head-zeroed', 'sb-primary-bitflip', 'sb-primary-zeroed'];
  test.skipIf(fixtureNames().length === 0)(
    'recover-super repairs damaged superblocks so that the kernel mounts them (reference images)',
    async () => {
      const cases = [];
      for (const name of damaged) {
        const images = fixture(name).images.map(image => copySparse(image, folder));
        const before = await succeed('show-super', images);
        expect(before).toMatch(/External UUID/);
        await succeed('recover-super', ['--yes', images[0]!]);
        expect(await succeed('recover-super', ['--dry_run', images[0]!])).toMatch(/all superblocks are sound/);
        cases.push({ name, images });
      }
      const run = await runInKernel({
        disks: cases.map(({ name, images }) => ({ name, path: images[0]!, throwaway: true })),
        cases: cases.map(({ name }) => ({
          name,
          steps: [
            { do: 'fsck', as: 'fsck', disks: [name] },
            { do: 'mount', disks: [name], readOnly: true, options: 'nochanges' },
            { do: 'manifest', as: 'manifest' },
          ],
        })),
      });
      for (const name of damaged) {
        const { fsck } = resultOf(caseNamed(run, name), 'fsck');
        expect(fsck, name).toMatchObject({ mounted: true, complaints: [] });
        const found = resultOf(caseNamed(run, name), 'manifest').manifest!;
        expect(compareManifests(found, fixture(name).readManifest()), name).toEqual([]);
      }
    },
  );

  test.skipIf(fixtureNames().length === 0)(
    'filesystems that others made keep their verdict after an edit (reference images)',
    async () => {
      const edited = [
        'u103-2dev',
        'u103-basic',
        'multi3-r2',
        'multi4-tiers',
        'unclean',
        'quota',
        'encrypted-wide-lz4',
      ].map(name => {
        const { images, json } = fixture(name);
        const copies = images.map(image => copySparse(image, folder));
        const key = json.passphrase === null ? {} : { key: unlockKey(copies[0]!, json.passphrase) };
        return { name, images: copies, ...key };
      });
      for (const { images } of edited) {
        await succeed('set-fs-option', ['--journal_flush_delay=700', '--gc_reserve_percent=10', ...images]);
        await succeed('reset-counters', images);
      }
      const original = (name: string) => `${name} before`;
      const originals = edited.map(one => ({ ...one, name: original(one.name), images: fixture(one.name).images }));
      const reports = await kernelFsckAll([...originals, ...edited]);
      for (const { name } of edited) {
        expect(reports.get(name)?.complaints, name).toEqual(reports.get(original(name))?.complaints);
        expect(reports.get(name), name).toMatchObject({ mounted: true });
      }
    },
  );
});
