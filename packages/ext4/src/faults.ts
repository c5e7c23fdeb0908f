// What is thrown: one line that says what was found where, and what to run.

import { IncompatibleError, InputError } from '@bcachefs-ts/core/engine';
import type { Ext4Refusal } from './types.ts';

/** @param field what of the filesystem, such as `inode 12`, `group 3` */
export function damaged(device: string, field: string, detail: string): InputError {
  return new InputError('ext4_damaged', { device, field }, `${detail}; e2fsck -f ${device} says more and repairs`);
}

export function refusalError(device: string, { text }: Ext4Refusal): IncompatibleError {
  return new IncompatibleError('ext4_refused', { device }, text);
}

export const hex = (value: number): string => `0x${value.toString(16)}`;
