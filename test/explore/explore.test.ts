// explore: the built program on a real terminal, and what it says where there is none. What keys do is tested beside state.ts, and a frame
// beside app.ts.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { built } from '../support/built.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-explore-'));
const image = join(folder, 'a.img');
const EVIL = 'evil\u001b]0;owned\u0007\u001b[31m\u202e';

beforeAll(async () => {
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'etc'), { recursive: true });
  writeFileSync(join(tree, 'etc/fstab'), 'what is mounted\n');
  writeFileSync(join(tree, EVIL), `text ${EVIL}\n`);
  expect(await runCli(bcachefs, ['format', '-q', '--fs_size=32M', `--source=${tree}`, image])).toMatchObject({
    exitCode: 0,
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('without a terminal: one line, and exit code 2', async () => {
  for (const isTerminal of [false, { stdin: true, stdout: false, stderr: true }, { stdout: true }]) {
    expect(await runCli(bcachefs, ['explore', image], { isTerminal })).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: expect.stringMatching(/^bcachefs explore: needs a terminal: [^\n]+\n$/),
    });
  }
});

const noPython = spawnSync('python3', ['--version']).status === 0 ? '' : ' (skipped: python3 is not installed)';
test.skipIf(noPython)(`on a real terminal, through every pane, with hostile names${noPython}`, () => {
  const script = [
    'import fcntl, os, pty, select, struct, sys, termios, time',
    'pid, fd = pty.fork()',
    "if pid == 0: os.execvp('bash', ['bash', '-c', 'stty rows 24 cols 80; exec \"$PROGRAM\" explore --subvolume=1 a.img'])",
    "seen = everything = b''",
    'def until(text):',
    '    global seen, everything',
    '    end = time.time() + 50',
    '    while text not in seen:',
    "        if not select.select([fd], [], [], max(0, end - time.time()))[0]: sys.exit('no ' + repr(text) + ' in ' + repr(seen))",
    '        more = os.read(fd, 65536)',
    '        seen += more; everything += more',
    // What follows may have come with it.
    '    seen = seen.split(text, 1)[1]',
    'def press(keys, text):',
    '    os.write(fd, keys)',
    '    until(text)',
    "until(b'etc/')",
    "press(b'\\r', b'what is mounted')",
    // The pager writes past the screen.
    "press(b'o', b'PAGED what is mounted')",
    "until(b'fstab')",
    "press(b'c', b'copy to: .')",
    "press(b'/copied\\r', b'copied fstab')",
    "press(b'h', b'etc/')",
    "press(b'j', b'74 65 78 74')",
    "press(b'2', b'snapshot id')",
    "press(b'3', b'btree_ptr_v2')",
    "press(b'4', b'need_discard')",
    "press(b'5', b'btree_root')",
    "press(b'6', b'External UUID')",
    "press(b'?', b'Nothing is ever written')",
    "os.write(fd, b'qq')",
    'while True:',
    '    try: more = os.read(fd, 65536)',
    '    except OSError: break',
    '    if not more: break',
    '    everything += more',
    "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b'owned' in everything, b'\\x1b]0;' in everything, b'\\x07' in everything, b'\\xe2\\x80\\xae' in everything)",
  ].join('\n');
  const before = readFileSync(image);
  const run = spawnSync('python3', ['-c', script], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, TERM: 'xterm-256color', PROGRAM: built('bcachefs'), PAGER: "sed 's/^/PAGED /'" },
  });
  expect(run).toMatchObject({ status: 0, stdout: '0 True False False False\n', stderr: '' });
  expect(readFileSync(join(folder, 'copied'), 'utf8')).toBe('what is mounted\n');
  expect(existsSync(join(folder, '.bcachefs-restore'))).toBe(false);
  expect(readFileSync(image).equals(before)).toBe(true);
});
