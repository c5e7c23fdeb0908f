// The examples of docs/library.md: every ts block of it is a whole program that type-checks, runs over the project's own images, and prints
// what the text block after it says.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testImageContents, testImages } from '../support/images.ts';
import { patient } from '../support/patience.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const page = readFileSync(join(root, 'docs/library.md'), 'utf8');

interface Example {
  readonly name: string;
  readonly program: string;
  readonly prints: string;
}

const examples: readonly Example[] = page.split(/^## /m).flatMap(section =>
  [...section.matchAll(/^```ts\n(.*?)^```\n\n```text\n(.*?)^```$/gms)].map(([, program, prints]) => ({
    name: section.slice(0, section.indexOf('\n')),
    program: program!,
    prints: prints!,
  })),
);

describe('docs/library.md', () => {
  // Inside of the workspace, where the packages are found, and out of sight of git.
  const cache = join(root, 'node_modules/.cache');
  let folder = '';
  const fileOf = (nr: number) => join(folder, `example-${nr}.ts`);

  beforeAll(() => {
    mkdirSync(cache, { recursive: true });
    folder = mkdtempSync(join(cache, 'bcachefs-ts-examples-'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    examples.forEach(({ program }, nr) => void writeFileSync(fileOf(nr), program));
    for (const { name, devices } of testImages) {
      testImageContents(name).forEach(
        (contents, nr) => void writeFileSync(join(folder, `${devices[nr]}.img`), contents),
      );
    }
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('every ts block is followed by its output', () => {
    expect(examples).toHaveLength(page.match(/^```ts$/gm)!.length);
    expect(examples.length).toBeGreaterThanOrEqual(6);
  });

  test('they type-check as strictly as the sources', { timeout: patient(120_000) }, () => {
    const config = join(folder, 'tsconfig.json');
    const options = { noEmit: true, types: ['node'], typeRoots: [join(root, 'node_modules/@types')] };
    const files = examples.map((_, nr) => fileOf(nr));
    writeFileSync(
      config,
      JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions: options, files, include: [] }),
    );
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', config], { encoding: 'utf8' });
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });

  test.each(examples.map((example, nr) => [example.name, nr] as const))('%s', { timeout: patient(60_000) }, (_, nr) => {
    const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const words = ['--conditions=@bcachefs-ts/source', '--import', loader, fileOf(nr)];
    const printed = execFileSync(process.execPath, words, { cwd: folder, encoding: 'utf8' });
    expect(printed).toBe(examples[nr]!.prints);
  });
});
