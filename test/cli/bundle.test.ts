// The bundled programs from outside: what a shell, a pipe and a boot script see of them.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { patient } from '../support/patience.ts';
import { built, root, shell } from './built.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bundle-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { version } = JSON.parse(readFileSync(join(root, 'packages/bcachefs/package.json'), 'utf8'));

describe('one file', () => {
  test.each(['bcachefs', 'mkfs.bcachefs', 'fsck.bcachefs'] as const)('%s is executable and needs no package', name => {
    const file = built(name);
    const text = readFileSync(file, 'utf8');
    expect(text.startsWith('#!/usr/bin/env node\n')).toBe(true);
    expect(statSync(file).mode & 0o111).toBe(0o111);
    expect([...text.matchAll(/^import\b.*/gm)].map(match => match[0])).toEqual([]);

    const alone = join(folder, `${name}.mjs`);
    writeFileSync(alone, text);
    const run = spawnSync(process.execPath, [alone, '--help'], { cwd: folder, encoding: 'utf8' });
    expect(run).toMatchObject({ status: name === 'fsck.bcachefs' ? 16 : 0, stderr: '' });
    expect(run.stdout).toContain(`Usage: ${name} `);
  });

  test('the licences of what is bundled are kept', () => {
    expect(readFileSync(built('bcachefs'), 'utf8')).toMatch(/@license|Copyright/);
  });

  test('a command that is not run is not evaluated', () => {
    // Each part of the bundle is a function; here it says its name when it runs.
    const marked = readFileSync(built('bcachefs'), 'utf8').replaceAll(
      /\("?(?:__esm)?"?\{"chunk:([\w.-]+?)-[A-Z0-9]{8}\.js"\(\)\{/g,
      (whole, name) => `${whole}process.emit("evaluated","${name}");`,
    );
    const file = join(folder, 'marked.mjs');
    writeFileSync(
      file,
      marked.replace(
        '\n',
        '\nconst seen=[];process.on("evaluated",n=>seen.push(n));process.on("exit",()=>process._rawDebug(seen.join(" ")));\n',
      ),
    );
    const evaluated = (...words: string[]) => {
      const run = spawnSync(process.execPath, [file, ...words], { encoding: 'utf8' });
      return new Set(run.stderr.split('\n').at(-2)?.split(' '));
    };
    const commands = [
      'format',
      'show-super',
      'recover-super',
      'set-fs-option',
      'fsck.bcachefs',
      'completions',
      'table',
    ];
    const loaded = (...words: string[]) => commands.filter(name => evaluated(...words).has(name));
    expect(loaded('version')).toEqual([]);
    expect(loaded('--help')).toEqual([]);
    expect(loaded('show-super')).toEqual(['show-super']);
    expect(loaded('fsck')).toEqual(['fsck.bcachefs']);
    expect(loaded('format', '--help')).toEqual(['format']);
  });
});

test(
  'building says in one line what it has built',
  () => {
    const run = spawnSync(join(root, 'scripts/run-ts'), ['bundle.ts'], { encoding: 'utf8' });
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout).toMatch(/^bundled bcachefs \d+ KiB, .*\n$/);
  },
  patient(120_000),
);

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

  test('fsck.bcachefs admits, in the terms of fsck(8), that it checks nothing yet', () => {
    const words = 'this version cannot check filesystems yet; nothing was checked and nothing was changed\n';
    for (const args of ['-a -C0 /dev/sda1', '-p disk.img', '']) {
      expect(shell(`${built('fsck.bcachefs')} ${args}`)).toEqual({
        exitCode: 8,
        signal: null,
        stdout: '',
        stderr: `fsck.bcachefs: ${words}`,
      });
    }
    expect(shell('$BCACHEFS fsck -y disk.img')).toMatchObject({ exitCode: 8, stderr: `bcachefs fsck: ${words}` });
    expect(shell('$BCACHEFS --help').stdout).not.toContain('fsck');
  });
});

test('bash completes from the built program', () => {
  const line =
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
    'source <($BCACHEFS completions bash); COMP_WORDS=(bcachefs format --fs); COMP_CWORD=2; _bcachefs; echo "${COMPREPLY[*]}"';
  expect(shell(line).stdout).toBe('--fs_label= --fs_size=\n');
});
