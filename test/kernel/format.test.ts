// What format makes, judged by a real kernel: it mounts each filesystem, fills it, unmounts it, mounts it again, finds the same
// files and checks it without a complaint; then show-super reads back what the kernel left behind.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keyringKey, openDevice, readSuperblock, superblockText } from '@bcachefs-ts/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import {
  type Case,
  caseNamed,
  compareManifests,
  type RunResult,
  resultOf,
  runInKernel,
  type VolumeKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

/** One way to call format. `DEV0`, `DEV1`… stand for image files. */
interface FormatCase {
  readonly name: string;
  readonly args: readonly string[];
  readonly fillBytes?: number;
  readonly mountOptions?: string;
  readonly passphrase?: string;
  /** Lines that show-super prints of it afterwards. */
  readonly shows?: readonly RegExp[];
}

const small = '--fs_size=96M';
const one = (name: string, ...options: string[]): FormatCase => ({ name, args: [...options, small, 'DEV0'] });

const formatCases: readonly FormatCase[] = [
  { name: 'defaults', args: ['--fs_size=1G', 'DEV0'], fillBytes: 16 * MIB },
  one('512-byte blocks', '--block_size=512'),
  one('4k blocks', '--block_size=4k'),
  one('64k btree nodes', '--btree_node_size=64k', '--bucket_size=64k'),
  ...['none', 'crc32c', 'crc64', 'xxhash'].map(type =>
    one(`checksum ${type}`, `--metadata_checksum=${type}`, `--data_checksum=${type}`),
  ),
  ...['crc32c', 'crc64', 'siphash'].map(hash => one(`str_hash ${hash}`, `--str_hash=${hash}`)),
  ...['lz4', 'gzip', 'zstd', 'zstd:15'].map(type => one(`compression ${type}`, `--compression=${type}`)),
  one('background compression', '--compression=lz4', '--background_compression=zstd'),
];

const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-format-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function imagesOf(nr: number, { args }: FormatCase): { words: string[]; images: string[] } {
  const images: string[] = [];
  const words = args.map(word => {
    const match = /^DEV(\d)$/.exec(word);
    if (match === null) return word;
    const path = join(scratch, `case${nr}.dev${match[1]}.img`);
    images.push(path);
    return path;
  });
  return { words, images };
}

function stepsOf(nr: number, format: FormatCase, images: readonly string[], key: VolumeKey | undefined): Case {
  const disks = images.map((_, device) => `case${nr}.dev${device}`);
  const mount = {
    do: 'mount',
    disks,
    ...(format.mountOptions === undefined ? {} : { options: format.mountOptions }),
    ...(key === undefined ? {} : { key }),
  } as const;
  return {
    name: format.name,
    steps: [
      mount,
      { do: 'fill', sizeBytes: format.fillBytes ?? 4 * MIB },
      { do: 'manifest', as: 'before' },
      { do: 'umount' },
      mount,
      { do: 'manifest', as: 'after' },
      { do: 'umount' },
      { do: 'fsck', disks, as: 'fsck', ...(key === undefined ? {} : { key }) },
    ],
  };
}

kernelSuite('format', () => {
  const prepared = formatCases.map((format, nr) => ({ format, nr, ...imagesOf(nr, format) }));
  let result: RunResult;

  beforeAll(async () => {
    for (const { words } of prepared) await succeed('format', words);
    result = await runInKernel({
      disks: prepared.flatMap(({ nr, images }) =>
        images.map((path, device) => ({ name: `case${nr}.dev${device}`, path })),
      ),
      cases: prepared.map(({ format, nr, images }) => stepsOf(nr, format, images, undefined)),
      timeoutSeconds: 1200,
      failures: 'return',
    });
    for (const c of result.cases)
      console.log(
        c.name,
        c.ok,
        c.ended,
        c.steps.map(s => `${s.step.do}:${s.ok ? '' : (s.errno ?? s.message)}${s.seconds.toFixed(1)}`).join(' '),
      );
    console.log(result.seconds, result.bootSeconds);
  }, 1_300_000);

  test.each(prepared)('$format.name', ({ format, images }) => {
    const outcome = caseNamed(result, format.name);
    if (!outcome.ok) throw new Error(JSON.stringify(outcome.steps.at(-1), null, 1).slice(0, 3000));
    const fsck = resultOf(outcome, 'fsck').fsck!;
    expect(fsck.complaints).toEqual([]);
    expect(resultOf(outcome, 'after').manifest).toEqual(resultOf(outcome, 'before').manifest);
    for (const path of images) {
      const device = openDevice(path, { write: false });
      const text = superblockText(readSuperblock(device).sb);
      expect(text).toMatch(/^Clean: +1$/m);
      device.close();
    }
  });
});
