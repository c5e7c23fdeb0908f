// A filesystem of a million files, from an archive: made, listed, read and archived again by the built program, each within its memory.
// Without the soak it is some ten thousand.

import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataReader, FileTree, loadChecksums, openFilesystem, readFile } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { padded, tarHeader } from '../../packages/files/src/tar/header.ts';
import { built } from '../support/built.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';

const FILES = sized(10_000, 20_000, 1_000_000);
const IN_EACH = 1000;
/** Measured: 455 to make it, 150 to list and to archive it. */
const MEGABYTES = { make: 600, read: 400 } as const;
const TIMEOUT_MS = patient(sized(60_000, 120_000, 900_000));

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-million-'));
const archive = join(folder, 'archive.tar');
const image = join(folder, 'image');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(loadChecksums);

const contentsOf = (nr: number): string => `file ${nr} `.repeat(nr % 60);
const directoryOf = (nr: number): string =>
  `group${Math.floor(nr / (50 * IN_EACH))}/directory${Math.floor(nr / IN_EACH)}`;

/** Prints the process's peak memory when it ends. */
const probe = `data:text/javascript,${encodeURIComponent(
  "process.on('exit', () => process.stderr.write('maxrss ' + process.resourceUsage().maxRSS))",
)}`;

function ran(words: readonly string[]): { readonly stdout: string; readonly megabytes: number } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', probe, built('bcachefs'), ...words], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  const kilobytes = /maxrss (\d+)$/.exec(stderr)?.[1];
  if (status !== 0 || kilobytes === undefined) throw new Error(`bcachefs ${words.join(' ')}: ${status}\n${stderr}`);
  return { stdout, megabytes: Number(kilobytes) / 1024 };
}

function writeArchive(): void {
  const fd = openSync(archive, 'w');
  const encoder = new TextEncoder();
  const parts: Uint8Array[] = [];
  const flush = () => {
    writeSync(fd, Buffer.concat(parts));
    parts.length = 0;
  };
  const time = 1_700_000_000n * 1_000_000_000n;
  const times = { mtimeNs: time, atimeNs: time, ctimeNs: time };
  for (let nr = 0; nr < FILES; nr++) {
    const bytes = encoder.encode(contentsOf(nr));
    const path = encoder.encode(`${directoryOf(nr)}/file${nr}`);
    const header = tarHeader({ type: 'file', path, mode: 0o644, uid: 1, gid: 2, sizeBytes: bytes.length, times });
    parts.push(header, padded(bytes));
    if (parts.length > 10_000) flush();
  }
  parts.push(new Uint8Array(1024));
  flush();
  closeSync(fd);
}

test(
  `${FILES} files`,
  () => {
    writeArchive();
    const made = ran(['image', 'create', '--quiet', `--source=${archive}`, image]);
    expect(made.megabytes).toBeLessThan(MEGABYTES.make);

    const listed = ran(['ls', '-R', image]);
    expect(listed.stdout.match(/^file\d+$/gm)).toHaveLength(FILES);
    expect(listed.megabytes).toBeLessThan(MEGABYTES.read);
    const archived = ran(['tar', '--output', join(folder, 'again.tar'), image]);
    expect(archived.megabytes).toBeLessThan(MEGABYTES.read);

    const filesystem = openFilesystem([image]);
    try {
      const tree = FileTree.open(filesystem);
      const reader = new DataReader(filesystem);
      const decoder = new TextDecoder();
      let seen = 0;
      for (const { path, node } of tree.walk()) {
        const text = decoder.decode(path);
        const nr = Number(/file(\d+)$/.exec(text)?.[1] ?? -1);
        if (nr < 0 || node === undefined) continue;
        const { inum, snapshot, inode } = node;
        const bytes = new Uint8Array(Number(inode.bi_size));
        readFile(reader, tree.table, { inum, snapshot, sizeBytes: bytes.length }, 0, bytes);
        // Compared one by one without `expect`, which would take longer than all the rest.
        if (decoder.decode(bytes) !== contentsOf(nr) || text !== `${directoryOf(nr)}/file${nr}`) throw new Error(text);
        seen++;
      }
      expect(seen).toBe(FILES);
    } finally {
      filesystem.close();
    }
  },
  TIMEOUT_MS,
);
