// One process at a time: a folder is the lock (mkdir is atomic), a file in it says whose. A lock whose owner is gone is
// taken over. In the rare case that two processes take the same lock over at once, both work; what they make must be
// renamed into place, so that nothing is lost but time.

import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const GIVE_UP_AFTER_SECONDS = 1200;

/** Runs `work` while holding the lock. Says once that it waits, if it must. */
export async function withLock<T>(lock: string, progress: (line: string) => void, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + GIVE_UP_AFTER_SECONDS * 1000;
  for (let waits = 0; !take(lock); waits++) {
    if (waits === 4) progress('waiting for another process that is preparing the machine');
    if (Date.now() > deadline)
      throw new Error(`${lock} has been taken for ${GIVE_UP_AFTER_SECONDS} seconds; delete it`);
    await sleep(250);
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function take(lock: string): boolean {
  try {
    mkdirSync(lock);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (ownerIsGone(lock)) rmSync(lock, { recursive: true, force: true });
    return false;
  }
  writeFileSync(path.join(lock, 'pid'), String(process.pid));
  return true;
}

function ownerIsGone(lock: string): boolean {
  try {
    const pid = Number(readFileSync(path.join(lock, 'pid'), 'utf8'));
    return !isAlive(pid);
  } catch {
    // Just being made, or its maker died before it could sign it.
    try {
      return Date.now() - statSync(lock).mtimeMs > 5000;
    } catch {
      return false;
    }
  }
}

/** Whether a process exists, ours or anybody's. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
