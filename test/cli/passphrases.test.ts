// Where commands take passphrases from: scripts pipe them in, as they do to the reference's tools. And unlock, which hands a key to a kernel.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AddKey, HostCallError, loadAddKey, runCli } from '@bcachefs-ts/command';
import { keyringKey, openDevice, readSuperblock } from '@bcachefs-ts/core/engine';
import { unlockCommand, unlockCommandOn } from '@bcachefs-ts/show-super';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { shell } from '../support/built.ts';
import { run, succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';

const folder = mkdtempSync(join(tmpdir(), 'passphrases-'));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const image = at('disk.img');
const ENV = { BCACHEFS_PASSPHRASE: 'pw' };
const isOpenedBy = async (passphrase: string, disk = image) =>
  (await run('unlock', ['--check', '--ask', disk], { stdin: `${passphrase}\n` })).exitCode === 0;

beforeAll(async () => {
  await succeed('format', ['--encrypted', '--fs_size=16M', image], { stdin: 'pw\nsecond line\n' });
}, patient(60_000));

describe('standard input, when it is not a terminal', { timeout: patient(60_000) }, () => {
  test('echo pw | bcachefs format --encrypted: the first line, asked for once', async () => {
    expect(await isOpenedBy('pw')).toBe(true);
    expect(await isOpenedBy('second line')).toBe(false);
  });

  test('through a real pipe, of which the next line is left alone', () => {
    const piped = at('piped.img');
    const line = `printf 'pw\\nrest\\n' | ( $BCACHEFS format -q --encrypted --fs_size=16M ${piped} && cat )`;
    expect(shell(line)).toMatchObject({ exitCode: 0, stdout: 'rest\n', stderr: '' });
    expect(shell(`echo pw | $BCACHEFS ls -a ${piped}`)).toMatchObject({ exitCode: 0, stderr: '' });
    rmSync(piped);
  });

  test('reading commands, and - for every passphrase file', async () => {
    for (const [command, words] of [
      ['ls', [image]],
      ['list', ['--btree=inodes', image]],
      ['mkdir', ['--passphrase_file=-', image, '/made']],
    ] as const) {
      expect(await run(command, words, { stdin: 'pw\n' }), command).toMatchObject({ exitCode: 0, stderr: '' });
    }
  });

  test('nothing on it: one line that says what to give', async () => {
    const refused = await run('ls', [image], { stdin: '' });
    expect(refused).toEqual({
      exitCode: 2,
      stdout: '',
      stderr:
        'ls: a passphrase is needed (Passphrase): standard input has no line with it; give --passphrase_file, or set BCACHEFS_PASSPHRASE\n',
    });
    const empty = await run('ls', ['--json', image], { stdin: '\n' });
    expect(JSON.parse(empty.stderr)).toMatchObject({ exit_code: 2, message: expect.stringContaining('is empty') });
    const wrong = await run('ls', ['--json', image], { stdin: 'other\n' });
    expect(JSON.parse(wrong.stderr)).toMatchObject({ exit_code: 2, name: 'wrong_passphrase' });
  });

  test('never the data that a command reads there', async () => {
    const before = readFileSync(image);
    const put = await run('put', [image, '-', '/file'], { stdin: 'pw\ndata\n' });
    expect(put).toMatchObject({ exitCode: 2, stdout: '' });
    expect(put.stderr).toMatch(/^put: .*--passphrase_file/);
    expect(readFileSync(image).equals(before)).toBe(true);
    const archive = await run('format', ['--encrypted', '--source=-', '--fs_size=64M', at('tar.img')], {
      stdin: 'pw\n',
    });
    expect(archive).toMatchObject({ exitCode: 2, stdout: '' });
    expect(archive.stderr).toContain(
      'standard input holds the archive of --source, and no answer; give --passphrase_file instead',
    );
  });
});

test('the environment, in every command', { timeout: patient(120_000) }, async () => {
  const disk = at('env.img');
  const only = { env: ENV };
  await succeed('format', ['--encrypted', '--fs_size=16M', disk], only);
  await succeed('ls', [disk], only);
  await succeed('mkdir', [disk, '/made'], only);
  await succeed('list_journal', [disk], only);
  await succeed('unlock', ['--check', '--ask', disk], only);
  // The environment has the old one; the new one is the first line.
  await succeed('set-passphrase', [disk], { ...only, stdin: 'next\n' });
  expect(await isOpenedBy('next', disk)).toBe(true);
  // Both from standard input, a line each.
  await succeed('set-passphrase', [disk], { stdin: 'next\npw\n' });
  await succeed('remove-passphrase', [disk], only);
  expect((await run('unlock', ['--check', disk])).exitCode).toBe(1);
  rmSync(disk);
});

describe('unlock', { timeout: patient(60_000) }, () => {
  const superblock = () => {
    const device = openDevice(image, { write: false });
    try {
      return readSuperblock(device).sb;
    } finally {
      device.close();
    }
  };
  const uuid = () => superblock().user_uuid;

  test('adds the key that the kernel looks for: type user, by the external UUID, in the keyring that was asked for', async () => {
    const added: Parameters<AddKey>[] = [];
    const command = unlockCommandOn(
      () =>
        (...words) =>
          added.push(words),
    );
    const words = [['-k', 'session', image], ['--keyring=user_session', image], [image]];
    for (const each of words) {
      expect(await runCli(command, each, { env: ENV })).toMatchObject({ exitCode: 0, stderr: '' });
    }
    expect(added.map(([keyring]) => keyring)).toEqual(['session', 'user_session', 'user']);
    const key = keyringKey(superblock(), new TextEncoder().encode('pw'));
    expect(key).toHaveLength(32);
    for (const [, description, payload] of added) expect([description, payload]).toEqual([`bcachefs:${uuid()}`, key]);
  });

  test('gets one clear line when there is no keyring, when the kernel refuses, and for a wrong passphrase', async () => {
    const silent = await runCli(
      unlockCommandOn(() => undefined),
      [image],
      { env: ENV },
    );
    expect(silent).toMatchObject({ exitCode: 1, stdout: '' });
    expect(silent.stderr).toMatch(/^unlock: no keyring can be reached from here: .*\n$/);
    const refusing = unlockCommandOn(() => () => {
      throw new HostCallError('EDQUOT', 'add_key', 'Disk quota exceeded');
    });
    expect(await runCli(refusing, [image], { env: ENV })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'unlock: the kernel does not take the key into the keyring user: Disk quota exceeded\n',
    });
    const wrong = await runCli(
      unlockCommandOn(() => () => {}),
      ['--json', image],
      { stdin: 'other\n' },
    );
    expect(wrong).toMatchObject({ exitCode: 1, stdout: '' });
    expect(JSON.parse(wrong.stderr)).toMatchObject({ name: 'wrong_passphrase' });
  });

  test('on this machine: the key is there, or the kernel has said why not', async () => {
    const result = await runCli(unlockCommand, ['-k', 'session', image], { env: ENV });
    if (result.exitCode === 0) {
      expect(result.stdout).toBe(`added the key bcachefs:${uuid()} to the keyring session\n`);
      expect(loadAddKey()).toBeDefined();
    } else {
      expect(result.stderr).toMatch(/^unlock: (no keyring can be reached|the kernel does not take the key)[^\n]*\n$/);
    }
  });

  test('--file is --passphrase_file', async () => {
    const file = at('pw');
    writeFileSync(file, 'pw\n');
    for (const words of [[`--file=${file}`], ['-f', file], [`--passphrase_file=${file}`]]) {
      expect((await run('unlock', ['--check', ...words, image])).exitCode, words.join(' ')).toBe(0);
    }
    expect((await run('unlock', ['--help'])).stdout).not.toContain('--file');
  });
});
