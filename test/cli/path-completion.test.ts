// Paths inside of images, completed by the shells themselves with the built program.

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { built } from '../support/built.ts';
import { patient } from '../support/patience.ts';
import { whyNot } from '../support/shells.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-paths-'));
const bin = join(folder, 'bin');
const here = join(folder, 'here');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const env = { PATH: `${bin}:${process.env.PATH}`, HOME: here, LC_ALL: 'C.UTF-8' };

function sh(command: string, ...words: string[]) {
  return spawnSync(command, words, {
    cwd: here,
    encoding: 'utf8',
    env,
    timeout: patient(60_000),
  });
}

const make = (line: string) => expect(sh('bash', '--norc', '-c', line)).toMatchObject({ status: 0, stderr: '' });

beforeAll(() => {
  mkdirSync(bin);
  for (const name of ['etc/apt', 'with blank', 'tree/deep']) mkdirSync(join(here, name), { recursive: true });
  for (const name of [
    'etc/passwd',
    'etc/fstab',
    'etc/.hidden',
    'etc/x:y',
    'with blank/a b',
    'escape\x1b[31m',
    'etc/$(id)*',
  ]) {
    writeFileSync(join(here, name), 'x');
  }
  writeFileSync(join(bin, 'bcachefs'), `#!/bin/sh\nexec ${process.execPath} ${built('bcachefs')} "$@"\n`);
  chmodSync(join(bin, 'bcachefs'), 0o755);
  make('bcachefs format -q --fs_size=32M --source=. a.img');
  make('bcachefs format -q --fs_size=32M b0.img b1.img && bcachefs mkdir -q b0.img:b1.img both');
  make('echo secret | bcachefs format -q --encrypted --fs_size=32M sealed.img; echo secret > pw');
  make('mkfifo pipe; echo nothing > broken.img');
  truncateSync(join(here, 'broken.img'), 1 << 20);
  for (const shell of ['bash', 'zsh', 'fish']) make(`bcachefs completions ${shell} > script.${shell}`);
}, patient(60_000));

const cases: readonly (readonly [line: string, expected: readonly string[]])[] = [
  ['cat a.img /etc/', ['/etc/$(id)*', '/etc/apt/', '/etc/fstab', '/etc/passwd', '/etc/x:y']],
  ['cat a.img etc/p', ['etc/passwd']],
  ['cat a.img /etc/.', ['/etc/.hidden']],
  ['cat -- a.img /etc/p', ['/etc/passwd']],
  ['ls --subvolume 1 -l a.img /etc/a', ['/etc/apt/']],
  ['stat a.img /etc/fstab /e', ['/escape\\x1b[31m', '/etc/']],
  ['subvolume snapshot a.img /et', ['/etc/']],
  ['mv a.img /etc/fstab /etc/p', ['/etc/passwd']],
  ['cat a.img /etc/fstab/', []],
  ['cat a.img /none/', []],
  ['cat broken.img /e', []],
  ['cat missing.img /e', []],
  ['cat pipe /e', []],
  ['cat sealed.img /', []],
  ['cat --passphrase_file pipe sealed.img /', []],
  ['ls --passphrase_file pw sealed.img /', ['/lost+found/']],
  ['put a.img etc/fs', ['etc/fstab']],
];

describe('bash', () => {
  /** Completes after `line`, broken into words as readline does. */
  function complete(line: string): string[] {
    const words = [
      'bcachefs',
      ...line.split(' ').flatMap(word => word.split(/([=:]+)/).filter((each, nr) => nr === 0 || each !== '')),
    ];
    const run = sh(
      'bash',
      '--norc',
      '-c',
      `source script.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bcachefs; printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      ...words,
    );
    expect(run).toMatchObject({ status: 0, stderr: '' });
    return run.stdout.split('\n').filter(Boolean).sort();
  }

  test.each([
    ...cases,
    // Only what comes after the colon is replaced.
    ['cat a.img /etc/x:', ['y']],
    ['ls b0.img:b1.img /b', ['/both/']],
    ['ls a.img /with\\', ['/with blank/']],
    ["cat a.img '/with bl", ['/with blank/']],
    ['get a.img /etc/fstab etc/f', ['etc/fstab', 'etc/fstab']],
    ['ls a.i', ['a.img']],
  ] as typeof cases)('%s', (line, expected) => {
    // A blank in a quoted word does not end it.
    const joined = line.replace("'/with bl", "'/with");
    expect(complete(joined)).toEqual(expected);
  });

  const noPython = spawnSync('python3', ['--version']).status === 0 ? '' : ' (skipped: python3 is not installed)';
  test.skipIf(noPython)(`typed at a prompt, names are quoted, and there is no blank after a slash${noPython}`, () => {
    const script = [
      'import os, pty, select, sys, time',
      'pid, fd = pty.fork()',
      "if pid == 0: os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])",
      "seen = b''",
      'def until(text):',
      '    global seen',
      '    end = time.time() + 50',
      '    while text not in seen:',
      '        if not select.select([fd], [], [], max(0, end - time.time()))[0]: sys.exit("no " + repr(text) + " in " + repr(seen))',
      '        seen += os.read(fd, 65536)',
      "os.write(fd, b\"PS1='READY> '; bind 'set bell-style none'; source script.bash\\n\")",
      "until(b'READY> ')",
      "os.write(fd, b'bcachefs cat a.img /wi\\t')",
      "until(b'/with\\\\ blank/')",
      "os.write(fd, b'\\t')",
      "until(b'/with\\\\ blank/a\\\\ b ')",
      'os.write(fd, b"; echo E\'\'ND\\n")',
      "until(b'END')",
      "print('x' if b'xEND' in seen.replace(b'\\r', b'') else seen)",
    ].join('\n');
    expect(
      spawnSync('python3', ['-c', script], { cwd: here, encoding: 'utf8', env: { ...process.env, PATH: env.PATH } }),
    ).toMatchObject({ status: 0, stdout: 'x\n', stderr: '' });
  });
});

describe.skipIf(whyNot('fish'))(`fish${whyNot('fish')}`, () => {
  test.each(cases)('%s', (line, expected) => {
    const run = sh('fish', '--no-config', '-c', 'source script.fish; complete -C $argv[1]', `bcachefs ${line}`);
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout.split('\n').filter(Boolean).sort()).toEqual(expected);
  });
});

describe.skipIf(whyNot('zsh'))(`zsh${whyNot('zsh')}`, () => {
  test('the function answers what compadd is to offer', () => {
    const run = sh(
      'zsh',
      '-f',
      '-c',
      [
        'autoload -U compinit; compinit -u -D; source ./script.zsh',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is zsh's
        'compadd() { print -rl -- ${(P)@[-1]} }; _files() { print files }',
        'words=(cat a.img "/etc/"); CURRENT=3 PREFIX=/etc/; _bcachefs_paths cat',
        'words=(put a.img etc); CURRENT=3 PREFIX=etc; _bcachefs_paths put',
      ].join('\n'),
    );
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout.split('\n').filter(Boolean)).toEqual([
      '/etc/apt/',
      '/etc/$(id)*',
      '/etc/fstab',
      '/etc/passwd',
      '/etc/x:y',
      'files',
    ]);
  });
});
