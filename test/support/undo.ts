// Undo files on devices in memory, and what an undo makes of what was changed.

import {
  type BlockDevice,
  type MemoryDevice,
  planUndo,
  readBytes,
  UndoLog,
  UndoRecorder,
  type UndoSink,
} from '@bcachefs-ts/core/engine';

/** The begin of a device is the file; zeroes follow it. */
export const sinkOn = (device: BlockDevice): UndoSink => ({
  name: device.name,
  write: (offset, from) => device.write(offset, from),
  flush: () => device.flush(),
  close: () => {},
  remove: () => {},
});

export const recorderOn = (sink: UndoSink): UndoRecorder =>
  new UndoRecorder(sink, { command: 'test', now: new Date(0), identify: () => ({ filesystem: null, index: null }) });

/** @throws as planUndo and its steps do */
export function undo(file: BlockDevice, devices: readonly BlockDevice[]): void {
  const plan = planUndo(new UndoLog(file), devices, () => ({ filesystem: null }));
  for (const _ of plan.steps());
}

/** Whether they have the same sizes and contents. */
export const areEqual = (devices: readonly MemoryDevice[], others: readonly MemoryDevice[]): boolean =>
  devices.every((device, nr) => isEqual(device, others[nr]!));

/** All that was never written to is zero. */
function isEqual(device: MemoryDevice, other: MemoryDevice): boolean {
  if (device.sizeBytes !== other.sizeBytes) return false;
  return [...device.writtenRanges(), ...other.writtenRanges()].every(({ offset, length }) => {
    const [found, expected] = [device, other].map(one => readBytes(one, offset, length));
    return Buffer.compare(found!, expected!) === 0;
  });
}
