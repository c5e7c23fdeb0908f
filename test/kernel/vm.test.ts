// Proves the kernel machine itself, with the reference images: does it see what the real kernel saw when they were made,
// does it survive what may happen in it, and does it say plainly what went wrong. Boots are shared; all takes a minute.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copySparse, fileSha256, fixture, fixturesDir } from '../support/fixtures.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import {
  type Case,
  caseNamed,
  compareManifests,
  type Disk,
  KernelFailure,
  type ManifestEntry,
  patternBytes,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

let scratch = '';
beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'bcachefs-ts-vm-test-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

kernelSuite('the kernel machine', () => {
  // At once, because one of them does nothing but wait.
  test.concurrent('has room for 64 disks, of any block size', async () => {
    const disks = Array.from({ length: 64 }, (_, index): Disk => {
      const file = path.join(scratch, `small-${index}`);
      writeFileSync(file, `disk ${index}`);
      truncateSync(file, 1 << 20);
      return {
        name: `d${index}`,
        path: file,
        ...(index === 63 ? { logicalBlockBytes: 4096, physicalBlockBytes: 4096 } : {}),
      };
    });
    const script = 'ls /disks | wc -l; head -c 7 /disks/d62; for d in 0 63; do blockdev --getss /disks/d$d; done';
    const { steps, bootSeconds, ends } = await runInKernel({ disks, steps: [{ do: 'sh', script }] });
    expect(steps[0]!.stdout).toBe('64\ndisk 62512\n4096\n');
    expect(ends).toEqual(['poweroff']);
    expect(bootSeconds).toBeGreaterThan(0.5);
  });

  test.concurrent('goes on after a panic, in a new boot, and reports what the kernel said', async () => {
    const cases: Case[] = [
      { name: 'before', steps: [{ do: 'sh', script: 'echo fine' }] },
      { name: 'panics', steps: [{ do: 'sync' }, { do: 'sh', script: 'echo c > /proc/sysrq-trigger' }, { do: 'sync' }] },
      { name: 'fails', steps: [{ do: 'unlink', path: 'nothing' }] },
      { name: 'late', steps: [{ do: 'sleep', seconds: 60, timeoutSeconds: 0.5, expectFailure: 'ETIMEDOUT' }] },
      { name: 'slow script', steps: [{ do: 'sh', script: 'echo begun; sleep 60', timeoutSeconds: 0.5 }] },
      { name: 'after', steps: [{ do: 'sh', script: 'echo fine' }] },
    ];
    const error = await runInKernel({ disks: [], cases }).catch(thrown => thrown);
    expect(error).toBeInstanceOf(KernelFailure);
    const { message, result } = error as KernelFailure;
    expect(result.ends).toEqual(['panic', 'poweroff']);
    expect(result.cases.map(one => one.ended)).toEqual(['done', 'panic', 'failed', 'done', 'failed', 'done']);
    expect(caseNamed(result, 'panics').steps).toHaveLength(2);
    expect(message).toContain('case "panics", step 1 (sh script=echo c > /proc/sysrq-trigger): the kernel panicked');
    expect(message).toContain('sysrq: Trigger a crash');
    expect(message).toContain('case "fails", step 0 (unlink path=nothing): ENOENT');
    expect(message).toContain('the script ran out of time\n  stdout:\n    begun');
    expect(message.split('\n').length).toBeLessThan(60);
  });

  test.concurrent('is stopped when its time is over', async () => {
    const steps: Step[] = [{ do: 'sync' }, { do: 'sleep', seconds: 50_000, timeoutSeconds: 90_000 }];
    // A busy machine may be over before it is up, with which nothing was tried.
    let [result, timeoutSeconds] = [undefined as RunResult | undefined, 5];
    while (result === undefined || result.cases[0]!.ended === 'not run') {
      timeoutSeconds *= 2;
      result = await runInKernel({ disks: [], steps, timeoutSeconds, failures: 'return' });
    }
    expect(result.ends).toEqual(['timeout']);
    expect(result.cases[0]).toMatchObject({ ok: false, ended: 'timeout' });
    expect(result.cases[0]!.message).toContain('the run was not done after');
  });
});

if (!fixturesDir()) console.warn('kernel machine against reference images skipped: set BCACHEFS_FIXTURES');

kernelSuite.skipIf(!fixturesDir())('a filesystem in the kernel machine', () => {
  const fresh = () => ({ name: 'fs', path: fixture('fresh-113').images[0]!, throwaway: true });
  const mount: Step = { do: 'mount', disks: ['fs'] };

  test('does what the steps say', async () => {
    const block = 4096;
    const before = fileSha256(fresh().path);
    const steps: Step[] = [
      mount,
      { do: 'write', path: 'hello', content: 'hello\n', mode: 0o600, fsync: true },
      { do: 'write', path: 'random', pattern: { kind: 'random', seed: 7 }, sizeBytes: 300_000 },
      { do: 'write', path: 'text', pattern: { kind: 'text', seed: 'x' }, sizeBytes: 100_001 },
      { do: 'write', path: 'hello', content: 'J', offset: 0 },
      { do: 'mkdir', path: 'a/b', parents: true },
      { do: 'symlink', target: '../hello', path: 'a/link' },
      { do: 'link', source: 'hello', path: 'a/b/same' },
      { do: 'mknod', path: 'a/fifo', kind: 'fifo', mode: 0o640 },
      { do: 'mknod', path: 'a/device', kind: 'block', rdev: [8, 17] },
      { do: 'mknod', path: 'a/socket', kind: 'socket' },
      { do: 'rename', source: 'a/fifo', path: 'a/b/pipe' },
      { do: 'setxattr', path: 'hello', name: 'user.colour', value: 'blue' },
      { do: 'setOption', path: 'a', option: 'compression', value: 'zstd' },
      { do: 'setProject', path: 'a', project: 42, inherit: true },
      { do: 'setFlags', path: 'text', flags: 0x40 },
      { do: 'chmod', path: 'a/b', mode: 0o1777 },
      { do: 'chown', path: 'a/link', uid: 12, gid: 34 },
      { do: 'utimens', path: 'a/b/same', atimeNs: 0n, mtimeNs: -1_500_000_000n },
      { do: 'clone', source: 'random', path: 'clone' },
      { do: 'clone', source: 'random', path: 'part', range: { from: block, to: 2 * block, length: 4 * block } },
      { do: 'fallocate', path: 'clone', mode: 'punch-hole', offset: block, length: 10 * block },
      { do: 'fallocate', path: 'clone', mode: 'collapse-range', offset: 0, length: block },
      { do: 'fallocate', path: 'clone', mode: 'insert-range', offset: 20 * block, length: 5 * block },
      { do: 'fallocate', path: 'clone', mode: 'zero-range', offset: 10, length: 100 },
      { do: 'fallocate', path: 'reserved', mode: 'keep-size', offset: 0, length: 64 * block },
      { do: 'truncate', path: 'text', sizeBytes: 70_001 },
      { do: 'subvolumeCreate', path: 'sub' },
      { do: 'write', path: 'sub/file', content: 'first' },
      { do: 'snapshot', source: 'sub', path: 'snapshot', readOnly: true },
      { do: 'write', path: 'sub/file', content: 'second' },
      { do: 'write', path: 'snapshot/file', content: 'no', expectFailure: 'EROFS' },
      { do: 'subvolumeCreate', path: 'gone' },
      { do: 'subvolumeDelete', path: 'gone' },
      { do: 'write', path: '\udce9', content: 'not UTF-8' },
      { do: 'sync' },
      { do: 'dropCaches' },
      { do: 'read', as: 'random', path: 'random' },
      { do: 'read', as: 'text', path: 'text', offset: 5, length: 50_000 },
      { do: 'read', as: 'same', path: 'a/b/same' },
      { do: 'read', as: 'old', path: 'snapshot/file' },
      { do: 'getxattr', as: 'xattr', path: 'hello', name: 'user.colour' },
      { do: 'list', as: 'names', path: 'a' },
      { do: 'rmdir', path: 'a', expectFailure: 'ENOTEMPTY' },
      { do: 'manifest', as: 'manifest' },
      { do: 'umount' },
      { do: 'fsck', as: 'fsck', disks: ['fs'] },
    ];
    const result = await runInKernel({ disks: [fresh()], steps });

    expect(Buffer.from(resultOf(result, 'random').bytes)).toEqual(patternBytes({ kind: 'random', seed: 7 }, 300_000));
    const text = patternBytes({ kind: 'text', seed: 'x' }, 100_001);
    expect(Buffer.from(resultOf(result, 'text').bytes)).toEqual(text.subarray(5, 50_005));
    expect(Buffer.from(resultOf(result, 'same').bytes).toString()).toBe('Jello\n');
    expect(Buffer.from(resultOf(result, 'old').bytes).toString()).toBe('first');
    expect(Buffer.from(resultOf(result, 'xattr').bytes).toString()).toBe('blue');
    expect(resultOf(result, 'names').names).toEqual(['b', 'device', 'link', 'socket']);

    const entries = resultOf(result, 'manifest').manifest!;
    const entry = (name: string) => entries.find(one => one.path === name);
    expect(entry('hello')).toMatchObject({
      mode: '0600',
      nlink: 2,
      mtime_ns: '-1500000000',
      xattrs: { 'user.colour': 'Ymx1ZQ==' },
    });
    expect(entry('a')).toMatchObject({ options: { 'bcachefs.compression': 'zstd', 'bcachefs.project': '42' } });
    expect(entry('a/link')).toMatchObject({ type: 'lnk', target: '../hello', uid: 12, gid: 34 });
    expect(entry('a/device')).toMatchObject({ type: 'blk', rdev: [8, 17] });
    expect(entry('a/b')).toMatchObject({ mode: '1777' });
    expect(entry('part')).toMatchObject({ size: 6 * block, data: [[2 * block, 4 * block]] });
    expect(entry('clone')).toMatchObject({ size: 300_000 + 4 * block });
    expect(entry('reserved')).toMatchObject({ size: 0, blocks: (64 * block) / 512 });
    expect(entry('text')).toMatchObject({ size: 70_001, flags: 0x40 });
    expect(entry('sub')!.subvol).not.toBe(entry('.')!.subvol);
    expect(entry('gone')).toBeUndefined();
    expect(entries.find(one => one.path_b64)).toMatchObject({ path_b64: '6Q==' });
    expect(resultOf(result, 'fsck').fsck).toMatchObject({ mounted: true, clean: true, complaints: [] });
    expect(fileSha256(fresh().path), 'a throwaway disk changes nothing').toBe(before);
  });

  test('can be filled, the same way every time, also when it is small', async () => {
    const path = copySparse(fresh().path, scratch);
    const fill: Step = { do: 'fill', seed: 3, subvolumes: true };
    const steps = (name: string): Step[] => [
      mount,
      { ...fill, as: 'fill' },
      { do: 'manifest', as: name },
      { do: 'umount' },
      { do: 'fsck', as: 'fsck', disks: ['fs'] },
      { do: 'mount', disks: ['fs'], options: 'ro,nochanges' },
      { do: 'manifest', as: 'again' },
    ];
    const result = await runInKernel({
      disks: [
        { name: 'fs', path },
        { ...fresh(), name: 'other' },
      ],
      cases: [
        { name: 'one', steps: steps('filled') },
        { name: 'two', steps: [{ do: 'mount', disks: ['other'] }, fill, { do: 'manifest', as: 'filled' }] },
      ],
    });
    const [one, two] = result.cases;
    const filled = resultOf(one!, 'filled').manifest!;
    expect(filled.length).toBeGreaterThan(400);
    expect(resultOf(one!, 'fsck').fsck!.complaints).toEqual([]);
    // Before it unmounts, the kernel may show times that are a tick older than what it writes.
    const ticks = ['mtime_ns', 'ctime_ns'] as const;
    expect(compareManifests(resultOf(one!, 'again').manifest!, filled, { ignore: ticks })).toEqual([]);
    const kernelsOwn = ['ino', 'mtime_ns', 'ctime_ns', 'btime_ns', 'blocks'] as const;
    expect(compareManifests(resultOf(two!, 'filled').manifest!, filled, { ignore: kernelsOwn })).toEqual([]);
  });

  test('is as the reset left it, and the case goes on in the next boot', async () => {
    const result = await runInKernel({
      disks: [fresh()],
      steps: [
        mount,
        { do: 'startWriter', seed: 5 },
        { do: 'reset', afterSeconds: 1.5 },
        { do: 'fsck', as: 'after reset', disks: ['fs'] },
        mount,
        { do: 'list', as: 'written', path: 'writer' },
        { do: 'crashAfterFsync', path: 'precious', sizeBytes: 100_000, seed: 9 },
        mount,
        { do: 'read', as: 'precious', path: 'precious' },
        { do: 'umount' },
        { do: 'fsck', as: 'at the end', disks: ['fs'] },
      ],
    });
    expect(result.ends).toEqual(['reset', 'reset', 'poweroff']);
    expect(resultOf(result, 'after reset').log.join('\n')).toContain('recovering from unclean shutdown');
    expect(resultOf(result, 'after reset').fsck).toMatchObject({ clean: true, complaints: [] });
    expect(resultOf(result, 'written').names.length).toBeGreaterThan(10);
    expect(Buffer.from(resultOf(result, 'precious').bytes)).toEqual(patternBytes({ kind: 'random', seed: 9 }, 100_000));
    expect(resultOf(result, 'at the end').fsck).toMatchObject({ clean: true });
  });

  test('is repaired, and then the kernel has nothing more to say', async () => {
    const path = copySparse(fixture('dmg-nlink').images[0]!, scratch);
    const result = await runInKernel({
      disks: [{ name: 'fs', path }],
      steps: [
        { do: 'fsck', as: 'repair', disks: ['fs'], fixErrors: true },
        { do: 'fsck', as: 'check', disks: ['fs'] },
        { do: 'mount', disks: ['fs'], options: 'ro,nochanges' },
        { do: 'manifest', as: 'manifest' },
      ],
    });
    const { complaints } = resultOf(result, 'repair').fsck!;
    expect(complaints.map(one => [one.pass, one.fixed])).toEqual([
      ['check_dirents', true],
      ['check_dirents', true],
      ['check_nlinks', true],
      ['check_nlinks', true],
    ]);
    expect(resultOf(result, 'check').fsck!.clean).toBe(true);
    const expected = fixture('dmg-nlink').readManifest<ManifestEntry>('repaired.manifest.json');
    // Inode times of what was repaired are those of the repair.
    expect(compareManifests(resultOf(result, 'manifest').manifest!, expected)).toEqual([]);
  });
});

const sampleOfNames = (what: string, names: readonly string[], few: readonly string[]): string[] =>
  sampleOf(
    what,
    names.map(name => ({ name })),
    few,
  ).map(({ name }) => name);

/** What the kernel said of each when it was made: nothing, or at least one complaint. */
const ALL_CLEAN = [
  'compress-zstd',
  'encrypted',
  'geom-bs512',
  'multi3-r2',
  'quota',
  'reflink',
  'snapshots',
  'u103-2dev',
  'unclean',
];
const ALL_DAMAGED = [
  'dmg-dirent-type',
  'dmg-hash',
  'dmg-leaf-csum',
  'dmg-root',
  'dmg-subvol',
  'sb-head-zeroed',
  'snapshots-orphan',
];
const CLEAN = sampleOfNames('reference images that are clean', ALL_CLEAN, ['encrypted', 'multi3-r2', 'unclean']);
const DAMAGED = sampleOfNames('reference images that are damaged', ALL_DAMAGED, ['dmg-leaf-csum', 'sb-head-zeroed']);

kernelSuite.skipIf(!fixturesDir())('the reference images in the kernel machine', () => {
  let result: RunResult;

  beforeAll(async () => {
    const fixtures = [...CLEAN, ...DAMAGED].map(name => fixture(name));
    const disksOf = ({ name, images }: (typeof fixtures)[number]): Disk[] =>
      images.map((path, index) => ({ name: `${name}.${index}`, path, throwaway: true }));
    result = await runInKernel({
      disks: fixtures.flatMap(disksOf),
      cases: fixtures.map(one => {
        const disks = disksOf(one).map(disk => disk.name);
        const key = one.json.passphrase ? { key: unlockKey(one.images[0]!, one.json.passphrase) } : {};
        const fsck: Step = { do: 'fsck', as: 'fsck', disks, ...key };
        const look: Step[] = [
          { do: 'mount', disks, options: 'ro,nochanges', ...key },
          { do: 'manifest', as: 'manifest' },
        ];
        return { name: one.name, steps: CLEAN.includes(one.name) ? [fsck, ...look] : [fsck] };
      }),
    });
  }, patient(240_000));

  test.each(CLEAN)('%s: clean, and every field of its manifest agrees', name => {
    const found = caseNamed(result, name);
    expect(resultOf(found, 'fsck').fsck!.complaints).toEqual([]);
    expect(resultOf(found, 'fsck').fsck).toMatchObject({ mounted: true, clean: true });
    const expected = fixture(name).readManifest<ManifestEntry>();
    expect(compareManifests(resultOf(found, 'manifest').manifest!, expected)).toEqual([]);
  });

  test.each(DAMAGED)('%s: the kernel complains as it did when the image was made', name => {
    const { fsck } = resultOf(caseNamed(result, name), 'fsck');
    expect(fsck!.mounted).toBe(fixture(name).json.kernel_fsck!.mounted);
    expect(fsck!.clean).toBe(false);
    expect(fsck!.complaints.length).toBeGreaterThan(0);
  });
});
