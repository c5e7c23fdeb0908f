// The manners of scrub: what it writes and what not, what it prints, and that it can be undone.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileEdit, loadChecksums, openDevice } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseCopies, dataCopies, nodeCopies, spoil } from '../support/bad-copies.ts';
import { run } from '../support/cli.ts';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { formattedImage, MIB, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom } from '../support/random.ts';
import { hashFile } from '../support/sparse.ts';

const text = new TextEncoder();
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-scrub-command-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(loadChecksums);

const paths = [0, 1].map(nr => join(folder, `member${nr}.img`));
const contents = () => paths.map(path => hashFile(path));

/** Two members, a file, and some bad copies: of data, of nodes, or of both. */
function damaged({ hasNodes = true } = {}): number {
  const { devices } = formattedImage({
    members: 2,
    sizeBytes: 16 * MIB,
    options: { data_replicas: '2', metadata_replicas: '2' },
  });
  const { writer, options } = writerOn(devices, undefined, 7);
  const edit = new FileEdit(writer, options);
  for (let i = 0; i < 20; i++) {
    const ref = edit.files.create(edit.files.root(), text.encode(`file ${i}`), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(20_000).fill(i + 1));
  }
  edit.commit();
  const random = randomFrom(11);
  const filesystem = openOn(devices);
  const bad = chooseCopies([...dataCopies(filesystem), ...(hasNodes ? nodeCopies(filesystem) : [])], random, 60);
  for (const copy of bad) spoil(devices, copy, random);
  for (const [nr, path] of paths.entries()) saveImage(devices[nr]!, path);
  return bad.length;
}

describe('scrub', () => {
  test.each(['-n', '--dry_run'])('%s says what is bad and writes nothing', { timeout: patient(60_000) }, async flag => {
    const count = damaged();
    const before = contents();
    const { exitCode, stdout } = await run('scrub', [flag, ...paths]);
    expect(exitCode, stdout).toBe(4);
    expect(stdout).toContain(`${count} copies bad, with a good one beside them; nothing was changed`);
    expect(contents()).toEqual(before);
  });

  test('the table, and no more than ten of a kind without -v', { timeout: patient(60_000) }, async () => {
    const count = damaged({ hasNodes: false });
    expect(count).toBeGreaterThan(10);
    const short = await run('scrub', ['-n', ...paths]);
    const lines = short.stdout.trimEnd().split('\n');
    expect(lines[0]).toBe(`Starting scrub on 2 devices:  ${paths.join(' ')}`);
    expect(lines.filter(line => line.includes('data_read_csum_err'))).toHaveLength(11);
    expect(lines).toContain(`${count - 10} more of data_read_csum_err`);
    expect(lines.at(-4)?.split(/ +/)).toEqual(['device', 'checked', 'corrected', 'uncorrected', 'total']);
    expect(lines.at(-3)).toMatch(/^.*member0\.img +\S+ +0 +\S+ +\S+ +100% {2}complete$/);
    const long = await run('scrub', ['-n', '-v', ...paths]);
    expect(long.stdout.split('\n').filter(line => line.includes('data_read_csum_err'))).toHaveLength(count);
  });

  test('-m leaves out the data of files', { timeout: patient(60_000) }, async () => {
    damaged({ hasNodes: false });
    const { exitCode, stdout } = await run('scrub', ['-m', ...paths]);
    expect(exitCode, stdout).toBe(0);
    expect(stdout).toContain('every copy is good');
  });

  test('what it has written is undone', { timeout: patient(60_000) }, async () => {
    damaged();
    const before = contents();
    const file = join(folder, 'undo');
    const scrubbed = await run('scrub', [`--undo_file=${file}`, ...paths]);
    expect(scrubbed.exitCode, scrubbed.stdout).toBe(1);
    expect(contents()).not.toEqual(before);
    const undone = await run('undo', [file, ...paths]);
    expect(undone.exitCode, undone.stderr).toBe(0);
    expect(contents()).toEqual(before);
  });

  test('progress in bytes, up to what there is', { timeout: patient(60_000) }, async () => {
    damaged();
    const { stderr } = await run('scrub', ['-n', '--json', '--progress=json', ...paths]);
    const events = stderr
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
    expect(events.at(-1)).toMatchObject({ event: 'end', what: 'scrubbing', unit: 'bytes' });
    expect(events.at(-1).done).toBeGreaterThan(0.9 * events.at(-1).total);
  });

  test('a device that is in use is refused', { timeout: patient(60_000) }, async () => {
    damaged();
    const held = openDevice(paths[0]!, { write: true, exclusive: true });
    try {
      const { exitCode } = await run('scrub', paths);
      expect(exitCode).toBe(8);
    } finally {
      held.close();
    }
  });
});
