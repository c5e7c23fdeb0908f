// The two disks by which we and the agent talk: the job goes in on one, what came of it comes out on the other. Raw disks
// need no driver but the one for disks, carry bytes of any kind, and keep what was written when the machine stops.

import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs';

const RESULTS_DISK_BYTES = 2 ** 31; // sparse; what a run gives back is bounded by it
const SECTOR_BYTES = 512;

/** Writes the job as JSON, padded with zero bytes to whole sectors. agent/init.py reads it. */
export function writeJobDisk(file: string, job: object): void {
  const text = Buffer.from(JSON.stringify(job));
  const padding = -text.length & (SECTOR_BYTES - 1);
  writeFileSync(file, Buffer.concat([text, Buffer.alloc(padding)]));
}

/** An empty disk for results. agent/results.py writes it, records.ts reads it. */
export function makeResultsDisk(file: string): void {
  const fd = openSync(file, 'w');
  ftruncateSync(fd, RESULTS_DISK_BYTES);
  closeSync(fd);
}
