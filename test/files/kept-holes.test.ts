// A change that failed keeps no blocks of the host: where it wrote to holes of a sparse image there are holes again.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadNativeCalls } from '@bcachefs-ts/command';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { copySparse } from '../support/fixtures.ts';
import { scratchFolder } from '../support/folder-manifest.ts';

const MIB = 2 ** 20;

let folder = '';
const file = (name: string) => join(folder, name);
const allocated = (path: string) => statSync(path).blocks * 512;

beforeAll(async () => {
  folder = mkdtempSync(join(scratchFolder, 'holes-'));
  await succeed('format', ['-q', '--fs_size=64M', file('base.img')]);
  writeFileSync(file('large'), Buffer.alloc(40 * MIB, 'no zeroes here. '));
  for (const name of ['more', 'taken']) writeFileSync(file(name), Buffer.alloc(30 * MIB, 'nor is here. '));
  writeFileSync(file('small'), Buffer.alloc(300_001, 'nor here. '));
  await succeed('put', ['-q', file('base.img'), file('small'), 'taken']);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

if (loadNativeCalls() === undefined) console.warn('holes of images skipped: the host calls (koffi) are not there');

describe.skipIf(loadNativeCalls() === undefined)('a failed put keeps no blocks of a sparse image', () => {
  test.each([
    {
      why: 'the filesystem has no room',
      words: () => [file('large'), file('small'), file('more')],
      error: /no space/i,
    },
    {
      why: 'the last name is taken',
      words: () => [file('large'), file('small'), file('taken')],
      error: /is there already/,
    },
  ])('when $why', async ({ words, error }) => {
    const image = copySparse(file('base.img'), file('disk.img'));
    const before = allocated(image);
    const { exitCode, stderr } = await run('put', [image, ...words(), '/']);
    expect(stderr).toMatch(error);
    expect(exitCode).not.toBe(0);
    expect(allocated(image)).toBeLessThanOrEqual(before);
    // Not a byte of what is read has changed.
    expect(readFileSync(image).equals(readFileSync(file('base.img')))).toBe(true);
  });

  test('one that works keeps what it wrote, and the next failure nothing of its own', async () => {
    const image = copySparse(file('base.img'), file('disk.img'));
    await succeed('put', ['-q', image, file('small'), 'kept']);
    const before = allocated(image);
    const { exitCode } = await run('put', [image, file('large'), file('more'), '/']);
    expect(exitCode).not.toBe(0);
    expect(allocated(image)).toBeLessThanOrEqual(before);
    const { stdoutBytes } = await runForBytes('cat', [image, 'kept']);
    expect(stdoutBytes).toHaveLength(300_001);
  });
});
