// The machine for a person: a shell at their terminal, with their images as disks and, if they like, mounted.

import path from 'node:path';
import { makeResultsDisk, writeJobDisk } from './job-disks.ts';
import { prepareMachine } from './machine.ts';
import { runQemu } from './qemu.ts';
import type { Disk } from './run.ts';
import { withScratchFolder } from './scratch.ts';
import type { VolumeKey } from './steps.ts';

export interface ShellOptions {
  readonly disks: readonly Disk[];
  readonly mount: boolean;
  readonly options: string;
  readonly readOnly: boolean;
  readonly key?: VolumeKey;
  readonly memoryMb: number;
}

/** Runs until the person leaves the shell. Needs the process's standard input and output. */
export async function runShell({ disks, memoryMb, ...request }: ShellOptions): Promise<void> {
  const machine = await prepareMachine();
  await withScratchFolder(async scratch => {
    const job = path.join(scratch, 'job');
    const results = path.join(scratch, 'results');
    const rows = process.stdout.rows || 24; // 0 where a terminal does not know its size
    const columns = process.stdout.columns || 80;
    writeJobDisk(job, {
      disks: Object.fromEntries(disks.map((disk, index) => [`disk${index}`, disk.name])),
      shell: { ...request, rows, columns, terminal: process.env.TERM ?? 'dumb' },
    });
    makeResultsDisk(results);
    const end = await runQemu({
      machine,
      drives: [
        { path: job, serial: 'job', throwaway: true },
        { path: results, serial: 'results' },
        ...disks.map((disk, index) => ({ ...disk, serial: `disk${index}` })),
      ],
      memoryMb,
      cpus: 1,
      scratchFolder: scratch,
      timeoutSeconds: Number.POSITIVE_INFINITY,
      interactive: true,
    });
    if (end.status !== 0) throw new Error(`qemu ended with ${end.status}`);
  });
}
