// The runner: output, errors and exit codes of small commands, as a shell would see them.

import { readFileSync } from 'node:fs';
import {
  CorruptError,
  DeviceError,
  FileError,
  IncompatibleError,
  InvariantError,
  NoBucketsError,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import {
  type Command,
  CommandFailed,
  CommandLineError,
  defineCommand,
  defineProgram,
  defineStreamCommand,
  EXIT,
  exitCodeTable,
  runCli,
} from './index.ts';

const nothing = { positionals: {}, options: {} } as const;

function failing(error: () => unknown, more: Partial<Command> = {}): Command {
  return defineCommand({
    name: 'fail',
    summary: 'Fail',
    ...nothing,
    ...more,
    run(): object {
      throw error();
    },
    text: () => {},
  });
}

const greet = defineCommand({
  name: 'greet',
  summary: 'Say hello',
  ...nothing,
  run: () => ({ name: 'disk\u001b' }),
  text: (result, out) => out.line(`hello ${out.color.bold(result.name)}`),
  exitCode: () => 1,
});

const count = defineStreamCommand({
  name: 'count',
  summary: 'Count',
  positionals: {},
  options: { to: { type: 'number', default: 3, help: 'where to stop' } },
  *run(_context, args) {
    for (let n = 1; n <= args.to; n++) yield { n };
  },
  text: (item, out) => out.line(`${item.n}`),
});

const program = defineProgram({
  name: 'tool',
  version: '1.2.3',
  summary: 'a tool',
  commands: [
    { name: 'greet', summary: 'Say hello', load: async () => greet },
    {
      name: 'numbers',
      aliases: ['n'],
      summary: 'Numbers',
      commands: [
        { name: 'count', summary: 'Count', load: async () => count },
        { name: 'secret', hidden: true, summary: 'Hidden', load: async () => count },
      ],
    },
  ],
});

describe('finding the command', () => {
  test.each([
    [['greet'], 1, 'hello disk\u001b\n', ''],
    [['numbers', 'count', '--to=2'], 0, '1\n2\n', ''],
    [['n', 'count', '--to=1'], 0, '1\n', ''],
    [['numbers', 'secret', '--to=1'], 0, '1\n', ''],
    [['version'], 0, '1.2.3\n', ''],
    [['--version'], 0, '1.2.3\n', ''],
    [['-V'], 0, '1.2.3\n', ''],
    [['--col', 'never', 'greet'], 1, 'hello disk\u001b\n', ''],
    [['--ver'], 0, '1.2.3\n', ''],
    [['-q'], 2, '', "tool: a command is missing (try 'tool --help')\n"],
    [['numbers', '-q'], 2, '', "tool numbers: a command is missing (try 'tool numbers --help')\n"],
    [['gret'], 2, '', "tool: unknown command 'gret', did you mean 'greet'? (try 'tool --help')\n"],
    [
      ['n', 'cuont'],
      2,
      '',
      "tool numbers: unknown command 'cuont', did you mean 'count'? (try 'tool numbers --help')\n",
    ],
    [['n', 'secre'], 2, '', "tool numbers: unknown command 'secre' (try 'tool numbers --help')\n"],
    [['--bogus'], 2, '', "tool: unknown option --bogus before the command (try 'tool --help')\n"],
    [
      ['--jsno', 'greet'],
      2,
      '',
      "tool greet: unknown option --jsno before the command, did you mean --json? (try 'tool greet --help')\n",
    ],
    [['constructor'], 2, '', "tool: unknown command 'constructor' (try 'tool --help')\n"],
    [['help', 'gret'], 2, '', "tool help: unknown command 'gret', did you mean 'greet'? (try 'tool help --help')\n"],
  ])('%j', async (words, exitCode, stdout, stderr) => {
    expect(await runCli(program, words)).toEqual({ exitCode, stdout, stderr });
  });

  test('common options may come first', async () => {
    const { stdout } = await runCli(program, ['--json', '--color', 'never', 'greet']);
    expect(JSON.parse(stdout)).toEqual({ schema: 'bcachefs-ts/greet', version: 1, name: 'disk\u001b' });
  });

  test('every way of asking for help', async () => {
    const { stdout } = await runCli(program, ['help', 'numbers', 'count']);
    expect(stdout).toContain('Usage: tool numbers count [options]');
    for (const words of [
      ['numbers', 'count', '--help'],
      ['numbers', 'count', '-h'],
      ['n', 'count', '--bogus', '-h'],
      ['--help', 'n', 'count'],
      ['help', 'n', 'count', '--help'],
    ]) {
      expect(await runCli(program, words)).toEqual({ exitCode: 0, stdout, stderr: '' });
    }
    expect((await runCli(program, ['numbers', '--help'])).stdout).toContain('tool numbers <command>');
    expect((await runCli(program, ['help', '-h'])).stdout).toContain('Usage: tool help [options] [command]...');
    expect((await runCli(program, ['-h'])).stdout).toBe((await runCli(program, ['help'])).stdout);
  });

  test('help that only the declarations recognise: nothing is run', async () => {
    const { stdout } = await runCli(program, ['help', 'numbers', 'count']);
    for (const words of [
      ['numbers', 'count', '--hel'],
      ['n', 'count', '-qh'],
      ['n', 'count', '--to', '2', '-qh', 'x'],
    ]) {
      expect(await runCli(program, words), words.join(' ')).toEqual({ exitCode: 0, stdout, stderr: '' });
    }
  });

  test('bare: what there is, on standard output, and exit code 1', async () => {
    const { stdout } = await runCli(program, ['help']);
    expect(await runCli(program, [])).toEqual({ exitCode: 1, stdout, stderr: '' });
    const group = await runCli(program, ['help', 'numbers']);
    expect(await runCli(program, ['n'])).toEqual({ exitCode: 1, stdout: group.stdout, stderr: '' });
  });

  test('help wraps at the width of the terminal, and hides what is hidden', async () => {
    const { stdout } = await runCli(program, ['n', 'count', '-h'], {
      isTerminal: true,
      columns: 50,
      env: { NO_COLOR: '1' },
    });
    expect(stdout.split('\n').filter(line => line.length > 50)).toEqual([]);
    expect((await runCli(program, ['n', '-h'])).stdout).not.toContain('secret');
  });

  test('the command tree as JSON', async () => {
    const tree = JSON.parse((await runCli(program, ['--help', '--json'])).stdout);
    expect(tree.commands.map((each: { command: string }) => each.command)).toEqual([
      'greet',
      'numbers count',
      'completions',
      'help',
      'version',
    ]);
    expect(tree).toMatchObject({ schema: 'bcachefs-ts/help', version: 1, program_version: '1.2.3' });
    const one = JSON.parse((await runCli(program, ['help', 'n', 'count', '--json'])).stdout);
    expect(one.options[0]).toEqual({
      name: 'to',
      letter: null,
      type: 'number',
      value: 'N',
      choices: null,
      default: 3,
      file: false,
      repeat: false,
      required: false,
      each: null,
      heading: 'Options',
      help: 'where to stop',
    });
  });
});

describe('errors', () => {
  test.each([
    [() => new UsageError('is wrong', '--x'), 2, "fail: --x: is wrong (try 'fail --help')\n"],
    [() => new UsageError('there is no subvolume 1', undefined, 'ENOENT'), 2, 'fail: there is no subvolume 1\n'],
    [() => new CommandFailed('nothing to do'), 1, 'fail: nothing to do\n'],
    [() => new CommandFailed('worse', { exitCode: 7 }), 7, 'fail: worse\n'],
    [
      () => new CorruptError('invalid_sb_csum', { device: 'd.img', sector: 8 }, 'found 1, expected 2'),
      3,
      'fail: d.img sector 8: found 1, expected 2\n',
    ],
    [() => new IncompatibleError('invalid_sb_version', {}, 'version 9.9'), 4, 'fail: version 9.9\n'],
    [() => new DeviceError('busy', '/dev/sda', 'mounted at /mnt'), 5, 'fail: /dev/sda: mounted at /mnt\n'],
    [() => new CommandFailed('label \u001b[31mred'), 1, 'fail: label \\x1b[31mred\n'],
  ])('%s', async (error, exitCode, stderr) => {
    expect(await runCli(failing(error), [])).toEqual({ exitCode, stdout: '', stderr });
  });

  test('as JSON, on stderr, with what is known', async () => {
    const error = () => new CorruptError('invalid_sb_csum', { device: 'd.img', sector: 8 }, 'found 1');
    const { exitCode, stdout, stderr } = await runCli(failing(error), ['--json']);
    expect([exitCode, stdout]).toEqual([3, '']);
    expect(JSON.parse(stderr)).toEqual({
      schema: 'bcachefs-ts/error',
      version: 1,
      program: 'fail',
      command: null,
      error: 'corrupt',
      message: 'd.img sector 8: found 1',
      exit_code: 3,
      name: 'invalid_sb_csum',
      where: { device: 'd.img', sector: 8 },
    });
    const unknown = await runCli(program, ['gret', '--json']);
    expect(JSON.parse(unknown.stderr)).toMatchObject({ error: 'usage', name: 'command_line', exit_code: 2 });
  });

  test.each([
    [() => new UsageError('wrong passphrase', undefined, 'wrong_passphrase'), 'wrong_passphrase'],
    [() => new UsageError('is wrong', '--x'), 'command_line'],
    [() => new UsageError('is not possible'), 'usage'],
    [() => new FileError('ENOENT', '/x'), 'ENOENT'],
    [() => new NoBucketsError('user', 8, 1, 0, []), 'ENOSPC'],
    [() => new CommandFailed('no'), 'failed'],
    [() => new CommandFailed('no', { code: 'EEXIST' }), 'EEXIST'],
    [() => new DeviceError('busy', '/dev/sda', 'mounted'), 'busy'],
    [() => new IncompatibleError('invalid_sb_version', {}, 'version 9.9'), 'invalid_sb_version'],
    [() => Object.assign(new Error('EMFILE: x, open'), { code: 'EMFILE', syscall: 'open' }), 'EMFILE'],
    [() => new TypeError('x'), 'bug'],
  ])('every error has a name in JSON: %s', async (error, name) => {
    const { stderr } = await runCli(failing(error), ['--json']);
    expect(JSON.parse(stderr)).toMatchObject({ schema: 'bcachefs-ts/error', name });
  });

  test("'try --help' follows what help explains: the command line, and nothing that an image does not allow", async () => {
    const hint = async (error: () => unknown) => (await runCli(failing(error), [])).stderr.includes('--help');
    expect(await hint(() => new UsageError('is wrong', '--x'))).toBe(true);
    expect(await hint(() => new CommandLineError('a word is missing'))).toBe(true);
    expect(await hint(() => new UsageError('there is no subvolume 1'))).toBe(false);
    expect(await hint(() => new FileError('ENOENT', '/x'))).toBe(false);
    expect(await hint(() => new NoBucketsError('user', 8, 1, 0, []))).toBe(false);
  });

  test("the system's errors name the file", async () => {
    const error = () =>
      Object.assign(new Error("ENOENT: no such file or directory, open 'p.txt'"), {
        code: 'ENOENT',
        syscall: 'open',
        path: 'p.txt',
      });
    expect(await runCli(failing(error), [])).toEqual({
      exitCode: EXIT.device,
      stdout: '',
      stderr: 'fail: p.txt: no such file or directory\n',
    });
  });

  test.each([() => new InvariantError('u64s is odd'), () => new TypeError('x is undefined'), () => 'thrown text'])(
    'anything else is our bug: stack, and a request to report it',
    async error => {
      const { exitCode, stderr } = await runCli(failing(error), []);
      expect(exitCode).toBe(70);
      expect(stderr).toMatch(/^fail: this is a bug in bcachefs-ts 0\.0\.0: /);
      expect(stderr).toMatch(/\nPlease report it, with the command line and if possible the image\.\n$/);
    },
  );

  test('a command may have exit codes of its own', async () => {
    const command = failing(() => new UsageError('no'), { exitCodeOf: () => 16 });
    expect(await runCli(command, [])).toMatchObject({ exitCode: 16 });
  });

  test('docs/cli.md has the table', () => {
    const page = readFileSync(new URL('../../../docs/cli.md', import.meta.url), 'utf8');
    for (const { code, means } of exitCodeTable) expect(page).toContain(`\n| ${code} | ${means} |\n`);
  });

  test('the table names each code once', () => {
    expect(exitCodeTable.map(row => row.code)).toEqual(Object.values(EXIT));
    expect(new Set(Object.values(EXIT)).size).toBe(exitCodeTable.length);
  });
});

describe('output', () => {
  test('colour on terminals only, unless asked for', async () => {
    const bold = 'hello \u001b[1mdisk\u001b\u001b[22m\n';
    const plain = 'hello disk\u001b\n';
    expect((await runCli(greet, [], { isTerminal: true })).stdout).toBe(bold);
    expect((await runCli(greet, [], { isTerminal: true, env: { NO_COLOR: '1' } })).stdout).toBe(plain);
    expect((await runCli(greet, ['--color=always'])).stdout).toBe(bold);
    expect((await runCli(greet, [])).stdout).toBe(plain);
  });

  test('--quiet leaves the text out, never the JSON', async () => {
    expect(await runCli(greet, ['-q'])).toEqual({ exitCode: 1, stdout: '', stderr: '' });
    expect((await runCli(greet, ['-q', '--json'])).stdout).toContain('"name"');
  });

  test('a stream as JSON lines', async () => {
    expect((await runCli(count, ['--json', '--to=2'])).stdout).toBe(
      '{"schema":"bcachefs-ts/count","version":1}\n{"n":1}\n{"n":2}\n',
    );
  });

  test('a stream of things that take time', async () => {
    const slow = defineStreamCommand({
      name: 'slow',
      summary: 'Take time',
      ...nothing,
      async *run() {
        yield { n: 1 };
        await Promise.resolve();
        yield { n: 2 };
      },
      text: (item, out) => out.table({ rows: [['n', item.n]] }),
    });
    expect((await runCli(slow, [])).stdout).toBe('n  1\nn  2\n');
  });

  test('a closed pipe ends quietly', async () => {
    const result = await runCli(count, ['--to=1000000'], { closeAfterCharacters: 10 });
    expect(result).toEqual({ exitCode: 0, stdout: '1\n2\n3\n4\n5\n', stderr: '' });
  });

  test('what was printed before an error is kept', async () => {
    const half = defineStreamCommand({
      name: 'half',
      summary: 'Half',
      ...nothing,
      *run() {
        yield { n: 1 };
        throw new CommandFailed('then it broke');
      },
      text: (item, out) => out.line(`${item.n}`),
    });
    expect(await runCli(half, [])).toEqual({ exitCode: 1, stdout: '1\n', stderr: 'half: then it broke\n' });
  });

  test('warnings, progress and prompts go to stderr', async () => {
    let ms = 0;
    const busy = defineCommand({
      name: 'busy',
      summary: 'Be busy',
      ...nothing,
      async run(context) {
        const task = context.progress.start({ what: 'working', total: 4, unit: 'keys' });
        for (ms = 0; ms <= 2000; ms += 500) task.at(ms / 500);
        context.warn('disk is old\u0007');
        if (!context.json && !context.quiet) await context.prompt.confirm('Go on?', { flag: '--yes' });
        return { stdin: new TextDecoder().decode(await context.readStdin()), date: context.date() };
      },
      text: (result, out) => out.line(result.stdin.trim()),
    });
    const now = () => ms;
    expect(await runCli(busy, [], { isTerminal: true, now, stdin: 'y\n' })).toEqual({
      exitCode: 0,
      stdout: 'y\n',
      stderr:
        '\r\u001b[Kworking: 50%, 2 of 4 keys, 2 keys/s, 1 s left\r\u001b[Kworking: 75%, 3 of 4 keys, 2 keys/s, 1 s left' +
        '\r\u001b[Kworking: 100%, 4 of 4 keys, 2 keys/s\r\u001b[Kbusy: warning: disk is old\\x07\nGo on? [y/N] ',
    });
    expect((await runCli(busy, ['--quiet'], { isTerminal: true, now })).stderr).toBe('');
    expect((await runCli(busy, [], { now })).stderr).toBe(
      "busy: warning: disk is old\\x07\nbusy: cannot ask 'Go on?' without a terminal; give --yes instead\n",
    );
    expect(await runCli(busy, ['--json'], { now })).toEqual({
      exitCode: 0,
      stdout:
        '{\n  "schema": "bcachefs-ts/busy",\n  "version": 1,\n  "stdin": "",\n  "date": "2024-01-01T00:00:00.000Z"\n}\n',
      stderr: '{"schema":"bcachefs-ts/warning","version":1,"command":"busy","message":"disk is old\\u0007"}\n',
    });
  });
});

test('fsck(8): asking for help is not a check that passed', async () => {
  const load = async () => greet;
  const single = { name: 'fsck.tool', version: '1', summary: 'check', helpExitCode: 16, load };
  for (const words of [['-h'], ['--help'], ['--he']]) {
    expect(await runCli(single, words)).toMatchObject({ exitCode: 16, stderr: '' });
  }
  const entry = { name: 'fsck', summary: 'Say hello', helpExitCode: 16, load };
  const many = defineProgram({ name: 'tool', version: '1', summary: 's', commands: [entry] });
  expect((await runCli(many, ['fsck', '-h'])).exitCode).toBe(16);
  expect((await runCli(many, ['help', 'fsck'])).exitCode).toBe(0);
  expect((await runCli(many, ['--help', 'fsck'])).exitCode).toBe(0);
});

test('a program that is one command', async () => {
  const single = { name: 'mkfs.tool', version: '1.2.3', summary: 'count', load: async () => count };
  expect(await runCli(single, ['--to=1'])).toEqual({ exitCode: 0, stdout: '1\n', stderr: '' });
  expect((await runCli(single, ['-V'])).stdout).toBe('1.2.3\n');
  expect((await runCli(single, ['--help'])).stdout).toContain('Usage: mkfs.tool [options]');
  expect((await runCli(single, ['--zo'])).stderr).toBe(
    "mkfs.tool: unknown option --zo, did you mean --to? (try 'mkfs.tool --help')\n",
  );
});
