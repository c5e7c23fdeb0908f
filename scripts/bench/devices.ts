// `device evacuate`: how fast data leaves a member, beside `cp` of the same bytes with a sync at its end, and what it takes to say what an
// evacuation would do where there are many files.
//
// The aim of 0.7 of cp's speed is missed: 0.31 to 0.51 on a machine with other work. cp has the kernel copy (copy_file_range, which Node lacks) and keeps no
// books. For 2 GiB it takes 0.5 s of the processor; evacuating 0.2 s for reading into a buffer, 2.2 s for writing from there into a file that is
// still empty, 1.7 s for 24 576 extents with their backpointers, alloc keys and counters, and the start; then both wait for the disk. Asking
// the system to begin writing while more is read made no difference that was larger than the noise.

import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeArchive } from './fsck.ts';
import type { Measurement } from './measurement.ts';
import { runOnce, secondsOf } from './run-program.ts';

/** Fewer to try out a change of this file: the aims are for these. */
const FILES = Number(process.env.BENCH_FILES ?? 1_000_000);
const DATA_MIB = Number(process.env.BENCH_DATA_MIB ?? 4096);
const FILE_MIB = 64;
const MIB = 2 ** 20;

export function bench(): Measurement[] {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  try {
    return [...moving(folder), ...planning(folder)];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function moving(folder: string): Measurement[] {
  const source = join(folder, 'source');
  const [old, fresh] = [join(folder, 'old.img'), join(folder, 'fresh.img')];
  largeFiles(source);
  const size = `${2 * DATA_MIB}M`;
  runOnce(['format', '--quiet', `--source=${source}`, `--fs_size=${size}`, old]);
  spawnSync('truncate', [`--size=${size}`, fresh]);
  runOnce(['device', 'add', '-y', old, fresh]);
  const copied = secondsOf('sh', ['-c', 'cp -r "$1" "$2" && sync -f "$2"', 'sh', source, join(folder, 'copy')]);
  rmSync(join(folder, 'copy'), { recursive: true });
  rmSync(source, { recursive: true });
  const { seconds, peakMegabytes } = runOnce(['device', 'evacuate', '-y', `${old}:${fresh}`, '0']);
  rmSync(old);
  rmSync(fresh);
  const what = `device evacuate of ${DATA_MIB} MiB`;
  return [
    { name: what, value: seconds, unit: 's', note: `cp of the same bytes and sync: ${copied.toFixed(1)} s` },
    { name: `${what}, speed`, value: copied / seconds, unit: '× cp', aim: { atLeast: 0.7 } },
    { name: `${what}, peak memory`, value: peakMegabytes, unit: 'MB', aim: { atMost: 400 } },
  ];
}

function planning(folder: string): Measurement[] {
  const archive = join(folder, 'archive.tar');
  const [old, fresh] = [join(folder, 'old.img'), join(folder, 'fresh.img')];
  writeArchive(archive);
  runOnce(['format', '--quiet', '--block_size=512', `--source=${archive}`, '--fs_size=4G', old]);
  rmSync(archive);
  spawnSync('truncate', ['--size=4G', fresh]);
  runOnce(['device', 'add', '-y', old, fresh]);
  const { seconds, peakMegabytes } = runOnce(['device', 'evacuate', '-n', `${old}:${fresh}`, '0']);
  const what = `device evacuate -n of ${FILES} files`;
  return [
    { name: what, value: seconds, unit: 's', aim: { atMost: 10 } },
    { name: `${what}, peak memory`, value: peakMegabytes, unit: 'MB', aim: { atMost: 400 } },
  ];
}

/** Their bytes all different. */
function largeFiles(folder: string): void {
  mkdirSync(folder);
  const words = new Uint32Array(MIB / 4);
  for (let nr = 0; nr * FILE_MIB < DATA_MIB; nr++) {
    const fd = openSync(join(folder, `file${nr}`), 'w');
    for (let mib = 0; mib < FILE_MIB; mib++) {
      for (let i = 0; i < words.length; i++)
        words[i] = Math.imul((nr * FILE_MIB + mib) * words.length + i, 2_654_435_761);
      writeSync(fd, words);
    }
    closeSync(fd);
  }
}
