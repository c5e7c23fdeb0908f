// shell: the program's own commands on one filesystem, with a directory that paths begin in; exit codes, what is refused, and a person at a
// terminal.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunOptions, runCli } from '@bcachefs-ts/command';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { built } from '../support/built.ts';
import { patient } from '../support/patience.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-shell-'));
const image = join(folder, 'a.img');
const tree = join(folder, 'tree');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

mkdirSync(join(tree, 'etc/apt'), { recursive: true });
mkdirSync(join(tree, 'with blank'));
for (const name of ['etc/fstab', 'etc/passwd', 'with blank/a b', 'evil\x1b[31m'])
  writeFileSync(join(tree, name), `${name}\n`);

async function bcachefsOf(words: readonly string[], options?: RunOptions) {
  const { stdoutBytes = new Uint8Array(0), ...others } = await runCli(bcachefs, words, options);
  return { ...others, bytes: new TextDecoder().decode(stdoutBytes) };
}

beforeEach(async () => {
  rmSync(image, { force: true });
  expect(await bcachefsOf(['format', '-q', '--fs_size=32M', `--source=${tree}`, image])).toMatchObject({ exitCode: 0 });
});

const shell = (lines: readonly string[], ...options: readonly string[]) =>
  bcachefsOf(['shell', ...options, ...lines.flatMap(line => ['-R', line]), image]);

test('paths begin in the directory that cd has chosen', async () => {
  expect(
    await shell(['cd etc', 'pwd', 'ls', 'cd ../with\\ blank', 'ls .. .', 'cat "a b" /etc/fstab', 'cd', 'pwd']),
  ).toEqual({
    exitCode: 0,
    stdout:
      '/etc\napt\nfstab\npasswd\n' + '/:\netc\nevil\\x1b[31m\nlost+found\nwith blank\n\n/with blank:\na b\n' + '/\n',
    stderr: '',
    bytes: 'with blank/a b\netc/fstab\n',
  });
});

test('a name can be typed as it was printed', async () => {
  expect(await shell(['cat evil\\x1b[31m'])).toMatchObject({ exitCode: 0, bytes: 'evil\x1b[31m\n' });
});

test('files are copied out and in', async () => {
  const out = join(folder, 'out');
  mkdirSync(out);
  writeFileSync(join(out, 'new'), 'new');
  const lines = [
    'cd etc',
    `get fstab passwd ${out}`,
    `put ${join(out, 'new')}`,
    `put ${join(out, 'new')} /other`,
    'cat new ../other',
  ];
  expect(await shell(lines, '-w')).toMatchObject({ exitCode: 0, stderr: '', bytes: 'newnew' });
  expect(readFileSync(join(out, 'passwd'), 'utf8')).toBe('etc/passwd\n');
});

test('each change sees those before it', async () => {
  expect(await shell(['mkdir a', 'cd a', 'mkdir b', 'mv b ../c', 'rm -r /a', 'cd /', 'ls'], '-w')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/removed 1 directory\nc\netc\n/),
  });
});

test.each([['mkdir x'], ['rm etc/fstab'], ['mv etc x'], ['put /etc/hostname']])(
  '%s is refused without -w, and nothing is written',
  async line => {
    const before = readFileSync(image);
    expect(await shell([line])).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('shell -w') });
    expect(readFileSync(image).equals(before)).toBe(true);
  },
);

test.each([
  ['cat none', 2, '/none: no such file or directory'],
  ['cd etc/fstab', 2, 'not a directory'],
  ['nothing', 2, "there is no command 'nothing': see help"],
  ['constructor', 2, "there is no command 'constructor': see help"],
  ['ls --nothing', 2, 'unknown option --nothing'],
  ['cat', 2, '<paths> is missing'],
  ['ls "', 2, 'without another one'],
  ['mkdir a b a', 2, 'mkdir changes the filesystem'],
])('%s fails, and ends a script', async (line, exitCode, message) => {
  const ran = await shell(['pwd', line, 'ls']);
  expect(ran).toMatchObject({ exitCode, stdout: '/\n' });
  expect(ran.stderr).toContain(message);
});

test('-w is not for snapshots and the past; --json is refused', async () => {
  for (const option of ['--subvolume=1', '--snapshot=1', '--at=1']) {
    expect(await shell(['ls'], '-w', option)).toMatchObject({ exitCode: 2 });
  }
  expect(await shell(['ls'], '--json')).toMatchObject({ exitCode: 2, stdout: '' });
});

test('lines come from a file, or from standard input', async () => {
  const script = join(folder, 'script');
  writeFileSync(script, '# names\n\n  cd etc # there\nls\nquit\nnothing\n');
  const expected = { exitCode: 0, stdout: 'apt\nfstab\npasswd\n', stderr: '' };
  expect(await bcachefsOf(['shell', '-f', script, image])).toMatchObject(expected);
  expect(await bcachefsOf(['shell', image], { stdin: 'cd etc\nls' })).toMatchObject(expected);
  expect(await bcachefsOf(['shell', '-f', '-', image], { stdin: 'cd etc\nls' })).toMatchObject(expected);
  expect(await bcachefsOf(['shell', '-f', join(folder, 'none'), image])).toMatchObject({ exitCode: 5 });
});

test('a passphrase is asked for once', async () => {
  const options = { env: { BCACHEFS_PASSPHRASE: 'secret' } };
  rmSync(image);
  await bcachefsOf(['format', '-q', '--encrypted', '--fs_size=32M', image], options);
  const typed = await bcachefsOf(['shell', image], { isTerminal: true, stdin: 'secret\nls\ncd lost+found\npwd\n' });
  expect(typed).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/lost\+found.*\n\/lost\+found\n$/) });
  expect(typed.stderr.match(/Passphrase/g)).toHaveLength(1);
  // The lines of a script are not taken for a passphrase.
  expect(await bcachefsOf(['shell', image], { stdin: 'secret\nls\n' })).toMatchObject({ exitCode: 2, stdout: '' });
  expect(await bcachefsOf(['shell', image], { ...options, stdin: 'ls\n' })).toMatchObject({
    exitCode: 0,
    stdout: 'lost+found\n',
  });
});

test('at a terminal, what fails is shown, and the next line is asked for', async () => {
  const run = await bcachefsOf(['shell', '-w', image], {
    isTerminal: true,
    stdin: 'cat none\nmkdir a\nls -1 "\ncd a\npwd\n',
  });
  expect(run).toMatchObject({ exitCode: 0, stdout: 'made 1 directory\n/a\n' });
  expect(run.stderr).toContain('/none: no such file or directory\n');
  expect((await bcachefsOf(['shell', image], { isTerminal: true, stdin: 'ls\ncat none\n' })).exitCode).toBe(2);
});

test('help names every command, and explains one', async () => {
  expect(await shell(['help'])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^cd \[DIR\][\s\S]*\nexplain /),
  });
  expect(await shell(['help rm'])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('Usage: bcachefs rm'),
  });
  expect((await shell(['rm --help'])).stdout).toBe((await shell(['help rm'])).stdout);
});

const noPython = spawnSync('python3', ['--version']).status === 0 ? '' : ' (skipped: python3 is not installed)';
describe.skipIf(noPython)(`in a terminal${noPython}`, () => {
  test('the tab key completes commands and paths inside, as they are typed', () => {
    const script = [
      'import os, pty, select, sys, time',
      'pid, fd = pty.fork()',
      'if pid == 0: os.execv(sys.argv[1], sys.argv[1:])',
      "seen = b''",
      'def until(text):',
      '    global seen',
      '    end = time.time() + 50',
      '    while text not in seen:',
      '        if not select.select([fd], [], [], max(0, end - time.time()))[0]: sys.exit("no " + repr(text) + " in " + repr(seen))',
      '        seen += os.read(fd, 65536)',
      "    seen = b''",
      "until(b'bcachefs> ')",
      // A tab key in the middle of what comes at once is taken for pasted text.
      "os.write(fd, b'ca\\t')",
      "until(b'cat')",
      "os.write(fd, b' wi\\t')",
      "until(b'with\\\\ blank/')",
      "os.write(fd, b'\\t')",
      "until(b'a\\\\ b')",
      "os.write(fd, b'\\r')",
      "until(b'with blank/a b')",
      "os.write(fd, b'cat ev\\t')",
      "until(b'evil\\\\x1b[31m')",
      "os.write(fd, b'\\x03\\x04')",
      'sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))',
    ].join('\n');
    const run = spawnSync('python3', ['-c', script, process.execPath, built('bcachefs'), 'shell', image], {
      encoding: 'utf8',
      env: { ...process.env, TERM: 'xterm' },
      timeout: patient(60_000),
    });
    expect(run).toMatchObject({ status: 0, stderr: '' });
  });
});
