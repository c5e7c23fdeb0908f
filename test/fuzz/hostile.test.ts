// Filesystems made to keep a reader busy for ever (see hostile.ts): reading everything in them ends soon, in bounded memory, without a
// word that is not meant.

import { loadChecksums } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { patient } from '../support/patience.ts';
import { hostileImages } from './hostile.ts';
import type { Progress } from './reader-process.ts';
import { CASE_BYTES, CASE_MS, readWatched } from './watched.ts';

describe('hostile filesystems', () => {
  let ends: readonly Progress[] = [];
  let broken: string | undefined;
  beforeAll(async () => {
    await loadChecksums();
    ({ ends, broken } = await readWatched(['hostile']));
  }, patient(300_000));

  const images = hostileImages();
  // Memory is that of the process so far: all of them together stay below what one may take.
  test.each(images.map(({ name }, nr) => [name, nr] as const))('%s', (_, nr) => {
    const end = ends.find(one => one.nr === nr);
    if (end === undefined) throw new Error(broken ?? 'it was not read');
    expect(end.failure).toBeUndefined();
    expect(end.ms).toBeLessThan(CASE_MS);
    expect(end.peakBytes! - ends[0]!.peakBytes!).toBeLessThan(CASE_BYTES);
    expect(end.reached!.keys).toBeGreaterThan(0);
    const { dataBytesMax } = images[nr]!;
    if (dataBytesMax !== undefined) expect(end.reached!.dataBytes).toBeLessThanOrEqual(dataBytesMax);
  });

  test('they are reached: files, loops and losses are met', () => {
    expect(broken).toBeUndefined();
    const byName = new Map(ends.map(end => [images[end.nr]!.name, end.reached!]));
    expect(byName.get('a chain of 1,000 snapshots, each with a subvolume')!.paths).toBe(1001);
    expect(byName.get('directories below each other, 5,000 deep, with long names')!.paths).toBe(4097);
    expect(byName.get('a billion hard links, of which 20,000 are there')!.paths).toBe(20_001);
    expect(byName.get('directories in a loop')!.losses).toBeGreaterThan(5000);
    expect(byName.get('reflinks of 2 TiB to one extent')!.dataBytes).toBe(4096 * 8 * 512);
    expect(byName.get('a node that leads to itself')!.losses).toBeGreaterThan(0);
    expect(byName.get('two nodes that lead to each other')!.losses).toBeGreaterThan(0);
  });
});
