// What npm would publish, used as a stranger would: every package is packed, all are installed into an empty folder, and there
// the programs run and core is imported, with types.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
    const packages = readdirSync(join(root, 'packages')).map(name => `./packages/${name}`);
    sh(root, 'npm', 'pack', '--silent', '--pack-destination', tarballs, ...packages);
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

  const packed = (name: string, file: string) =>
    sh(tarballs, 'tar', '-xOzf', readdirSync(tarballs).find(one => one.startsWith(name))!, `package/${file}`);

  test('carry the licence, a page about themselves, and where they come from', () => {
    const licence = readFileSync(join(root, 'LICENSE'), 'utf8');
    for (const name of readdirSync(tarballs)) {
      expect(sh(tarballs, 'tar', '-xOzf', name, 'package/LICENSE'), name).toBe(licence);
      const manifest = JSON.parse(sh(tarballs, 'tar', '-xOzf', name, 'package/package.json'));
      expect(sh(tarballs, 'tar', '-xOzf', name, 'package/README.md'), name).toContain(`# ${manifest.name}\n`);
      expect(manifest, name).toMatchObject({
        license: 'GPL-2.0-only',
        repository: { type: 'git', directory: expect.stringMatching(/^packages\//) },
        homepage: expect.any(String),
        bugs: expect.any(String),
        description: expect.any(String),
      });
    }
  });

  test('of programs, the notices of everything in them', () => {
    const notices = packed('bcachefs-ts-0', 'dist/THIRD-PARTY-NOTICES.txt');
    for (const name of [
      'yargs-parser',
      'chalk',
      'cli-table3',
      'xxhash-wasm',
      'zstd-codec',
      'zstddec',
      '@noble/ciphers',
      'fflate',
      'preact',
      '@noble/hashes',
    ]) {
      expect(notices).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+, `, 'm'));
    }
    expect(notices).toContain('Permission is hereby granted');
  });

  test('install a man page for every command, as links that man finds', () => {
    const prefix = join(folder, 'prefix');
    const file = join(tarballs, readdirSync(tarballs).find(name => name.startsWith('bcachefs-ts-0'))!);
    sh(
      folder,
      'npm',
      'install',
      '--global',
      `--prefix=${prefix}`,
      '--offline',
      '--silent',
      '--ignore-scripts',
      '--omit=optional',
      file,
    );
    const pages = readdirSync(join(prefix, 'share/man/man8'));
    expect(pages).toEqual(readdirSync(join(root, 'packages/bcachefs/man')));
    expect(pages).toEqual(
      expect.arrayContaining(['bcachefs.8', 'bcachefs-ls.8', 'mkfs.bcachefs.8', 'fsck.bcachefs.8']),
    );
    expect(readFileSync(join(prefix, 'share/man/man8/mkfs.bcachefs.8'), 'utf8')).toMatch(/^\.TH "MKFS\.BCACHEFS" "8"/);
  });

  test('npx runs the packed file without a network', () => {
    const file = join(tarballs, readdirSync(tarballs).find(name => name.startsWith('bcachefs-ts-0'))!);
    const cwd = join(folder, 'elsewhere');
    mkdirSync(cwd);
    const npx = (...words: string[]) =>
      sh(
        cwd,
        'npm',
        'exec',
        '--offline',
        '--yes',
        `--cache=${join(folder, 'cache')}`,
        `--package=${file}`,
        '--',
        ...words,
      );
    expect(npx('bcachefs-ts', 'version')).toBe(npx('bcachefs', 'version'));
    npx('mkfs.bcachefs', '--quiet', '--fs_size=16M', 'a.img');
    expect(npx('bcachefs-ts', 'ls', 'a.img')).toContain('lost+found');
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
      import { MemoryDevice, openDevice, readSuperblock, type Superblock, UsageError } from '@bcachefs-ts/core/engine';
      import { Bcachefs, type FilesystemSummary, UsageError as SameError } from '@bcachefs-ts/core';
      const device = openDevice('b.img', { write: false });
      const sb: Superblock = readSuperblock(device).sb;
      const seq: number = sb.seq;
      // @ts-expect-error a UUID is a string
      const wrong: number = sb.user_uuid;
      const fs = await Bcachefs.open('b.img');
      const summary: FilesystemSummary = fs.summary;
      // @ts-expect-error the internals are at the other door
      const internals: unknown = (await import('@bcachefs-ts/core')).readSuperblock;
      if (summary.uuid !== sb.user_uuid || internals !== undefined || SameError !== UsageError) throw new Error('the doors differ');
      fs.close();
      if (!(new UsageError('x') instanceof Error) || new MemoryDevice(1).sizeBytes !== 1) throw new Error('classes are broken');
      console.log(sb.user_uuid.length, seq, typeof wrong);
    `;
    writeFileSync(join(home, 'use.mts'), program);
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const options = ['--module', 'nodenext', '--target', 'es2022', '--strict', '--types', '', '--lib', 'es2023,dom'];
    sh(home, process.execPath, compiler, ...options, 'use.mts');
    expect(sh(home, process.execPath, 'use.mjs').trim()).toBe('36 1 string');
  });

  test('are imported, required, and imported when they are needed', () => {
    const uses = {
      core: `async core => {
        const fs = await core.Bcachefs.open('b.img');
        console.log(fs.summary.members.length, fs.readdir('').map(({ name }) => name).join());
        fs.close();
      }`,
      'core/engine': `core => console.log(core.openFilesystem(['b.img']).sb.nr_devices, typeof core.loadChecksums)`,
      'core/node': `core => console.log(core.openDevice('b.img', { write: false }).kind)`,
      'core/browser': `core => core.HttpDevice.open('http://there/').catch(({ message }) => console.log(message))`,
    };
    const prints = {
      core: '1 lost+found\n',
      'core/engine': '1 function\n',
      'core/node': 'file\n',
      'core/browser': 'a file on a server can be read as a device in a worker only\n',
    };
    for (const door of ['core', 'core/engine', 'core/node', 'core/browser'] as const) {
      const [use, name] = [uses[door], `@bcachefs-ts/${door}`];
      writeFileSync(join(home, 'static.mjs'), `import * as core from '${name}';\n(${use})(core);\n`);
      writeFileSync(join(home, 'dynamic.cjs'), `import('${name}').then(${use});\n`);
      writeFileSync(join(home, 'require.cjs'), `(${use})(require('${name}'));\n`);
      for (const file of ['static.mjs', 'dynamic.cjs', 'require.cjs']) {
        expect(sh(home, process.execPath, '--no-warnings', file), `${door} by ${file}`).toBe(prints[door]);
      }
    }
  });

  test('have types that resolve, however a strict project resolves them', () => {
    const program = (how: (door: string) => string) =>
      [
        how('core'),
        `const opened: Promise<core.Bcachefs> = core.Bcachefs.open('b.img', { degraded: true });`,
        `void opened.then(fs => fs.stat('').mode satisfies number);`,
        how('browser'),
        `const device: core.BlockDevice = new browser.BlobDevice(new Blob());\nvoid core.Bcachefs.openDevices([device]);`,
        how('node'),
        `node.openDevice('b.img', { write: false }) satisfies core.BlockDevice;`,
        how('engine'),
        `const fs: engine.Filesystem = engine.openFilesystem(['b.img']);\nconst seq: number = fs.sb.seq;\nvoid seq;\n`,
      ].join('\n');
    const from = {
      core: '@bcachefs-ts/core',
      engine: '@bcachefs-ts/core/engine',
      node: '@bcachefs-ts/core/node',
      browser: '@bcachefs-ts/core/browser',
    };
    writeFileSync(
      join(home, 'types.mts'),
      program(name => `import * as ${name} from '${from[name as 'core']}';`),
    );
    writeFileSync(
      join(home, 'types.cts'),
      program(name => `import ${name} = require('${from[name as 'core']}');`),
    );
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const strict = [
      '--noEmit',
      '--strict',
      '--exactOptionalPropertyTypes',
      '--noUncheckedIndexedAccess',
      '--types',
      '',
      '--lib',
      'es2023,dom',
      '--target',
      'es2022',
    ];
    sh(home, process.execPath, compiler, ...strict, '--module', 'nodenext', 'types.mts', 'types.cts');
    sh(home, process.execPath, compiler, ...strict, '--module', 'esnext', '--moduleResolution', 'bundler', 'types.mts');
    // The packages of commands are for Node, whose types a project has to have; core needs none.
    const forNode = strict
      .with(strict.indexOf('--types') + 1, 'node')
      .concat('--typeRoots', join(root, 'node_modules/@types'));
    const names = [
      'command',
      'ext4',
      'sources',
      'format',
      'show-super',
      'dump',
      'files',
      'fsck',
      'inspect',
      'explore',
      'viewer',
      'device',
    ];
    writeFileSync(
      join(home, 'commands.mts'),
      names.map((name, nr) => `export * as it${nr} from '@bcachefs-ts/${name}';\n`).join(''),
    );
    sh(home, process.execPath, compiler, ...forNode, '--module', 'nodenext', 'commands.mts');
  });
});
