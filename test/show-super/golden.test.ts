// show-super of the project's own images, in full: text and JSON. A change of these files is a change that users see: update on
// purpose (UPDATE_GOLDEN=1) and read the difference.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { succeed } from '../support/cli.ts';
import { testImages, withTestImage } from '../support/images.ts';

vi.stubEnv('TZ', 'UTC');

const golden = join(dirname(fileURLToPath(import.meta.url)), 'golden');

function compare(name: string, file: string, text: string): void {
  const path = join(golden, name, file);
  if (process.env.UPDATE_GOLDEN === '1') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(text).toBe(readFileSync(path, 'utf8'));
}

describe.each(testImages)('$name', ({ name }) => {
  test.each([
    ['expect.txt', ['--layout', '--fields=all']],
    ['expect.default.txt', []],
    ['expect.json', ['--json']],
  ])('%s', async (file, words) => {
    await withTestImage(name, async paths => {
      const text = await succeed('show-super', [...words, ...paths]);
      compare(name, file, text.replaceAll(`${dirname(paths[0]!)}/`, ''));
    });
  });
});
