// kernelFsck: the real kernel's verdict on images. It mounts them with `fsck`, and fsck-log.ts reads what it says.

import { KernelFailure } from './failure.ts';
import { type FsckReport, readFsckLog } from './fsck-log.ts';
import { caseNamed, type Disk, runInKernel } from './run.ts';
import type { VolumeKey } from './steps.ts';

export interface FsckOptions {
  /** Repair, and write the repairs. Without it nothing is written. */
  readonly fixErrors?: boolean;
  readonly key?: VolumeKey;
  /** Lines that are not complaints here. */
  readonly allow?: readonly RegExp[];
  readonly timeoutSeconds?: number;
}

/**
 * What the real kernel says about a filesystem: boots a machine, checks, and gives back the report.
 * @param images the images of all its devices
 * @throws KernelFailure if the kernel panicked or hung over it
 */
export async function kernelFsck(images: readonly string[] | string, options: FsckOptions = {}): Promise<FsckReport> {
  const { timeoutSeconds, ...rest } = options;
  const reports = await kernelFsckAll([{ name: 'fsck', images: [images].flat(), ...rest }], timeoutSeconds);
  return reports.get('fsck')!;
}

export interface FsckCase extends Omit<FsckOptions, 'timeoutSeconds'> {
  readonly name: string;
  readonly images: readonly string[];
}

/**
 * The same for many filesystems in one boot. Reports come by name.
 * @throws KernelFailure if the kernel panicked or hung over one of them
 */
export async function kernelFsckAll(
  cases: readonly FsckCase[],
  timeoutSeconds = 600,
): Promise<Map<string, FsckReport>> {
  const disksOf = (one: FsckCase, index: number): Disk[] =>
    one.images.map((path, device) => ({ name: `fs${index}.dev${device}`, path, throwaway: !one.fixErrors }));
  const result = await runInKernel({
    disks: cases.flatMap(disksOf),
    cases: cases.map((one, index) => ({
      name: one.name,
      steps: [
        {
          do: 'fsck',
          disks: disksOf(one, index).map(disk => disk.name),
          fixErrors: one.fixErrors ?? false,
          ...(one.key ? { key: one.key } : {}),
        },
      ],
    })),
    timeoutSeconds,
    failures: 'return',
  });
  if (!result.ok) throw new KernelFailure(result);
  return new Map(
    cases.map(({ name, allow }) => {
      const { fsck } = caseNamed(result, name).steps[0]!;
      return [name, allow ? readFsckLog(fsck!.log, fsck!, allow) : fsck!];
    }),
  );
}
