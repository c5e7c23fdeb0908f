// Sources of images that are to be as small as they can be, each odd in its own way.

import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface SmallSource {
  readonly name: string;
  readonly words: readonly string[];
  readonly make: (folder: string) => void;
  /** Of the image, in MiB. */
  readonly mostMiB: number;
}

const MIB = 2 ** 20;

/** Nothing that a compressor makes smaller. */
function noise(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 64) {
    bytes.set(
      createHash('sha512')
        .update(`${at}`)
        .digest()
        .subarray(0, sizeBytes - at),
      at,
    );
  }
  return bytes;
}

export const smallSources: readonly SmallSource[] = [
  { name: 'empty', words: [], make: () => {}, mostMiB: 8 },
  {
    name: 'small-files',
    words: [],
    make(folder) {
      for (let nr = 0; nr < 500; nr++) writeFileSync(join(folder, `f${nr}`), `${nr} `.repeat(nr % 100));
    },
    mostMiB: 8,
  },
  {
    name: 'sparse',
    words: [],
    make(folder) {
      writeFileSync(join(folder, 'sparse'), 'begin');
      truncateSync(join(folder, 'sparse'), 2 ** 40);
    },
    mostMiB: 8,
  },
  {
    name: 'zeroes',
    words: [],
    make: folder => writeFileSync(join(folder, 'zeroes'), new Uint8Array(40 * MIB)),
    mostMiB: 8,
  },
  {
    name: 'hard-links',
    words: [],
    make(folder) {
      writeFileSync(join(folder, 'first'), noise(100_000));
      for (let nr = 0; nr < 3000; nr++)
        linkSync(join(folder, 'first'), join(folder, `name number ${nr} of the same file`));
    },
    mostMiB: 10,
  },
  {
    name: 'large',
    words: [],
    make: folder => writeFileSync(join(folder, 'large'), noise(24 * MIB)),
    mostMiB: 32,
  },
  {
    name: 'compressed',
    words: ['--compression=lz4'],
    make: folder => writeFileSync(join(folder, 'text'), 'the same words again and again, '.repeat(1_500_000)),
    mostMiB: 10,
  },
];

export function makeSmallSource(folder: string, { make }: SmallSource): void {
  mkdirSync(folder);
  make(folder);
}
