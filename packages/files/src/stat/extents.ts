// What the extents of a file are made of: how many there are, and how many bytes are stored how. Read from keys alone; no data is read.

import type { OpenedTree } from '@bcachefs-ts/command';
import {
  checksumTypes,
  compressionTypes,
  type ExtentCrc,
  extentContent,
  type FileNode,
  fileSegments,
  fileSize,
  type StoredSegment,
} from '@bcachefs-ts/core/engine';

/** Bytes of the file; by name, of what is stored as data. */
export interface ExtentSummary {
  extents: number;
  data: number;
  inline: number;
  hole: number;
  reserved: number;
  unwritten: number;
  lost: number;
  /** Of `data` and `inline`: shared through reflinks. */
  reflinked: number;
  /** Of `data`: in stripes of erasure coding. */
  striped: number;
  readonly compression: Record<string, number>;
  readonly checksum: Record<string, number>;
  /** By the number of copies, those in stripes counted as one. */
  readonly replicas: Record<string, number>;
  /** By the index of the member; each copy counts. */
  readonly devices: Record<string, number>;
}

export function summariseExtents(
  { tree, filesystem, reflinks }: OpenedTree,
  node: FileNode,
  onDamage: (damage: Error) => void,
): ExtentSummary {
  const summary: ExtentSummary = {
    ...{ extents: 0, data: 0, inline: 0, hole: 0, reserved: 0, unwritten: 0, lost: 0, reflinked: 0, striped: 0 },
    ...{ compression: {}, checksum: {}, replicas: {}, devices: {} },
  };
  const sizeBytes = fileSize(node.inode.bi_size, `0:${node.inum}:${node.keySnapshot}`);
  const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes };
  for (const segment of fileSegments(filesystem, tree.table, file, { reflinks, onDamage })) {
    summary[segment.kind] += segment.length;
    if (segment.kind !== 'data' && segment.kind !== 'inline') continue;
    summary.extents++;
    if (segment.btree === 'reflink') summary.reflinked += segment.length;
    if (segment.kind === 'data') addPointers(summary, segment);
  }
  return summary;
}

function addPointers(summary: ExtentSummary, { key, btree, length }: StoredSegment): void {
  const content = extentContent(key, btree);
  if (content.kind !== 'data') return;
  const add = (to: Record<string, number>, name: string | number) => {
    to[name] = (to[name] ?? 0) + length;
  };
  let crc: ExtentCrc | undefined;
  let copies = 0;
  let isStriped = false;
  let isFirst = true;
  for (const entry of content.entries) {
    if (entry.type === 'crc32' || entry.type === 'crc64' || entry.type === 'crc128') crc = entry;
    else if (entry.type === 'stripe_ptr') isStriped = true;
    else if (entry.type === 'ptr' && !entry.cached) {
      copies++;
      add(summary.devices, entry.dev);
      // Copies that are encoded otherwise are rare, and count by the first.
      if (isFirst) {
        add(summary.compression, crc === undefined ? 'none' : compressionTypes.nameOf(crc.compression_type));
        add(summary.checksum, crc === undefined ? 'none' : checksumTypes.nameOf(crc.csum_type));
      }
      isFirst = false;
    }
  }
  add(summary.replicas, copies);
  if (isStriped) summary.striped += length;
}
