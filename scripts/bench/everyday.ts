// Whole commands as a person or a script waits for them, each with its aim. Where BENCH_REFERENCE names a program of bcachefs-tools, ratios
// come from both, run in turn; else they are those that were recorded beside v1.36.1. What
// both read was made by this project, in the format of 1.13, which every version of the reference reads.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { btrees } from '@bcachefs-ts/core/engine';
import { copySparse, fixture, whyNoFixtures } from '../../test/support/fixtures.ts';
import { fsckFigures } from './fsck.ts';
import type { Measurement } from './measurement.ts';
import { runOnce } from './run-program.ts';

/** Fewer to try out a change of this file: the aims are for these. */
const FILES = Number(process.env.BENCH_FILES ?? 100_000);
const FILE_BYTES = 4096;
const PER_DIRECTORY = 100;
const STARTS = 15;
const PAIRS = 3;

const reference = process.env.BENCH_REFERENCE;

/** What the reference, v1.36.1, took where it was last measured beside ours: ours / reference, wall clock. */
const RECORDED = { format: 2.7, populate: 0.69, list: 2.5, listJournal: 5.5 } as const;

export function bench(): Measurement[] {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  try {
    return [...starts(folder), ...eightTerabytes(folder), ...manyFiles(folder)];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** A command that failed, such as `format --source` of version 1.13, which ends with a signal. */
class Failed extends Error {}

function seconds(command: string, words: readonly string[]): number {
  const started = performance.now();
  const { status, signal } = spawnSync(command, words, { stdio: 'ignore', env: { ...process.env, NO_COLOR: '1' } });
  if (status !== 0) throw new Failed(`${words.join(' ')} ended with ${status ?? signal}`);
  return (performance.now() - started) / 1000;
}

const ours = (words: readonly string[]): number => runOnce(words).seconds;

/** How much longer than an empty script, each started in turn with it. */
function starts(folder: string): Measurement[] {
  const image = join(folder, 'small.img');
  ours(['format', '--quiet', '--fs_size=64M', image]);
  const above = (name: string, words: (nr: number) => readonly string[]): Measurement => {
    const differences: number[] = [];
    for (let nr = 0; nr <= STARTS; nr++) {
      const empty = seconds(process.execPath, ['-e', '0']);
      const full = ours(words(nr));
      if (nr > 0) differences.push(1000 * (full - empty));
    }
    return { name: `${name}, above node -e 0`, value: median(differences), unit: 'ms', aim: { atMost: 40 } };
  };
  return [
    above('show-super of a small image', () => ['show-super', image]),
    above('mkdir in a small image', nr => ['mkdir', '--quiet', image, `d${nr}`]),
  ];
}

/** Ours divided by the reference's, medians of runs in turn; as recorded where there is no reference. */
function ratio(name: string, atMost: number, recorded: number, pair: Pair): Measurement {
  const aim = { atMost };
  const unit = '× the reference';
  if (reference === undefined) return { name, value: recorded, unit, aim, note: 'recorded' };
  const times = { ours: [] as number[], theirs: [] as number[] };
  try {
    for (let nr = 0; nr < PAIRS; nr++) {
      times.theirs.push(pair.theirs(reference));
      times.ours.push(pair.ours());
    }
  } catch (thrown) {
    if (!(thrown instanceof Failed)) throw thrown;
    return {
      name,
      value: recorded,
      unit,
      aim,
      note: `recorded, as the reference cannot be measured: ${thrown.message}`,
    };
  }
  return { name, value: median(times.ours) / median(times.theirs), unit, aim };
}

interface Pair {
  readonly ours: () => number;
  readonly theirs: (program: string) => number;
}

function eightTerabytes(folder: string): Measurement[] {
  const image = join(folder, 'large.img');
  const sparse = () => {
    rmSync(image, { force: true });
    spawnSync('truncate', ['--size=8T', image]);
  };
  const measured = ratio('format of 8 TiB', 1, RECORDED.format, {
    ours: () => {
      sparse();
      return ours(['format', '--quiet', image]);
    },
    theirs: program => {
      sparse();
      return seconds(program, ['format', '--quiet', image]);
    },
  });
  rmSync(image, { force: true });
  ours(['format', '--quiet', '--fs_size=8T', image]);
  const mkdir = { name: 'mkdir in an empty 8 TiB', value: 1000 * ours(['mkdir', '--quiet', image, 'd']), unit: 'ms' };
  rmSync(image);
  return [measured, mkdir];
}

function manyFiles(folder: string): Measurement[] {
  const source = join(folder, 'source');
  const image = join(folder, 'many.img');
  const copy = join(folder, 'copy.img');
  const empty = join(folder, 'empty.img');
  smallFiles(source);
  const populate = ratio(`format --source, ${FILES} files of ${FILE_BYTES} bytes`, 0.5, RECORDED.populate, {
    ours: () => {
      rmSync(image, { force: true });
      return ours(['format', '--quiet', `--source=${source}`, '--fs_size=2G', image]);
    },
    theirs: program => {
      rmSync(image, { force: true });
      spawnSync('truncate', ['--size=2G', image]);
      return seconds(program, ['format', '--quiet', `--source=${source}`, image]);
    },
  });
  rmSync(image, { force: true });
  ours(['format', '--quiet', `--source=${source}`, '--fs_size=2G', image]);
  ours(['format', '--quiet', '--fs_size=2G', empty]);

  // Those of 1.13 by the names that every version of the reference knows.
  const names = btrees.rows
    .filter(({ since, name }) => since === '1.13' && name !== 'reconcile_work')
    .map(({ name }) => name);
  const list = (name: string, words: readonly (readonly string[])[]) =>
    ratio(name, 1, RECORDED.list, {
      ours: () => words.reduce((sum, one) => sum + ours(['list', ...one, image]), 0),
      theirs: program => names.reduce((sum, btree) => sum + seconds(program, ['list', `--btree=${btree}`, image]), 0),
    });
  const lists = [
    list(
      'list of every btree, a process for each',
      names.map(btree => [`--btree=${btree}`]),
    ),
    list('list of every btree in one process', [['--btree=all']]),
  ];
  const fsck = fsckFigures(image, FILES, { atMost: 150 });
  const ls = ours(['ls', '-R', image]);
  const mkdirs = [empty, image].map(path => {
    const times: number[] = [];
    for (let nr = 0; nr < PAIRS; nr++) {
      copySparse(path, copy);
      times.push(ours(['mkdir', '--quiet', copy, 'new']));
    }
    return median(times);
  }) as [number, number];
  copySparse(image, copy);
  const rm = runOnce(['rm', '--quiet', '-r', copy, ...groups()]);
  const put = runOnce(['put', '--quiet', '-r', empty, source, '/']);
  return [
    populate,
    ...lists,
    ...journals(),
    ...fsck,
    { name: `ls -R of ${FILES} files, each`, value: (1e6 * ls) / FILES, unit: 'µs', aim: { atMost: 15 } },
    {
      name: `mkdir beside ${FILES} files, above an empty filesystem`,
      value: 1000 * (mkdirs[1] - mkdirs[0]),
      unit: 'ms',
      aim: { atMost: 30 },
    },
    { name: `rm -r of ${FILES} files`, value: rm.seconds, unit: 's', aim: { atMost: 8 } },
    { name: `rm -r of ${FILES} files, peak memory`, value: rm.peakMegabytes, unit: 'MB', aim: { atMost: 300 } },
    { name: `put -r of ${FILES} files`, value: put.seconds, unit: 's', aim: { atMost: 8 } },
    { name: `put -r of ${FILES} files, peak memory`, value: put.peakMegabytes, unit: 'MB', aim: { atMost: 300 } },
  ];
}

function journals(): Measurement[] {
  if (whyNoFixtures !== undefined) return [];
  const [image] = fixture('unclean-busy').images as [string];
  return [
    ratio('list_journal -a of a busy journal', 1.5, RECORDED.listJournal, {
      ours: () => ours(['list_journal', '-a', image]),
      theirs: program => seconds(program, ['list_journal', '-a', image]),
    }),
  ];
}

const GROUP_FILES = 5000;
const groups = (): string[] => Array.from({ length: Math.ceil(FILES / GROUP_FILES) }, (_, nr) => `/group${nr}`);

/** A hundred in each directory, their bytes all different. */
function smallFiles(folder: string): void {
  const bytes = new Uint32Array(FILE_BYTES / 4);
  for (let nr = 0; nr < FILES; nr++) {
    const directory = join(
      folder,
      `group${Math.floor(nr / GROUP_FILES)}`,
      `directory${Math.floor(nr / PER_DIRECTORY)}`,
    );
    if (nr % PER_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(nr * bytes.length + i, 2_654_435_761);
    writeFileSync(join(directory, `file${nr}`), bytes);
  }
}
