// `fsck -n` of filesystems with many files, and its peak memory. Where BENCH_REFERENCE names a program of bcachefs-tools, both come from it too,
// run in turn on the same image; else they are those of its version 1.13 as they were recorded. The reference's memory is measured where there
// is GNU time.

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { padded, tarHeader } from '../../packages/files/src/tar/header.ts';
import type { Measurement } from './measurement.ts';
import { runOnce } from './run-program.ts';

/** Fewer to try out a change of this file. */
const FILES = Number(process.env.BENCH_FILES ?? 1_000_000);
/** A block each: shorter ones would lie in their keys, and would have neither extents nor backpointers. */
const FILE_BYTES = 512;
const PER_DIRECTORY = 1000;
const PAIRS = 3;
const GNU_TIME = '/usr/bin/time';

/** What the reference, v1.13, took where it was measured once. */
const RECORDED = { 100000: { seconds: 0.8, megabytes: 59 }, 1000000: { seconds: 6.6, megabytes: 499 } } as const;

export function bench(): Measurement[] {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  const archive = join(folder, 'archive.tar');
  const image = join(folder, 'image');
  try {
    writeArchive(archive);
    runOnce(['format', '--quiet', '--block_size=512', `--source=${archive}`, '--fs_size=4G', image]);
    rmSync(archive);
    return fsckFigures(image, FILES, { atMost: RECORDED[1_000_000].megabytes });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param files as many as are in the image; @param memory what it is to take, in MB, where the reference's is not measured */
export function fsckFigures(image: string, files: number, memory: { readonly atMost: number }): Measurement[] {
  const words = ['fsck', '-n', image];
  const ours: number[] = [];
  const theirs: number[] = [];
  let peakMegabytes = 0;
  let theirMegabytes: number | undefined;
  let note: string | undefined;
  for (let nr = 0; nr < PAIRS; nr++) {
    if (process.env.BENCH_REFERENCE !== undefined && note === undefined) {
      const ran = runReference(process.env.BENCH_REFERENCE, words);
      if (typeof ran === 'string') note = `the reference cannot be measured: ${ran}`;
      else {
        theirs.push(ran.seconds);
        theirMegabytes = ran.megabytes;
      }
    }
    const ran = runOnce(words);
    ours.push(ran.seconds);
    peakMegabytes = Math.max(peakMegabytes, ran.peakMegabytes);
  }
  const name = `fsck -n of ${files} files`;
  const seconds = median(ours);
  const isMeasured = note === undefined && theirs.length > 0;
  const recorded = RECORDED[files as keyof typeof RECORDED];
  const beside =
    recorded === undefined ? undefined : `reference, recorded: ${recorded.seconds} s, ${recorded.megabytes} MB`;
  const isOfReference = isMeasured && memory.atMost === RECORDED[1_000_000].megabytes && theirMegabytes !== undefined;
  return [
    isMeasured
      ? {
          name,
          value: seconds / median(theirs),
          unit: '× the reference',
          aim: { atMost: 1 },
          note: `${seconds.toFixed(2)} s`,
        }
      : {
          name,
          value: seconds,
          unit: 's',
          ...(recorded === undefined ? {} : { aim: { atMost: recorded.seconds } }),
          ...(note === undefined && beside === undefined ? {} : { note: note ?? beside! }),
        },
    {
      name: `${name}, peak memory`,
      value: peakMegabytes,
      unit: 'MB',
      aim: { atMost: isOfReference ? theirMegabytes! : memory.atMost },
      ...(isMeasured && theirMegabytes !== undefined ? { note: `reference: ${theirMegabytes.toFixed(0)} MB` } : {}),
    },
  ];
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** @returns what went wrong, as a text */
function runReference(
  program: string,
  words: readonly string[],
): { seconds: number; megabytes: number | undefined } | string {
  const isTimed = existsSync(GNU_TIME);
  const [command, ...before] = isTimed ? [GNU_TIME, '-f', 'maxrss %M', program] : [program];
  const started = performance.now();
  const { status, signal, stderr } = spawnSync(command!, [...before, ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const seconds = (performance.now() - started) / 1000;
  if (status !== 0) return `${words.join(' ')} ended with ${status ?? signal}`;
  const kilobytes = /maxrss (\d+)\n$/.exec(stderr)?.[1];
  return { seconds, megabytes: kilobytes === undefined ? undefined : Number(kilobytes) / 1024 };
}

export function writeArchive(path: string): void {
  const fd = openSync(path, 'w');
  const time = 1_700_000_000n * 1_000_000_000n;
  const times = { mtimeNs: time, atimeNs: time, ctimeNs: time };
  const encoder = new TextEncoder();
  const contents = new Uint32Array(FILE_BYTES / 4);
  const parts: Uint8Array[] = [];
  const flush = () => {
    writeSync(fd, Buffer.concat(parts));
    parts.length = 0;
  };
  for (let nr = 0; nr < FILES; nr++) {
    for (let i = 0; i < contents.length; i++) contents[i] = Math.imul(nr * contents.length + i, 2_654_435_761);
    const path = encoder.encode(`directory${Math.floor(nr / PER_DIRECTORY)}/file${nr}`);
    const header = tarHeader({ type: 'file', path, mode: 0o644, uid: 1, gid: 2, sizeBytes: FILE_BYTES, times });
    parts.push(header, padded(new Uint8Array(contents.buffer.slice(0))));
    if (parts.length > 10_000) flush();
  }
  parts.push(new Uint8Array(1024));
  flush();
  closeSync(fd);
}
