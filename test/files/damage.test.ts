// damage ls and clear: the record of damage that kernels from 1.39 on keep.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { withTestImage } from '../support/images.ts';

describe('a filesystem of Linux 6.12', () => {
  test('keeps no record: both say so, and nothing is changed', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      const listed = await run('damage ls', ['-R', image]);
      expect(listed).toMatchObject({ exitCode: 0, stdout: '' });
      expect(listed.stderr).toContain('filesystems of metadata version 1.13 keep no record of damage');
      const cleared = await succeed('damage clear', [image, '/']);
      expect(cleared).toBe('/: nothing is recorded: filesystems of metadata version 1.13 keep no record of damage\n');
      expect(JSON.parse((await succeed('damage clear', ['--json', image, '/'])).trim())).toMatchObject({
        path: '/',
        cleared: 0,
      });
      expect((await run('damage clear', [image, 'no/such/file'])).exitCode).toBe(2);
      expect(readFileSync(image).equals(before)).toBe(true);
    });
  });
});

describe.skipIf(whyNoFixtures !== undefined)('a filesystem of 1.39', () => {
  test('without damage lists nothing, and is not written to', async () => {
    const { images } = fixture('basic-1.39');
    const before = readFileSync(images[0]!);
    expect(await run('damage ls', ['-R', '--long', images[0]!])).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    const { exitCode, stderr } = await run('damage clear', [images[0]!, '/']);
    expect([exitCode, stderr]).toEqual([4, expect.stringContaining('1.39')]);
    expect(readFileSync(images[0]!).equals(before)).toBe(true);
  });
});
