// Temporary folders that do not stay: deleted when the work is done, when the process ends, and, should the process be
// killed, by the next process that makes one.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isAlive } from './lock.ts';

const PREFIX = 'bcachefs-ts-vm-';
const ours = new Set<string>();
let cleansAtExit = false;

/** Runs `work` with a new folder, and deletes the folder afterwards. */
export async function withScratchFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = makeScratchFolder();
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    ours.delete(folder);
  }
}

function makeScratchFolder(): string {
  if (!cleansAtExit) {
    cleansAtExit = true;
    forgetFoldersOfTheDead();
    process.on('exit', () => {
      for (const folder of ours) rmSync(folder, { recursive: true, force: true });
    });
  }
  const folder = mkdtempSync(path.join(tmpdir(), `${PREFIX}${process.pid}-`));
  ours.add(folder);
  return folder;
}

function forgetFoldersOfTheDead(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid && !isAlive(Number(pid))) rmSync(path.join(tmpdir(), name), { recursive: true, force: true });
  }
}
