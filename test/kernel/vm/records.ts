// What the agent left on the results disk: records of a length (u32, little-endian), JSON, and a payload. agent/results.py
// is the writer. Read after the machine has stopped, however it stopped: whole records are always whole.

import { closeSync, openSync, readSync } from 'node:fs';

export type AgentRecord =
  | {
      readonly type: 'booted';
      readonly uptimeSeconds: number;
      readonly kernel: string;
      readonly log: readonly string[];
    }
  | { readonly type: 'begin'; readonly case: number; readonly step: number }
  | StepEnd
  | {
      readonly type: 'caseEnd';
      readonly case: number;
      readonly message: string | null;
      readonly log: readonly string[];
    }
  | { readonly type: 'done' };

export interface StepEnd {
  readonly type: 'end';
  readonly case: number;
  readonly step: number;
  readonly failed: boolean;
  readonly errno?: string;
  readonly message?: string;
  readonly seconds: number;
  readonly log: readonly string[];
  readonly status?: number;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly names?: readonly string[];
  readonly counts?: Readonly<Record<string, number>>;
  readonly mounted?: boolean;
  readonly mountErrno?: number;
}

export interface ReadRecord {
  readonly record: AgentRecord;
  readonly payload: Uint8Array;
}

/** Reads the records of a results disk image. A record that a kill cut short ends the sequence. */
export function readRecords(file: string): ReadRecord[] {
  const fd = openSync(file, 'r');
  try {
    const records: ReadRecord[] = [];
    let offset = 0;
    for (;;) {
      const lengthBytes = readExactly(fd, offset, 4).readUInt32LE(0);
      if (lengthBytes === 0) return records;
      const text = readExactly(fd, offset + 4, lengthBytes).toString('utf8');
      let record: AgentRecord & { payload: number };
      try {
        record = JSON.parse(text);
      } catch {
        return records;
      }
      const payload = readExactly(fd, offset + 4 + lengthBytes, record.payload);
      records.push({ record, payload });
      offset += 4 + lengthBytes + record.payload;
    }
  } finally {
    closeSync(fd);
  }
}

/** Bytes of a file; what lies beyond its end reads as zeroes. */
function readExactly(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let at = 0;
  while (at < length) {
    const count = readSync(fd, bytes, at, length - at, offset + at);
    if (count === 0) break;
    at += count;
  }
  return bytes;
}
