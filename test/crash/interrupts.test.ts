// The real program, asked to stop (Ctrl-C, kill, a terminal that goes away) at random moments while it fills a new image: nothing is left
// behind, neither the image nor temporary files, or the image is whole.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { built } from '../support/built.ts';
import { statesOf } from '../support/cut-states.ts';
import { runUntil } from '../support/killed-process.ts';
import { sized } from '../support/long.ts';
import { loadImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`interrupts: TEST_SEED=${seed}`);
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-interrupts-'));
const at = (...names: string[]) => join(folder, ...names);
const env = { TMPDIR: at('tmp'), SOURCE_DATE_EPOCH: '1700000000' };
const states = statesOf();

afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await loadChecksums();
  built('bcachefs');
  for (let nr = 0; nr < 12; nr++) {
    mkdirSync(at('source', `d${nr}`), { recursive: true });
    for (let i = 0; i < 60; i++) writeFileSync(at('source', `d${nr}`, `f${i}`), `${nr} ${i} `.repeat(i * 10));
  }
  mkdirSync(at('tmp'));
}, patient(120_000));

const signals = [
  { signal: 'SIGINT', exitCode: 130 },
  { signal: 'SIGTERM', exitCode: 143 },
  { signal: 'SIGHUP', exitCode: 129 },
] as const;

test.each([
  {
    name: 'image create',
    words: ['image', 'create', '-q', '--seed=1', `--source=${at('source')}`, at('out', 'a.img')],
  },
  {
    name: 'format --source',
    words: ['format', '-q', '--seed=1', '--fs_size=64M', `--source=${at('source')}`, at('out', 'a.img')],
  },
])(
  `$name (seed ${seed})`,
  async ({ words }) => {
    const random = randomFrom(seed);
    const prepare = () => {
      rmSync(at('out'), { recursive: true, force: true });
      mkdirSync(at('out'));
    };
    prepare();
    const course = await runUntil(words, env);
    expect(course).toMatchObject({ exitCode: 0, stderr: '' });
    const whole = states.of([loadImage(at('out', 'a.img'))]);
    const seen = { stopped: 0, done: 0 };
    for (let nr = 0; nr < sized(3, 4, 30); nr++) {
      prepare();
      const { signal, exitCode } = signals[nr % signals.length]!;
      // From the first byte on: before it there is nothing that could stay.
      const moment = { writtenBytes: 1 + random.below(course.writtenBytes) };
      const ended = await runUntil(words, env, moment, signal);
      const where = `${signal} at ${JSON.stringify(moment)}, TEST_SEED=${seed}`;
      expect(readdirSync(at('tmp')), where).toEqual([]);
      if (ended.exitCode === 0) {
        seen.done++;
        expect(readdirSync(at('out')), where).toEqual(['a.img']);
        expect(states.of([loadImage(at('out', 'a.img'))]), where).toBe(whole);
      } else {
        seen.stopped++;
        expect(ended.exitCode, where).toBe(exitCode);
        expect(readdirSync(at('out')), where).toEqual([]);
      }
    }
    console.info(JSON.stringify(seen));
    // The last bytes are the superblocks, after the last moment at which it stops.
    expect(seen.stopped).toBeGreaterThan(0);
  },
  patient(300_000),
);
