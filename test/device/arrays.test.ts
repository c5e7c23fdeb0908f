// docs/arrays.md: every line of its console blocks, one after the other, on three image files with two copies of everything; the third is away
// where only two are named. Afterwards the files are what they were, and the rules of the checker hold.

import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCli } from '@bcachefs-ts/command';
import { afterAll, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { runForBytes, succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const folder = mkdtempSync(join(tmpdir(), 'arrays-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('docs/arrays.md', { timeout: patient(120_000) }, async () => {
  const images = ['a.img', 'b.img', 'c.img'].map(name => join(folder, name));
  const [larger, fresh] = ['larger.img', 'new.img'].map(name => join(folder, name));
  for (const image of [larger!, fresh!]) {
    writeFileSync(image, '');
    truncateSync(image, 96 * MIB);
  }
  await succeed('format', ['-q', '--replicas=2', '--fs_size=64M', ...images]);
  const contents = 'what it holds\n'.repeat(100_000);
  writeFileSync(join(folder, 'file'), contents);
  await succeed('put', ['-q', images.join(':'), join(folder, 'file'), 'file']);

  const page = readFileSync(join(root, 'docs/arrays.md'), 'utf8');
  const blocks = [...page.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block!);
  const lines = blocks.flatMap(block => [...block.matchAll(/^\$ bcachefs (.*)$/gm)].map(([, line]) => line!));
  expect(lines.length).toBeGreaterThan(7);
  for (const line of lines) {
    const words = line.replaceAll(/\b(?:[abc]|larger|new)\.img\b/g, name => join(folder, name)).split(' ');
    const { exitCode, stderr } = await runCli(bcachefs, words);
    const warning = /^\S+ replace .*--allow_missing/.test(line) ? expect.stringContaining('is missing') : '';
    expect({ line, exitCode, stderr }).toEqual({ line, exitCode: 0, stderr: warning });
    if (line.includes('256M')) expect(statSync(images[0]!).size).toBe(256 * MIB);
  }
  expect(statSync(images[0]!).size).toBeLessThan(64 * MIB);
  images.splice(1, 2, larger!, fresh!);
  const { stdoutBytes } = await runForBytes('cat', [images.join(':'), 'file']);
  expect(new TextDecoder().decode(stdoutBytes)).toBe(contents);
  expect(await runCli(bcachefs, ['fsck', '-n', ...images])).toMatchObject({ exitCode: 0 });
});
