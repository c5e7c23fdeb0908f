// What `format --source` takes: 100,000 small files in directories, and one large file; with the most memory. For comparison: the reference,
// v1.36.1, took 23 s (16 s of processor time) for the same tree of small files, on a busy machine of two processors. Needs the built
// program (npm run build).

import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Measurement } from './measurement.ts';
import { best } from './run-program.ts';

const MIB = 2 ** 20;
const FILES = 100_000;
const FILE_BYTES = 4096;
const LARGE_BYTES = 4096 * MIB;

export function bench(): Measurement[] {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  const image = join(folder, 'image');
  const clean = () => rmSync(image, { force: true });
  try {
    const source = join(folder, 'source');
    smallFiles(source);
    const small = best(['format', '--source', source, '--fs_size=1G', image], clean);
    rmSync(source, { recursive: true });
    largeFile(source);
    const large = best(['format', '--source', source, '--fs_size=6G', image], clean);
    return [
      {
        name: `format --source, ${FILES} files of ${FILE_BYTES} bytes (reference: 23 s)`,
        value: small.seconds,
        unit: 's',
      },
      { name: 'peak memory', value: small.peakMegabytes, unit: 'MB' },
      { name: 'format --source, one file of 4 GiB', value: LARGE_BYTES / large.seconds / 1e6, unit: 'MB/s' },
      { name: 'peak memory', value: large.peakMegabytes, unit: 'MB' },
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A hundred in each directory, their bytes all different. */
function smallFiles(folder: string): void {
  const bytes = new Uint32Array(FILE_BYTES / 4);
  for (let nr = 0; nr < FILES; nr++) {
    const directory = join(folder, `group${Math.floor(nr / 5000)}`, `directory${Math.floor(nr / 100)}`);
    if (nr % 100 === 0) mkdirSync(directory, { recursive: true });
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(nr * bytes.length + i, 2_654_435_761);
    writeFileSync(join(directory, `file${nr}`), bytes);
  }
}

function largeFile(folder: string): void {
  mkdirSync(folder);
  const fd = openSync(join(folder, 'file'), 'w');
  const bytes = new Uint32Array((16 * MIB) / 4);
  try {
    for (let at = 0; at < LARGE_BYTES; at += bytes.byteLength) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(at / 4 + i, 2_654_435_761);
      writeSync(fd, bytes);
    }
  } finally {
    closeSync(fd);
  }
}
