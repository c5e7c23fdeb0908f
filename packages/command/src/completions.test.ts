// The generated scripts, asked by the shells themselves what they would complete.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { patient } from '../../../test/support/patience.ts';
import { whyNot } from '../../../test/support/shells.ts';
import { defineCommand, defineProgram, runCli } from './index.ts';

const make = defineCommand({
  name: 'make',
  summary: "Make a thing's parts: [all]",
  positionals: { devices: { count: 'some', file: true, help: 'devices' } },
  options: {
    force: { type: 'flag', alias: 'f', help: "don't ask" },
    acl: { type: 'boolean', help: 'ACLs' },
    fs_size: { type: 'size', help: 'size' },
    checksum: { type: 'choice', alias: 'c', choices: ['none', 'crc32c', 'crc64'], help: 'checksum: [type]' },
    copies: { type: 'number', min: 1, max: 3, help: 'copies' },
    key_file: { type: 'string', file: true, help: 'file' },
    secret: { type: 'flag', hidden: true, help: 'hidden' },
  },
  run: () => ({}),
  text: () => {},
});

const program = defineProgram({
  name: 'tool',
  version: '1.0.0',
  summary: 'a tool',
  commands: [
    { name: 'make', aliases: ['mk'], summary: make.summary, load: async () => make },
    {
      name: 'device',
      summary: 'Devices',
      commands: [
        { name: 'add', summary: 'Add', load: async () => make },
        { name: 'remove', summary: 'Remove', load: async () => make },
      ],
    },
    { name: 'internal', hidden: true, summary: 'Hidden', load: async () => make },
  ],
});

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'completions-'));
  writeFileSync(join(folder, 'disk one.img'), '');
  writeFileSync(join(folder, 'disk2.img'), '');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function ask(shell: string, args: readonly string[]): string[] {
  const run = spawnSync(shell, args, { cwd: folder, encoding: 'utf8', timeout: patient(10_000) });
  expect(run.stderr).toBe('');
  return run.stdout.split('\n').filter(Boolean).sort();
}

async function saveScript(shell: string): Promise<string> {
  const { exitCode, stdout } = await runCli(program, ['completions', shell]);
  expect(exitCode).toBe(0);
  const file = join(folder, `.script.${shell}`);
  writeFileSync(file, stdout);
  return file;
}

/** What follows the cursor's word in each case, for bash and fish alike. */
const commands = ['completions', 'device', 'help', 'make', 'mk', 'version'];

describe('bash', () => {
  /** Completes after `line`, broken into words as readline does. */
  async function complete(line: string): Promise<string[]> {
    const script = await saveScript('bash');
    const words = line.split(/ |(=)/).filter(word => word !== undefined);
    return ask('bash', [
      '--norc',
      '-c',
      `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tool; printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      script,
      ...words,
    ]);
  }

  test.each([
    ['tool ', commands],
    ['tool m', ['make', 'mk']],
    ['tool device ', ['add', 'remove']],
    ['tool device a', ['add']],
    ['tool help ', commands],
    ['tool completions ', ['bash', 'fish', 'zsh']],
    ['tool make --f', ['--force', '--fs_size=']],
    ['tool mk --no', ['--no_acl']],
    ['tool make --checksum=', ['crc32c', 'crc64', 'none']],
    ['tool make --checksum=c', ['crc32c', 'crc64']],
    ['tool make --checksum c', ['crc32c', 'crc64']],
    ['tool make -c n', ['none']],
    ['tool device add --checksum=n', ['none']],
    ['tool make --fs-size=', []],
    ['tool make --acl=', ['no', 'yes']],
    ['tool make --acl=y', ['yes']],
    ['tool make --acl d', ['disk one.img', 'disk2.img']],
    ['tool make --copies=', ['1', '2', '3']],
    ['tool make --copies 2', ['2']],
    ['tool make --key-file=d', ['disk one.img', 'disk2.img']],
    ['tool make --force d', ['disk one.img', 'disk2.img']],
    ['tool make --color=a', ['always', 'auto']],
    ['tool make --sec', []],
  ])('%s', async (line, expected) => {
    expect(await complete(line)).toEqual(expected);
  });
});

describe.skipIf(whyNot('fish'))(`fish${whyNot('fish')}`, () => {
  test.each([
    ['tool ', commands],
    ['tool device ', ['add', 'remove']],
    ['tool make --f', ['--force', '--fs_size']],
    ['tool make --checksum=c', ['--checksum=crc32c', '--checksum=crc64']],
    ['tool completions ', ['bash', 'fish', 'zsh']],
    ['tool help ma', ['make']],
  ])('%s', async (line, expected) => {
    const script = await saveScript('fish');
    const found = ask('fish', ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, line]);
    expect(found.map(each => each.split('\t')[0]).filter(each => each !== 'tool')).toEqual(expected);
  });
});

describe.skipIf(whyNot('zsh'))(`zsh${whyNot('zsh')}`, () => {
  test('the script loads and defines a function for each command', async () => {
    const script = await saveScript('zsh');
    const functions = ask('zsh', [
      '-f',
      '-c',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is zsh's
      'autoload -U compinit; compinit -u -D; source $1; print -l ${(k)functions[(I)_tool(|__*)]}; print $_comps[tool]',
      'zsh',
      script,
    ]);
    expect(functions).toEqual([
      '_tool',
      '_tool',
      '_tool__completions',
      '_tool__device',
      '_tool__device__add',
      '_tool__device__remove',
      '_tool__help',
      '_tool__make',
      '_tool__version',
    ]);
  });
});
