// What npm would publish, used as a stranger would: every package is packed, all are installed into an empty folder, and there
// the programs run and core is imported, with types.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { patient } from '../support/patience.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

function sh(cwd: string, command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (thrown) {
    const { stdout = '', stderr = '' } = thrown as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}`, { cause: thrown });
  }
}

describe('packed packages', { timeout: patient(300_000) }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-packed-'));
  const tarballs = join(folder, 'tarballs');
  const home = join(folder, 'somewhere');
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  beforeAll(() => {
    sh(root, process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-b', 'tsconfig.build.json');
    sh(root, process.execPath, '--import', 'tsx', 'scripts/bundle.ts', '--clean');
    mkdirSync(tarballs);
    mkdirSync(home);
    for (const name of readdirSync(join(root, 'packages'))) {
      sh(join(root, 'packages', name), 'npm', 'pack', '--silent', '--pack-destination', tarballs);
    }
    writeFileSync(join(home, 'package.json'), '{ "name": "stranger", "private": true, "type": "module" }');
    const files = readdirSync(tarballs).map(name => join(tarballs, name));
    sh(home, 'npm', 'install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts', ...files);
  }, patient(300_000));

  test('hold no sources, tests or build state', () => {
    for (const name of readdirSync(tarballs)) {
      const contents = sh(tarballs, 'tar', '-tzf', name).trim().split('\n');
      expect(
        contents.filter(path => /\.(test|bench)\.|tsbuildinfo|\/src\//.test(path)),
        name,
      ).toEqual([]);
      expect(
        contents.some(path => path.endsWith('/dist/index.js')),
        name,
      ).toBe(true);
    }
  });

  test('give working programs', () => {
    const bin = join(home, 'node_modules/.bin');
    sh(home, join(bin, 'bcachefs'), 'format', '--quiet', '--fs_size=64M', 'a.img');
    sh(home, join(bin, 'mkfs.bcachefs'), '--quiet', '--fs_label=packed', '--fs_size=64M', 'b.img');
    expect(sh(home, join(bin, 'bcachefs'), 'show-super', 'b.img')).toMatch(/^Label: +packed$/m);
    expect(JSON.parse(sh(home, join(bin, 'bcachefs'), 'show-super', '--json', 'a.img'))).toMatchObject({
      schema: 'bcachefs-ts/show-super',
    });
  });

  test('give a typed library', () => {
    const program = `
      import { MemoryDevice, openDevice, readSuperblock, type Superblock, UsageError } from '@bcachefs-ts/core';
      const device = openDevice('b.img', { write: false });
      const sb: Superblock = readSuperblock(device).sb;
      const seq: number = sb.seq;
      // @ts-expect-error a UUID is a string
      const wrong: number = sb.user_uuid;
      if (!(new UsageError('x') instanceof Error) || new MemoryDevice(1).sizeBytes !== 1) throw new Error('classes are broken');
      console.log(sb.user_uuid.length, seq, typeof wrong);
    `;
    writeFileSync(join(home, 'use.mts'), program);
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const options = ['--module', 'nodenext', '--target', 'es2022', '--strict', '--types', '', '--lib', 'es2023,dom'];
    sh(home, process.execPath, compiler, ...options, 'use.mts');
    expect(sh(home, process.execPath, 'use.mjs').trim()).toBe('36 1 string');
  });
});
