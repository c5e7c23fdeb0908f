// The device in a qcow2 file, written to a file as it was: sparse, where the qcow2 file holds nothing.

import type { NewFile } from '../device/new-file.ts';
import type { Qcow2Device } from '../device/qcow2-device.ts';

/** What is all zero in pieces of this size becomes a hole. */
const HOLE_BYTES = 4096;

/**
 * Writes the whole device. Yields the number of bytes done, cluster by cluster.
 * @param out an empty file
 * @throws CorruptError where the tables are faulty; DeviceError
 */
export function* undump(source: Qcow2Device, out: NewFile): Generator<number, void, void> {
  out.setSize(source.sizeBytes);
  const cluster = new Uint8Array(source.clusterBytes);
  let doneBytes = 0;
  for (const { offset, length } of source.allocated()) {
    const bytes = cluster.subarray(0, length);
    source.read(offset, bytes);
    for (const [start, end] of runsOfContent(bytes)) out.write(offset + start, bytes.subarray(start, end));
    doneBytes += length;
    yield doneBytes;
  }
}

/** Runs of pieces that are not all zero. */
function* runsOfContent(bytes: Uint8Array): Generator<readonly [start: number, end: number]> {
  let start = -1;
  for (let at = 0; at < bytes.length; at += HOLE_BYTES) {
    const end = Math.min(at + HOLE_BYTES, bytes.length);
    const isHole = !bytes.subarray(at, end).some(byte => byte !== 0);
    if (!isHole && start < 0) start = at;
    if (isHole && start >= 0) {
      yield [start, at];
      start = -1;
    }
  }
  if (start >= 0) yield [start, bytes.length];
}
