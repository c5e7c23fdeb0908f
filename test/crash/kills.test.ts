// The real program, killed (kill -9) at random moments of a command: the filesystem is as it was or as it was to be, complete, and the next
// command works on it. What format was making is not there, or complete.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CorruptError,
  DeviceError,
  loadChecksums,
  loadCompression,
  openDevice,
  readSuperblock,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { built } from '../support/built.ts';
import { type CommandName, run, succeed } from '../support/cli.ts';
import { statesOf } from '../support/cut-states.ts';
import { copySparse } from '../support/fixtures.ts';
import { type Moment, runUntil } from '../support/killed-process.ts';
import { sized } from '../support/long.ts';
import { loadImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`kills: TEST_SEED=${seed}`);
const KILLS = sized(6, 8, 40);
/** Of each command: on a busy machine there are fewer kills. */
const BUDGET_MS = sized(3000, 3000, 15_000);
const KILLS_MIN = 3;
const EPOCH = { SOURCE_DATE_EPOCH: '1700000000' };

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-kills-'));
const source = join(folder, 'source');
const base = join(folder, 'base.img');
const image = join(folder, 'disk.img');
const states = statesOf();
const stateOfImage = (path: string): string => states.of([loadImage(path)]);

afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  built('bcachefs');
  const random = randomFrom(seed);
  for (let nr = 0; nr < 60; nr++) {
    const inside = join(source, `d${nr % 7}`);
    mkdirSync(inside, { recursive: true });
    writeFileSync(join(inside, `f${nr}`), Buffer.alloc(random.pick([0, 100, 4096, 30_000, 120_000]), `${nr} `));
  }
  await succeed('format', ['--seed=base', '--fs_size=32M', '--compression=lz4', base], { env: EPOCH });
  await succeed('subvolume create', ['--seed=1', base, 'volume'], { env: EPOCH });
  await succeed('put', ['--seed=2', '-r', base, source, 'volume'], { env: EPOCH });
}, patient(120_000));

/** What an uncut run takes, so that moments can be chosen within it. */
type Course = Awaited<ReturnType<typeof runUntil>>;

/** Mostly by bytes, since most of the time nothing is written. */
function momentIn(course: Course, random: Random, nr: number): Moment {
  // The first comes early by what is written, so that on any machine one at least is in time.
  const isTimed = course.writtenBytes === 0 || (nr > 0 && random.below(4) === 0);
  if (isTimed) return { milliseconds: random.below(Math.ceil(course.milliseconds)) };
  // The commit and what comes after it are the last of it.
  const from = nr === 0 || random.below(2) === 0 ? 0 : Math.floor(0.7 * course.writtenBytes);
  const to = nr === 0 ? Math.ceil(0.3 * course.writtenBytes) : course.writtenBytes;
  return { writtenBytes: 1 + from + random.below(to - from) };
}

function* killNumbers(): Generator<number> {
  const end = performance.now() + BUDGET_MS;
  for (let nr = 0; nr < KILLS && (nr < KILLS_MIN || performance.now() < end); nr++) yield nr;
}

const momentText = (moment: Moment): string => `killed at ${JSON.stringify(moment)}, TEST_SEED=${seed}`;

const changes: readonly { readonly command: CommandName; readonly words: readonly string[] }[] = [
  { command: 'put', words: ['--seed=3', '-r', image, source, 'home'] },
  { command: 'rm', words: ['--seed=3', '-r', image, 'volume/source'] },
  { command: 'subvolume snapshot', words: ['--seed=3', image, 'volume', 'volume@1'] },
  { command: 'subvolume delete', words: ['--seed=3', image, 'volume'] },
];

describe.each(changes)(`$command (seed ${seed})`, ({ command, words }) => {
  const all = [...command.split(' '), ...words];

  test(
    'killed again and again',
    async () => {
      const random = randomFrom(seed);
      copySparse(base, image);
      const old = stateOfImage(image);
      const course = await runUntil(all, EPOCH);
      expect(course).toMatchObject({ exitCode: 0, stderr: '' });
      const now = stateOfImage(image);
      expect([old, now].filter(state => state.startsWith('broken'))).toEqual([]);
      expect(now).not.toBe(old);

      const seen = { old: 0, new: 0, killed: 0 };
      for (const nr of killNumbers()) {
        copySparse(base, image);
        const moment = momentIn(course, random, nr);
        const { signal, exitCode } = await runUntil(all, EPOCH, moment);
        const where = momentText(moment);
        if (signal === 'SIGKILL') seen.killed++;
        else expect(exitCode, where).toBe(0);
        const state = stateOfImage(image);
        expect([old, now], where).toContain(state);
        if (signal !== 'SIGKILL') expect(state, where).toBe(now);
        seen[state === old ? 'old' : 'new']++;
        // The same again, as people do; or something else.
        if (state === old) await succeed(command, words, { env: EPOCH });
        else await succeed('mkdir', [image, 'after']);
        expect(stateOfImage(image), where).not.toMatch(/^broken/);
        // Not the same to the byte: the numbers that are made from a seed go by how often the superblock was written.
        expect(stateOfImage(image), where).not.toBe(old);
      }
      console.info(`${command}: ${JSON.stringify(seen)}`);
      expect(seen.killed).toBeGreaterThan(0);
    },
    patient(60_000 + 4 * BUDGET_MS),
  );
});

describe(`format (seed ${seed})`, () => {
  /** Nothing that is taken for a filesystem. */
  function isNothing(path: string): boolean {
    let device: ReturnType<typeof openDevice> | undefined;
    try {
      device = openDevice(path, { write: false });
      readSuperblock(device);
      return false;
    } catch (thrown) {
      // An empty file is what is there before its size is set.
      if (thrown instanceof CorruptError) return ['invalid_sb_magic', 'device_out-of-range'].includes(thrown.error);
      if (thrown instanceof DeviceError && thrown.kind === 'missing') return true;
      throw thrown;
    } finally {
      device?.close();
    }
  }

  test.each([
    { name: 'a new file', over: undefined, words: ['--seed=4', '--fs_size=32M', image] },
    { name: 'over another filesystem', over: base, words: ['--force', '--seed=4', image] },
  ])(
    '$name',
    async ({ over, words }) => {
      const random = randomFrom(seed);
      const prepare = () => {
        rmSync(image, { force: true });
        if (over !== undefined) copySparse(over, image);
      };
      prepare();
      const course = await runUntil(['format', ...words], EPOCH);
      expect(course).toMatchObject({ exitCode: 0, stderr: '' });
      const now = stateOfImage(image);
      const old = over === undefined ? undefined : stateOfImage(over);
      const seen = { nothing: 0, old: 0, new: 0 };
      for (const nr of killNumbers()) {
        prepare();
        const moment = momentIn(course, random, nr);
        await runUntil(['format', ...words], EPOCH, moment);
        const where = momentText(moment);
        if (isNothing(image)) {
          seen.nothing++;
          // What is left is in nobody's way.
          await succeed('format', words, { env: EPOCH });
          expect(stateOfImage(image), where).toBe(now);
        } else {
          const state = stateOfImage(image);
          expect([old, now], where).toContain(state);
          seen[state === now ? 'new' : 'old']++;
          await succeed('mkdir', [image, 'after']);
          expect(stateOfImage(image), where).not.toMatch(/^broken/);
        }
        expect((await run('tree', [image])).exitCode, where).toBe(0);
      }
      console.info(`format: ${JSON.stringify(seen)}`);
      expect(seen.old === 0 || over !== undefined).toBe(true);
    },
    patient(60_000 + 4 * BUDGET_MS),
  );
});
