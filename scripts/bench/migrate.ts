// `migrate` of 4 GiB in 10,000 files, with checksums, for which all data is read once, and without; beside reading the image once, and beside `cp -a` of
// the same files into a folder. Needs mke2fs (e2fsprogs) and 13 GiB of room.

import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Measurement } from './measurement.ts';
import { runOnce, secondsOf } from './run-program.ts';

/** Less to try out a change of this file: the aims are for these. */
const DATA_MIB = Number(process.env.BENCH_DATA_MIB ?? 4096);
const FILES = 10_000;
const PER_FOLDER = 100;
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

export function bench(): Measurement[] {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  const what = `migrate of ${DATA_MIB} MiB in ${FILES} files`;
  try {
    const [tree, image] = [join(folder, 'tree'), join(folder, 'image')];
    makeTree(tree);
    const size = `${Math.ceil(DATA_MIB * 1.5) + 256}M`;
    const words = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-N', `${2 * FILES}`, '-d', tree, image, size];
    if (spawnSync('mke2fs', words, { env }).status !== 0)
      return [{ name: what, value: 0, unit: 's', note: 'not measured: mke2fs is not there' }];
    const copied = secondsOf('sh', ['-c', 'cp -a "$1" "$2" && sync -f "$2"', 'sh', tree, join(folder, 'copy')]);
    rmSync(join(folder, 'copy'), { recursive: true });
    rmSync(tree, { recursive: true });
    const other = join(folder, 'other');
    spawnSync('cp', ['--sparse=always', image, other]);
    const read = secondsOf('sh', ['-c', 'cat "$1" > /dev/null', 'sh', image]);
    const summed = runOnce(['migrate', '-qy', image]);
    const plain = runOnce(['migrate', '-qy', '--data_checksum=none', other]);
    const note = `reading the image once: ${read.toFixed(1)} s; cp -a and sync: ${copied.toFixed(1)} s`;
    return [
      { name: what, value: summed.seconds, unit: 's', note },
      { name: `${what}, peak memory`, value: summed.peakMegabytes, unit: 'MB', aim: { atMost: 400 } },
      { name: `${what}, no checksums of data`, value: plain.seconds, unit: 's', aim: { atMost: 10 } },
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function makeTree(tree: string): void {
  const bytes = Buffer.alloc(Math.floor((DATA_MIB * 2 ** 20) / FILES));
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at);
  for (let nr = 0; nr < FILES; nr++) {
    const at = join(tree, `${Math.floor(nr / PER_FOLDER)}`);
    if (nr % PER_FOLDER === 0) mkdirSync(at, { recursive: true });
    bytes.writeUInt32LE(nr, 0);
    const fd = openSync(join(at, `file ${nr}`), 'w');
    writeSync(fd, bytes);
    closeSync(fd);
  }
}
