// The real program on a host that has no room for what it writes: a limit on the size of files, and a file system that is full at any point
// of a commit. It says so, its exit code is that of a failed device, and the filesystem in the image is as it was, complete, or, where
// only what comes after the commit was refused, as it was to be.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CorruptError, loadChecksums, loadCompression, openMembers } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { built, shell } from '../support/built.ts';
import { succeed } from '../support/cli.ts';
import { statesOf } from '../support/cut-states.ts';
import { copySparse } from '../support/fixtures.ts';
import { sized } from '../support/long.ts';
import { loadImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`hosts without room: TEST_SEED=${seed}`);
const ROUNDS = sized(4, 4, 20);
const DEVICE = 5;
const EPOCH = { SOURCE_DATE_EPOCH: '1700000000' };

/** A mount that no other process sees, and that is gone with the process. */
const canMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;
if (!canMount) console.warn('full hosts skipped: unshare cannot mount here (it needs root or user namespaces)');

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-limits-'));
const source = join(folder, 'source');
const base = join(folder, 'base.img');
const image = join(folder, 'disk.img');
const states = statesOf();
const stateOfImage = (path: string): string => states.of([loadImage(path)]);
let old = '';
let now = '';

const put = `"$BCACHEFS" put --seed=3 -r "$IMAGE" "$SOURCE" home`;
const env = { ...EPOCH, IMAGE: image, SOURCE: source };

afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  built('bcachefs');
  const random = randomFrom(seed);
  mkdirSync(source);
  for (let nr = 0; nr < 20; nr++) {
    const bytes = Buffer.alloc(random.pick([0, 100, 4096, 30_000, 120_000]));
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
    writeFileSync(join(source, `f${nr}`), bytes);
  }
  await succeed('format', ['--seed=base', '--fs_size=16M', base], { env: EPOCH });
  await succeed('mkdir', ['--seed=1', base, 'here before'], { env: EPOCH });
  old = stateOfImage(base);
  copySparse(base, image);
  expect(shell(`node ${put}`, env)).toMatchObject({ exitCode: 0, stderr: '' });
  now = stateOfImage(image);
  expect(now).not.toBe(old);
}, patient(120_000));

/** One line that says what went wrong with which file. */
function expectRefusal({ exitCode, stderr }: ReturnType<typeof shell>, words: RegExp): void {
  expect(stderr).toMatch(words);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(exitCode).toBe(DEVICE);
}

/** What format was making. */
function expectNothingOrAll(path: string): 'nothing' | 'complete' {
  const device = loadImage(path);
  try {
    openMembers([device]);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(CorruptError);
    return 'nothing';
  }
  expect(states.of([device])).not.toMatch(/^broken/);
  return 'complete';
}

async function goOn(where: string): Promise<void> {
  await succeed('put', ['-r', image, source, 'once more']);
  expect(stateOfImage(image), where).not.toMatch(/^broken/);
}

describe(`a limit on the size of files (seed ${seed})`, () => {
  test('put', { timeout: patient(120_000) }, async () => {
    const random = randomFrom(seed);
    const sizeKib = statSync(base).size / 1024;
    const seen = { old: 0, new: 0 };
    const limits = [1, 5, 900, sizeKib - 1, ...Array.from({ length: ROUNDS }, () => random.below(sizeKib / 2))];
    for (const limitKib of limits) {
      copySparse(base, image);
      // Node looks away from SIGXFSZ, so that the write fails with EFBIG.
      const ran = shell(`ulimit -f ${limitKib}; exec node ${put}`, env);
      const where = `ulimit -f ${limitKib}: ${ran.stderr}`;
      const state = stateOfImage(image);
      expect([old, now], where).toContain(state);
      if (ran.exitCode === 0) expect(state, where).toBe(now);
      else
        expectRefusal(
          ran,
          /disk\.img: writing \d+ bytes at byte \d+ failed: file too large \(EFBIG\); free some space/,
        );
      seen[state === old ? 'old' : 'new']++;
      if (random.below(3) === 0) await goOn(where);
    }
    expect(seen.old).toBeGreaterThan(1);
  });

  test('format', { timeout: patient(60_000) }, async () => {
    const made = join(folder, 'made.img');
    const seen = { nothing: 0, complete: 0 };
    // The last of them lets everything through but the last copy of the superblock.
    for (const limitKib of [1, 100, 900, 16 * 1024 - 1500]) {
      rmSync(made, { force: true });
      writeFileSync(made, '');
      const ran = shell(`truncate -s 16M "$IMAGE"; ulimit -f ${limitKib}; exec node "$BCACHEFS" format "$IMAGE"`, {
        ...EPOCH,
        IMAGE: made,
      });
      expectRefusal(ran, /made\.img: writing \d+ bytes at byte \d+ failed: file too large \(EFBIG\)/);
      seen[expectNothingOrAll(made)]++;
      await succeed('format', ['--force', made]);
    }
    expect(seen.nothing).toBeGreaterThan(1);
    expect(seen.complete).toBeGreaterThan(0);
  });
});

describe.skipIf(!canMount)(`a host that is full (seed ${seed})`, () => {
  /** Runs a line with the image on a file system with this much room left, and takes the image back. */
  function onFullHost(line: string, roomKib: number, from: string | undefined) {
    const script = [
      'mkdir -p "$FOLDER/host" && mount -t tmpfs -o size=64m none "$FOLDER/host"',
      from === undefined ? ':' : 'cp --sparse=always "$BASE" "$FOLDER/host/disk.img"',
      'used=$(df --output=used -k "$FOLDER/host" | tail -n 1)',
      `mount -o remount,size=$((used + ${roomKib}))k "$FOLDER/host"`,
      'export IMAGE="$FOLDER/host/disk.img"',
      `node ${line}; code=$?`,
      'if [ -e "$IMAGE" ]; then cp --sparse=always "$IMAGE" "$OUT"; fi; exit $code',
    ].join('\n');
    rmSync(image, { force: true });
    const all = { ...env, FOLDER: folder, BASE: base, OUT: image, SCRIPT: script };
    return shell('exec unshare -rm sh -c "$SCRIPT"', all);
  }

  test('put', { timeout: patient(120_000) }, async () => {
    const random = randomFrom(seed);
    copySparse(base, image);
    const before = statSync(image).blocks;
    shell(`node ${put}`, env);
    const neededKib = (statSync(image).blocks - before) / 2;
    const seen = { old: 0, new: 0 };
    const rooms = [0, neededKib + 2048, ...Array.from({ length: ROUNDS }, () => random.below(neededKib))];
    for (const roomKib of rooms) {
      const ran = onFullHost(put, roomKib, base);
      const where = `room of ${roomKib} KiB, ${neededKib} needed: ${ran.stderr}`;
      const state = stateOfImage(image);
      expect([old, now], where).toContain(state);
      if (ran.exitCode === 0) expect(state, where).toBe(now);
      else expectRefusal(ran, /disk\.img: writing \d+ bytes at byte \d+ failed: no space left on device \(ENOSPC\)/);
      seen[state === old ? 'old' : 'new']++;
      if (random.below(3) === 0) await goOn(where);
    }
    expect(seen.old).toBeGreaterThan(1);
    expect(seen.new).toBeGreaterThan(0);
  });

  test('format', { timeout: patient(60_000) }, async () => {
    // A size of 0 would be no limit.
    for (const roomKib of [4, 16, 40]) {
      const ran = onFullHost('"$BCACHEFS" format --fs_size=16M "$IMAGE"', roomKib, undefined);
      expectRefusal(ran, /disk\.img: .* failed: no space left on device \(ENOSPC\)/);
      if (existsSync(image)) expectNothingOrAll(image);
      await succeed('format', ['--force', '--fs_size=16M', image]);
    }
  });
});
