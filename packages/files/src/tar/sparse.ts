// The map of a sparse file in front of its data, in GNU's PAX format 1.0: decimal lines (how many regions, then offset and length of each),
// padded to blocks. Files with very many regions must not cost memory, so that the regions are gone through once to measure them and
// once more to write them.

import type { OpenedTree } from '@bcachefs-ts/command';
import { type FileExtents, type FileSegment, fileSegments } from '@bcachefs-ts/core/engine';
import { paddingOf } from './header.ts';

/** A run of a file that is in the archive; the rest are holes. */
export interface Region {
  readonly offset: number;
  readonly length: number;
}

export interface SparseMeasure {
  readonly hasHoles: boolean;
  readonly regionCount: number;
  readonly dataBytes: number;
  /** The map, with its padding. */
  readonly mapBytes: number;
}

/**
 * What has no bytes on disk is a hole, and so is what the keys show to be lost already: a damaged key may claim terabytes. What turns out to
 * be lost when it is read is zeroes.
 */
const isHole = ({ kind }: FileSegment): boolean => kind !== 'data' && kind !== 'inline';

/**
 * The regions of data, and an empty one at the end of a file that ends in a hole, as GNU tar has it.
 * Losses are not reported here: reading the data meets them again.
 */
export function* regionsOf({ tree, filesystem, reflinks }: OpenedTree, file: FileExtents): Generator<Region> {
  let offset = 0;
  let length = 0;
  for (const segment of fileSegments(filesystem, tree.table, file, { reflinks, onDamage: () => {} })) {
    if (isHole(segment)) continue;
    if (length > 0 && offset + length === segment.offset) {
      length += segment.length;
      continue;
    }
    if (length > 0) yield { offset, length };
    offset = segment.offset;
    length = segment.length;
  }
  if (length > 0) yield { offset, length };
  if (offset + length < file.sizeBytes) yield { offset: file.sizeBytes, length: 0 };
}

export function measureRegions(regions: Iterable<Region>, sizeBytes: number): SparseMeasure {
  let [regionCount, dataBytes, textBytes] = [0, 0, 0];
  for (const { offset, length } of regions) {
    regionCount++;
    dataBytes += length;
    textBytes += `${offset}\n${length}\n`.length;
  }
  const lengthBytes = textBytes + `${regionCount}\n`.length;
  return { hasHoles: dataBytes < sizeBytes, regionCount, dataBytes, mapBytes: lengthBytes + paddingOf(lengthBytes) };
}
