// The devices that format writes to: opened for writing, and looked at before anything is overwritten. Image files that format
// made itself are removed again when it fails.

import { existsSync, realpathSync, rmSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { type Context, loadNativeCalls, type NativeCalls, runSteps, type UndoWrap } from '@bcachefs-ts/command';
import {
  assert,
  type BlockDevice,
  DeviceError,
  type FileDevice,
  type FormatPlan,
  formatSteps,
  isResizable,
  type NewFilesystem,
  openDevice,
  probeSignatures,
  readSuperblock,
  type Signature,
  type Superblock,
  UsageError,
  type WipedRange,
} from '@bcachefs-ts/core/engine';

/** A device as the command line names it. */
export interface ChosenDevice {
  readonly path: string;
  /** From --fs_size. */
  readonly sizeBytes: number | undefined;
}

export interface FormatTarget {
  readonly path: string;
  readonly file: FileDevice;
  /** The file, or what saves to an undo file before it is written to. */
  readonly device: BlockDevice;
  /** How much of the device the filesystem takes. */
  readonly sizeBytes: number;
  readonly signatures: readonly Signature[];
}

/** @throws UsageError when two words mean the same file or device */
function refuseTwins(chosen: readonly ChosenDevice[]): void {
  const seen = new Set<string>();
  for (const { path } of chosen) {
    const real = existsSync(path) ? realpathSync(path) : resolve(path);
    if (seen.has(real)) throw new UsageError(`${path} is named twice`);
    seen.add(real);
  }
}

/** Opens the devices, runs `use`, and closes them; if `use` fails or is interrupted, image files that were made for it are gone again. */
export async function withFormatTargets<T>(
  context: Context,
  chosen: readonly ChosenDevice[],
  undoable: UndoWrap,
  use: (targets: readonly FormatTarget[]) => Promise<T>,
): Promise<T> {
  refuseTwins(chosen);
  const opened: { readonly file: FileDevice; device: BlockDevice }[] = [];
  const removeCreated = () => {
    for (const { file } of opened) if (file.created) rmSync(file.name, { force: true });
  };
  const release = context.onInterrupt(removeCreated);
  try {
    const targets = chosen.map(choice => {
      const file = openTarget(choice);
      const target = { file, device: file as BlockDevice };
      opened.push(target);
      target.device = undoable(file, file.created);
      return {
        path: choice.path,
        ...target,
        sizeBytes: targetSize(choice, file),
        signatures: file.created ? [] : probeSignatures(file),
      };
    });
    return await use(targets);
  } catch (thrown) {
    removeCreated();
    throw thrown;
  } finally {
    release();
    for (const { device } of opened) device.close();
  }
}

function openTarget({ path, sizeBytes }: ChosenDevice): FileDevice {
  try {
    return openDevice(path, { write: true, ...(sizeBytes === undefined ? {} : { create: { sizeBytes } }) });
  } catch (thrown) {
    if (thrown instanceof DeviceError && thrown.kind === 'missing') {
      throw new DeviceError(
        'missing',
        path,
        'there is no such device or file; --fs_size=SIZE before it makes an image file',
      );
    }
    throw thrown;
  }
}

function targetSize({ path, sizeBytes }: ChosenDevice, device: FileDevice): number {
  if (sizeBytes === undefined) return device.sizeBytes;
  if (sizeBytes > device.sizeBytes && device.kind === 'block') {
    throw new UsageError(`${sizeBytes} bytes, but ${path} has only ${device.sizeBytes}`, '--fs_size');
  }
  return sizeBytes;
}

export interface Formatted {
  /** By device. */
  readonly wiped: readonly (readonly WipedRange[])[];
  /** By device, as read back. */
  readonly superblocks: readonly Superblock[];
}

/**
 * Writes the planned filesystem, and reads back what it wrote.
 * @param contents what is to be in it; without it only superblocks are written
 * @param isReproducible the filesystem's random numbers come from a seed
 */
export async function formatTargets(
  plan: FormatPlan,
  targets: readonly FormatTarget[],
  contents: NewFilesystem | undefined,
  isReproducible: boolean,
): Promise<Formatted> {
  for (const target of targets) if (isReproducible) emptyFile(target);
  for (const { device, sizeBytes } of targets) if (device.sizeBytes < sizeBytes) setSize(device, sizeBytes);
  const native = isReproducible ? loadNativeCalls() : undefined;
  const chosen = targets.map(({ file, device, signatures, sizeBytes }) => ({
    device,
    signatures,
    // What cannot be undone is not done where that is asked for.
    hasOldLife: isReproducible && file.kind !== 'file' && (device !== file || !isZeroed(file, sizeBytes, native)),
  }));
  const wiped = await runSteps(formatSteps(plan, chosen, contents), () => {});
  return { wiped, superblocks: targets.map(({ device }) => readSuperblock(device).sb) };
}

/**
 * With a seed, the internal UUID may be one that the device has seen before, and then journal entries and btree nodes of the older filesystem
 * would look like the new one's own. An image file is emptied, and reads as zeroes; on a disk, what could be taken for something is cleared.
 */
function emptyFile({ file, device, sizeBytes }: FormatTarget): void {
  if (file.kind !== 'file') return;
  const size = Math.max(device.sizeBytes, sizeBytes);
  setSize(device, 0);
  setSize(device, size);
}

export function setSize(device: BlockDevice, sizeBytes: number): void {
  assert(isResizable(device), `${device.name} is a file or around one`);
  device.setSize(sizeBytes);
}

/**
 * Whether a disk could be made to read as zeroes without writing all of it: then nothing has to be looked for. Disks that spin are left out,
 * since some of them take the order and write for hours; a loop device passes it on to its file, whatever that lies on.
 */
function isZeroed(device: FileDevice, sizeBytes: number, native: NativeCalls | undefined): boolean {
  const isLoop = basename(realpathSync(device.name)).startsWith('loop');
  if (native === undefined || (device.rotational !== false && !isLoop)) return false;
  return device.withDescriptor('clearing', fd => native.punchHole(fd, 0, sizeBytes));
}
