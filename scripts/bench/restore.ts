// What `restore` and `tar` give of large files, from a warm cache, and the most memory that they take: over filesystems that a real kernel
// filled, 1.5 GB as it comes (crc32c) and 0.5 GB with zstd. They are made once, in the kernel machine of the tests, and kept in the
// user's cache; where there is no such machine this bench says so. Restores go to memory where there is some, so that it is
// reading that is measured and not a disk. Needs the built program (npm run build).

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInKernel, type Step } from '../../test/kernel/vm/index.ts';
import { MachineUnavailable } from '../../test/kernel/vm/unavailable.ts';
import { fixture, whyNoFixtures } from '../../test/support/fixtures.ts';
import type { Measurement } from './measurement.ts';
import { best, program } from './run-program.ts';

const MIB = 2 ** 20;

interface Filled {
  /** Changes with how it is made. */
  readonly name: string;
  readonly options: readonly string[];
  /** Files of 32 MiB. */
  readonly files: number;
  /** `random` is what no compressor shrinks, `text` halves. */
  readonly content: 'random' | 'text';
}

const FILE_BYTES = 32 * MIB;
const plain: Filled = { name: 'bench-plain-1', options: ['--fs_size=2G'], files: 45, content: 'random' };
const zstd: Filled = {
  name: 'bench-zstd-1',
  options: ['--compression=zstd', '--fs_size=1G'],
  files: 15,
  content: 'text',
};

export async function bench(): Promise<Measurement[]> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
  const measured: Measurement[] = [];
  const folder = mkdtempSync(join(memoryFolder(), 'bcachefs-ts-bench-'));
  try {
    for (const filled of [plain, zstd]) measured.push(...measure(await imageOf(filled), filled, folder));
    if (whyNoFixtures === undefined) measured.push(...walk(folder));
  } catch (thrown) {
    if (!(thrown instanceof MachineUnavailable)) throw thrown;
    console.log(`  left out: ${thrown.message}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return measured;
}

function measure(image: string, { files, options }: Filled, folder: string): Measurement[] {
  intoPageCache(image);
  const what = options.length > 1 ? 'zstd' : 'not compressed, crc32c';
  const bytes = files * FILE_BYTES;
  const out = join(folder, 'out');
  const archive = join(folder, 'archive.tar');
  const clean = () => {
    rmSync(out, { recursive: true, force: true });
    rmSync(archive, { force: true });
  };
  return [
    ...rate(
      `restore, ${what}, ${bytes / 1e9} GB`,
      bytes,
      ['restore', image, out],
      clean,
      what === 'zstd' ? 400 : undefined,
    ),
    ...rate(`tar, ${what}`, bytes, ['tar', '--output', archive, image], clean),
  ];
}

function intoPageCache(image: string): void {
  const fd = openSync(image, 'r');
  const buffer = new Uint8Array(16 * MIB);
  while (readSync(fd, buffer) > 0);
  closeSync(fd);
}

/** Many small files: what it costs for each of them. */
function walk(folder: string): Measurement[] {
  const [image] = fixture('many').images;
  const count = fixture('many').readManifest().length;
  const out = join(folder, 'out');
  const clean = () => rmSync(out, { recursive: true, force: true });
  const { seconds } = best(['ls', '-R', image!], clean);
  const restored = best(['restore', image!, out], clean);
  return [
    { name: `ls -R, ${count} files`, value: count / seconds / 1000, unit: 'thousand/s' },
    { name: `restore, ${count} small files`, value: count / restored.seconds / 1000, unit: 'thousand/s' },
  ];
}

/** What reading may take, workers included. */
const MEGABYTES_MAX = 300;

/** @param aim MB/s that there should be at least */
function rate(name: string, bytes: number, words: readonly string[], before: () => void, aim?: number): Measurement[] {
  const { seconds, peakMegabytes } = best(words, before);
  const speed = { name, value: bytes / seconds / 1e6, unit: 'MB/s' };
  return [
    aim === undefined ? speed : { ...speed, aim: { atLeast: aim } },
    { name: `${name}, peak memory`, value: peakMegabytes, unit: 'MB', aim: { atMost: MEGABYTES_MAX } },
  ];
}

/** Memory when what is restored fits into half of what is free there. */
function memoryFolder(): string {
  if (!existsSync('/dev/shm')) return tmpdir();
  const { bavail, bsize } = statfsSync('/dev/shm');
  return bavail * bsize > 2 * plain.files * FILE_BYTES ? '/dev/shm' : tmpdir();
}

/** @throws MachineUnavailable where it was not made before and cannot be */
async function imageOf({ name, options, files, content }: Filled): Promise<string> {
  const cache =
    process.env.BCACHEFS_TS_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'bcachefs-ts');
  const folder = join(cache, 'bench');
  const image = join(folder, `${name}.img`);
  if (existsSync(image)) return image;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${image}.${process.pid}`;
  try {
    const format = spawnSync(process.execPath, [program, 'format', '--quiet', ...options, unfinished], {
      encoding: 'utf8',
    });
    if (format.status !== 0) throw new Error(format.stderr);
    const steps: Step[] = [
      { do: 'mount', disks: ['disk'] },
      { do: 'write', path: 'f0', pattern: { kind: content, seed: name }, sizeBytes: FILE_BYTES, timeoutSeconds: 200 },
      {
        do: 'sh',
        script: `i=1; while [ $i -lt ${files} ]; do cat f0 > f$i; i=$((i+1)); done; sync`,
        timeoutSeconds: 1200,
      },
      { do: 'umount', timeoutSeconds: 300 },
    ];
    await runInKernel({ disks: [{ name: 'disk', path: unfinished }], steps, timeoutSeconds: 1800 });
    renameSync(unfinished, image);
    return image;
  } finally {
    rmSync(unfinished, { force: true });
  }
}
