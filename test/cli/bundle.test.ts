// The bundled programs from outside: what a shell, a pipe and a boot script see of them.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { built, root, shell } from '../support/built.ts';
import { patient } from '../support/patience.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bundle-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { version } = JSON.parse(readFileSync(join(root, 'packages/bcachefs/package.json'), 'utf8'));

const dist = dirname(built('bcachefs'));
const programs = ['bcachefs', 'mkfs.bcachefs', 'fsck.bcachefs', 'mount.bcachefs'] as const;

const textOf = (file: string) => readFileSync(join(dist, file), 'latin1');

/** The scripts of the newest build: what all commands need, then by package of commands (scripts/bundle-parts.ts). */
const bundle = /program-[0-9a-f]{12}\.cjs/.exec(textOf('bcachefs.cjs'))![0];
const partOf = (name: string) => new RegExp(`program-${name}-[0-9a-f]{12}\\.cjs`).exec(textOf(bundle))![0];
const parts = {
  'show-super': partOf('show-super'),
  files: partOf('files'),
  format: partOf('format'),
  others: partOf('others'),
} as const;
const scripts = [bundle, ...Object.values(parts)];
const encoder = /zstd-codec-[0-9a-f]{12}\.cjs/.exec(scripts.map(textOf).join())![0];

/** A copy of the built programs in a folder with nothing else. */
function copied(name: string, without: readonly string[] = []): string {
  const target = join(folder, name);
  mkdirSync(target);
  const files = [
    ...programs.map(program => `${program}.cjs`),
    ...scripts,
    ...scripts.map(script => `${script}.cache`),
    encoder,
  ];
  for (const file of files) {
    if (!without.includes(file)) cpSync(join(dist, file), join(target, file));
  }
  writeFileSync(join(target, 'package.json'), '{ "type": "module" }');
  return target;
}

const node = (cwd: string, ...words: string[]) => spawnSync(process.execPath, words, { cwd, encoding: 'utf8' });

describe('the built programs', () => {
  test.each(programs)('%s is executable and needs no package', name => {
    expect(readFileSync(built(name), 'latin1').startsWith('#!/usr/bin/env node\n')).toBe(true);
    expect(statSync(built(name)).mode & 0o111).toBe(0o111);
    const run = node(folder, join(copied(`alone-${name}`), `${name}.cjs`), '--help');
    expect(run).toMatchObject({ status: name === 'fsck.bcachefs' ? 16 : 0, stderr: '' });
    expect(run.stdout).toContain(`Usage: ${name} `);
  });

  test('compiled code that is missing, or is not of this Node, is done without', () => {
    const without = copied(
      'without',
      scripts.map(script => `${script}.cache`),
    );
    const foreign = copied('foreign');
    for (const script of scripts) {
      const cache = readFileSync(join(foreign, `${script}.cache`));
      for (let at = 0; at < 32; at++) cache[at] = 0xff;
      writeFileSync(join(foreign, `${script}.cache`), cache);
    }
    for (const here of [without, foreign]) {
      expect(node(here, 'bcachefs.cjs', 'version')).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
      expect(node(here, 'bcachefs.cjs', 'format', '-q', '--fs_size=16M', 'a.img')).toMatchObject({
        status: 0,
        stderr: '',
      });
      expect(node(here, 'bcachefs.cjs', 'fsck', '-n', 'a.img')).toMatchObject({ status: 0, stderr: '' });
    }
  });

  test('compiled code is what this Node takes', () => {
    for (const script of scripts) {
      const filename = join(dist, script);
      const cachedData = readFileSync(`${filename}.cache`);
      expect(new Script(textOf(script), { filename, cachedData }).cachedDataRejected, script).toBe(false);
    }
  });

  test('Node 18 gets one line', () => {
    // Older Nodes lack what the program starts with; the entry asks for the version before it touches any of it.
    const old =
      'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"18.20.4"});delete process.getBuiltinModule';
    const run = node(folder, '--import', old, built('mkfs.bcachefs'), '--version');
    expect(run).toMatchObject({ status: 1, stdout: '' });
    expect(run.stderr).toBe('mkfs.bcachefs: Node 20.19 or newer is needed, this is 18.20.4\n');
  });

  test('scripts/bcachefs of a fresh clone gets the same line from Node 18, and nothing is installed or built', () => {
    const clone = join(folder, 'clone');
    cpSync(join(root, 'scripts'), join(clone, 'scripts'), { recursive: true });
    const old = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'18.20.4'})";
    const run = spawnSync(join(clone, 'scripts/bcachefs'), ['version'], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, NODE_OPTIONS: `--import=${old}` },
    });
    expect(run).toMatchObject({ status: 1, stdout: '' });
    expect(run.stderr).toBe('bcachefs-ts: Node 20.19 or newer is needed, this is 18.20.4\n');
    expect(readdirSync(clone)).toEqual(['scripts']);
  });

  test('are not larger than they have to be', () => {
    const kib = (file: string) => Math.ceil(statSync(join(dist, file)).size / 1024);
    for (const program of programs) expect(kib(`${program}.cjs`)).toBeLessThanOrEqual(2);
    const withCode = (script: string) => [kib(script), kib(`${script}.cache`)];
    const bounds: readonly (readonly [script: string, source: number, code: number])[] = [
      [bundle, 205, 240],
      [parts['show-super'], 700, 1020],
      [parts.files, 580, 450],
      [parts.format, 380, 300],
      [parts.others, 1100, 800],
    ];
    for (const [script, source, code] of bounds) {
      const [sourceKib, codeKib] = withCode(script) as [number, number];
      expect(sourceKib, script).toBeLessThan(source);
      expect(codeKib, `${script}.cache`).toBeLessThan(code);
    }
    expect(kib('explorer-screen.js')).toBeLessThan(720);
  });

  test('everyday commands read no script that they have nothing from', () => {
    writeFileSync(join(folder, 'text'), 'text');
    /** What each command has, and after it those that are there with it. */
    const rows: readonly (readonly [has: readonly string[], ...commands: (readonly string[])[]])[] = [
      [[], ['version'], ['--help'], ['mkdri', '--help']],
      [['show-super'], ['show-super', 'a.img'], ['set-fs-option', '--label=a', 'a.img'], ['recovery-pass', 'a.img']],
      [
        ['show-super', 'files'],
        ['ls', '-lR', 'a.img'],
        ['mkdir', '-q', 'a.img', 'd'],
        ['put', '-q', 'a.img', join(folder, 'text'), 'd/text'],
        ['cat', 'a.img', 'd/text'],
        ['mv', '-q', 'a.img', 'd/text', 'text'],
        ['rm', '-qr', 'a.img', 'd'],
        ['subvolume', 'snapshot', '-q', 'a.img', '/', 'then'],
        ['get', '-q', 'a.img', 'text', '.'],
        ['restore', '-q', 'a.img', 'out'],
        ['tar', '-q', '-o', 'a.tar', 'a.img'],
      ],
      [
        ['show-super', 'files', 'format'],
        ['format', '-q', '--fs_size=16M', 'b.img'],
      ],
    ];
    for (const [has, ...commands] of rows) {
      const missing = Object.entries(parts).filter(([name]) => !has.includes(name));
      const here = copied(
        `reads-${has.length}`,
        missing.map(([, file]) => file),
      );
      node(here, built('bcachefs'), 'format', '-q', '--fs_size=16M', 'a.img');
      for (const words of commands) {
        const run = node(here, 'bcachefs.cjs', ...words);
        expect(run.status, `${words.join(' ')}: ${run.stderr}`).toBe(words[0] === 'mkdri' ? 2 : 0);
      }
    }
    const here = join(folder, 'reads-3');
    expect(node(here, 'bcachefs.cjs', 'fsck', '-n', 'a.img').stderr).toContain(parts.others);
  });

  test('the encoder of zstd is loaded when something is compressed with it, and by nothing else', () => {
    const here = copied('no-encoder', [encoder]);
    const bcachefs = (...words: string[]) => node(here, 'bcachefs.cjs', ...words);
    writeFileSync(join(here, 'file'), 'text '.repeat(10_000));
    for (const words of [
      ['format', '-q', '--compression=zstd', '--fs_size=16M', 'a.img'],
      ['show-super', 'a.img'],
      ['mkdir', '-q', 'a.img', 'd'],
      ['ls', '-l', 'a.img'],
      ['rm', '-qr', 'a.img', 'd'],
    ]) {
      expect(bcachefs(...words), words.join(' ')).toMatchObject({ status: 0, stderr: '' });
    }
    expect(bcachefs('put', '-q', 'a.img', 'file', 'file').stderr).toContain(encoder);
    cpSync(join(dist, encoder), join(here, encoder));
    expect(bcachefs('put', '-q', 'a.img', 'file', 'file')).toMatchObject({ status: 0, stderr: '' });
    expect(bcachefs('cat', 'a.img', 'file').stdout).toBe('text '.repeat(10_000));
  });

  test('of Node, everyday commands load files and little else', () => {
    const list = 'data:text/javascript,process.on("exit",()=>process._rawDebug(process.moduleLoadList.join(" ")))';
    const loadedBy = (...words: string[]) => node(folder, '--import', list, built('bcachefs'), ...words).stderr;
    node(folder, built('bcachefs'), 'format', '-q', '--compression=zstd', '--fs_size=16M', 'modules.img');
    for (const words of [
      ['version'],
      ['show-super', 'modules.img'],
      ['ls', '-l', 'modules.img'],
      ['mkdir', '-q', 'modules.img', 'd'],
    ]) {
      const loaded = loadedBy(...words);
      expect(loaded).toContain('NativeModule fs');
      // HTTP, which zstddec would fetch itself with, costs 20 ms; sockets and readline are for terminals and pipes that ask.
      const unwanted = ['internal/deps/undici/undici', 'http', 'net', 'readline', 'child_process', 'worker_threads'];
      // 2 ms each, and more on a cold start: random numbers are only for what writes.
      if (words[0] !== 'mkdir') unwanted.push('zlib', 'os');
      // Linux has random numbers in a file.
      if (words[0] !== 'mkdir' || process.platform === 'linux') unwanted.push('crypto', 'stream');
      for (const each of unwanted) {
        expect(loaded.split('NativeModule '), `${words[0]}: ${each}`).not.toContain(`${each} `);
      }
    }
  });

  test('native code is loaded by what has work for it', () => {
    const list =
      'data:text/javascript,process.on("exit",()=>process._rawDebug(process.report.getReport().sharedObjects.join(" ")))';
    const loadedBy = (...words: string[]) => node(folder, '--import', list, built('bcachefs'), ...words).stderr;
    node(folder, built('bcachefs'), 'format', '-q', '--fs_size=16M', 'native.img');
    for (const words of [
      ['show-super', 'native.img'],
      ['ls', '-l', 'native.img'],
      ['mkdir', '-q', 'native.img', 'd'],
    ]) {
      // 10 ms for checksums in the processor's way, 25 ms for calls of the host.
      expect(loadedBy(...words), words[0]).not.toMatch(/koffi|crc32/);
    }
  });

  test('a command that is not run is not evaluated', () => {
    // Each part of the bundle is a function; here it says its name when it runs.
    const here = copied(
      'marked',
      scripts.map(script => `${script}.cache`),
    );
    for (const script of scripts) {
      const marked = textOf(script).replaceAll(
        /\("?(?:__esm)?"?\{"chunk:([\w.-]+?)-[A-Z0-9]{8}\.js"\(\)\{/g,
        (whole, name) => `${whole}process.emit("evaluated","${name}");`,
      );
      writeFileSync(join(here, script), marked, 'latin1');
    }
    const report =
      'data:text/javascript,const seen=[];process.on("evaluated",n=>seen.push(n));process.on("exit",()=>process._rawDebug(seen.join(" ")))';
    const evaluated = (...words: string[]) =>
      new Set(
        node(here, '--import', report, 'bcachefs.cjs', ...words)
          .stderr.split('\n')
          .at(-2)
          ?.split(' '),
      );
    const commands = ['format', 'show-super', 'recover-super', 'set-fs-option', 'fsck', 'completions', 'table'];
    const loaded = (...words: string[]) => commands.filter(name => evaluated(...words).has(name));
    expect(loaded('version')).toEqual([]);
    expect(loaded('--help')).toEqual([]);
    expect(loaded('show-super')).toEqual(['show-super']);
    expect(loaded('mkdir', '--help')).toEqual([]);
    expect(loaded('fsck', '--help')).toEqual(['fsck']);
    expect(loaded('format', '--help')).toEqual(['format']);
  });
});

test('building says in one line what it has built', { timeout: patient(60_000) }, () => {
  const run = spawnSync(join(root, 'scripts/run-ts'), ['bundle.ts'], { encoding: 'utf8' });
  expect(run).toMatchObject({ status: 0, stderr: '' });
  expect(run.stdout).toMatch(/^bundled \S+ \d+ KiB, .*\n$/);
});

describe('bcachefs', () => {
  test('version', () => {
    expect(shell('$BCACHEFS version')).toEqual({ exitCode: 0, signal: null, stdout: `${version}\n`, stderr: '' });
    expect(JSON.parse(shell('$BCACHEFS --version --json').stdout)).toMatchObject({ program_version: version });
  });

  test('bare: the usage on standard output, and exit code 1', () => {
    const usage = shell('$BCACHEFS --help').stdout;
    expect(shell('$BCACHEFS')).toEqual({ exitCode: 1, signal: null, stdout: usage, stderr: '' });
  });

  test('a slip gets one line and exit code 2', () => {
    expect(shell('$BCACHEFS shwo-super disk.img')).toEqual({
      exitCode: 2,
      signal: null,
      stdout: '',
      stderr: "bcachefs: unknown command 'shwo-super', did you mean 'show-super'? (try 'bcachefs --help')\n",
    });
  });

  test('a missing file', () => {
    const { exitCode, stderr } = shell('$BCACHEFS show-super /nonexistent/disk.img');
    expect([exitCode, stderr.split('\n').length]).toEqual([5, 2]);
    expect(stderr).toContain('/nonexistent/disk.img');
  });
});

describe('pipes', () => {
  test('a reader that goes away ends the program quietly', () => {
    expect(shell('$BCACHEFS help --json | head -c 20')).toMatchObject({ exitCode: 0, stderr: '' });
    expect(shell('$BCACHEFS help --json | true')).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('a slow reader gets everything, also through a pipe that does not block', () => {
    const whole = shell('$BCACHEFS help --json').stdout;
    expect(whole.length).toBeGreaterThan(70_000); // More than a pipe holds.
    expect(shell('$BCACHEFS help --json | (sleep 0.3; cat)').stdout).toBe(whole);
    const nonblocking =
      'import subprocess, os, sys, time, fcntl\n' +
      'r, w = os.pipe(); fcntl.fcntl(w, fcntl.F_SETFL, os.O_NONBLOCK)\n' +
      'p = subprocess.Popen([os.environ["BCACHEFS"], "help", "--json"], stdout=w); os.close(w); time.sleep(0.3)\n' +
      'sys.stdout.write(os.fdopen(r).read())\n';
    expect(shell(`python3 -c '${nonblocking}' 2>&1`).stdout).toBe(whole);
  });

  test('a full disk is an error', () => {
    expect(shell('$BCACHEFS version > /dev/full')).toMatchObject({
      exitCode: 5,
      stderr: 'bcachefs version: standard output: no space left\n',
    });
  });

  test('no colour in a pipe, unless asked for', () => {
    expect(shell('$BCACHEFS --help').stdout).not.toContain('\u001b');
    expect(shell('$BCACHEFS --help', { FORCE_COLOR: '1' }).stdout).toContain('\u001b[1mbcachefs\u001b[22m');
    expect(shell('$BCACHEFS --help --color=always', { NO_COLOR: '1' }).stdout).toContain('\u001b');
  });
});

describe('by other names', () => {
  test('-h: fsck(8) has an exit code for it, mkfs has not', () => {
    expect(shell(`${built('fsck.bcachefs')} -h`)).toMatchObject({ exitCode: 16, stderr: '' });
    expect(shell('$BCACHEFS fsck -h')).toMatchObject({ exitCode: 16, stderr: '' });
    expect(shell(`${built('mkfs.bcachefs')} -h`)).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('mkfs.bcachefs is format', () => {
    const help = shell(`${built('mkfs.bcachefs')} --help`);
    expect(help.exitCode).toBe(0);
    expect(help.stdout).toContain('Usage: mkfs.bcachefs [options] <devices>...');
    expect(shell(`${built('mkfs.bcachefs')} --nonsense`)).toMatchObject({
      exitCode: 2,
      stderr: "mkfs.bcachefs: unknown option --nonsense (try 'mkfs.bcachefs --help')\n",
    });
    expect(shell(`${built('mkfs.bcachefs')} -V`).stdout).toBe(`${version}\n`);
  });

  test('fsck.bcachefs is fsck, and answers in the terms of fsck(8)', () => {
    const image = join(folder, 'checked.img');
    expect(shell(`$BCACHEFS format --fs_size=32M ${image}`)).toMatchObject({ exitCode: 0 });
    for (const args of ['-a -C0', '-p', '-n', '-nf', '-y', ''])
      expect(shell(`${built('fsck.bcachefs')} ${args} ${image}`)).toMatchObject({ exitCode: 0, stderr: '' });
    expect(shell(`${built('fsck.bcachefs')} -y nothing.img`)).toMatchObject({ exitCode: 8, stdout: '' });
    expect(shell(`$BCACHEFS fsck --nonsense ${image}`)).toMatchObject({ exitCode: 16, stdout: '' });
    expect(shell(`$BCACHEFS fsck`)).toMatchObject({ exitCode: 16, stdout: '' });
  });
});

test('bash completes from the built program: options, and values of each kind', () => {
  writeFileSync(join(folder, 'disk.img'), '');
  const cases: readonly (readonly [line: string, expected: string])[] = [
    ['format --fs', '--fs_label= --fs_size='],
    ['format --compression=', 'none lz4 gzip zstd'],
    ['format --background_compression z', 'zstd'],
    ['format --metadata_checksum=c', 'crc32c crc64'],
    ['format --replicas=', '1 2 3'],
    ['format --block_size=', '512 1k 2k 4k 8k 16k 32k'],
    ['format --data_allowed=', 'journal btree user'],
    ['format --durability=', '0 1 2'],
    ['format --acl=', 'yes no'],
    ['format --passphrase_file=di', 'disk.img'],
    ['set-fs-option --data_checksum=x', 'xxhash'],
    ['set-file-option --nocow=', '0 1 -'],
    ['list --btree=sub', 'subvolumes subvolume_children'],
    ['list_journal --btree=inod', 'inodes'],
    ['list_journal --bkey_val=', 'yes no'],
    ['unlock --keyring=', 'session user user_session'],
    ['ls di', 'disk.img'],
    ['subvol sn', 'snapshot snap'],
  ];
  const script =
    'source <($BCACHEFS completions bash); cd "$FOLDER"\n' +
    cases
      .map(([line]) => {
        const words = ['bcachefs', ...line.split(/ |(=)/).filter(word => word !== undefined)];
        const list = words.map(word => `'${word}'`).join(' ');
        return `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; COMPREPLY=(); _bcachefs; echo "\${COMPREPLY[*]}"`;
      })
      .join('\n');
  const lines = shell(script, { FOLDER: folder }).stdout.split('\n');
  expect(cases.map(([line], i) => [line, lines[i]])).toEqual(cases);
});
