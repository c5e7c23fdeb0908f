// `--undo_file` of every command that writes to devices: what it overwrites is saved first, so that `bcachefs undo` can put it back.

import { statfsSync } from 'node:fs';
import {
  type BlockDevice,
  CorruptError,
  DeviceError,
  IncompatibleError,
  readSuperblock,
  UndoFile,
  type UndoMember,
  UndoRecorder,
} from '@bcachefs-ts/core/engine';
import type { Context } from './context.ts';

export const undoFileOption = {
  undo_file: {
    type: 'string',
    value: 'FILE',
    file: true,
    help: 'save what is overwritten in this new file first; `bcachefs undo` puts it back',
  },
} as const;

export interface UndoFileArgs {
  readonly undo_file?: string | undefined;
}

/** Puts something around a device that is open for writing, and closes it when that is not possible. */
export type UndoWrap = (device: BlockDevice, isNew?: boolean) => BlockDevice;

/**
 * What saves to the undo file, if there is to be one. The file is made when the first device is wrapped, and complete when the last one is
 * closed; if nothing was written by then, it is gone again.
 */
export function undoWrap(context: Context, { undo_file: path }: UndoFileArgs): UndoWrap {
  let recorder: UndoRecorder | undefined;
  return (device, isNew) => {
    if (path === undefined) return device;
    try {
      recorder ??= startRecorder(context, path);
    } catch (thrown) {
      device.close();
      throw thrown;
    }
    return recorder.wrap(device, isNew);
  };
}

function startRecorder(context: Context, path: string): UndoRecorder {
  const file = new UndoFile(path);
  if (isInMemory(path)) context.warn(`${path}: is in memory (tmpfs), and is lost when the power fails`);
  return new UndoRecorder(file, { command: context.command, now: context.date(), identify: identifyMember });
}

/** What filesystem is on a device; nulls where none can be read. */
export function identifyMember(device: BlockDevice): Pick<UndoMember, 'filesystem' | 'index'> {
  try {
    const { sb } = readSuperblock(device);
    return { filesystem: sb.uuid, index: sb.dev_idx };
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof IncompatibleError || thrown instanceof DeviceError) {
      return { filesystem: null, index: null };
    }
    throw thrown;
  }
}

/** The number in Linux' magic.h. */
const TMPFS_MAGIC = 0x0102_1994;

const isInMemory = (path: string): boolean => process.platform === 'linux' && statfsSync(path).type === TMPFS_MAGIC;
