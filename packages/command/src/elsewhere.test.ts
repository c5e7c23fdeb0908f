import { describe, expect, test } from 'vitest';
import { defineCommand, defineProgram, listedEntries, runCli } from './index.ts';

const usage = defineCommand({
  name: 'usage',
  summary: 'Print',
  positionals: {},
  options: {},
  run: () => ({ used: 1 }),
  text: (_result, out) => out.line('used'),
});
const program = defineProgram({
  name: 'tool',
  version: '1',
  summary: 'a tool',
  commands: [
    {
      name: 'fs',
      summary: 'Whole filesystems',
      commands: [{ name: 'usage', summary: 'Print', load: async () => usage }],
    },
  ],
  elsewhere: [
    { words: 'mount', does: 'mounts', instead: 'use mount(8)', why: 'kernel' },
    { words: 'fs top', does: 'watches', instead: 'use fs usage', why: 'kernel' },
    { words: 'fs usage', does: 'is stale', instead: 'nothing', why: 'kernel' },
    { words: 'device add', does: 'adds', instead: 'wait', why: 'unbuilt' },
  ],
});

describe('commands of the reference that are not here', () => {
  test.each([
    ['mount -o x a b', 'tool mount: mounts, which takes a running kernel and is not done here; use mount(8)\n'],
    ['fs top', 'tool fs top: watches, which takes a running kernel and is not done here; use fs usage\n'],
    ['device add --force', 'tool device add: adds, which this version cannot do yet; wait\n'],
  ])('%s: one line, and exit code 2', async (line, stderr) => {
    expect(await runCli(program, line.split(' '))).toEqual({ exitCode: 2, stdout: '', stderr });
  });

  test('a command that is here is not replaced', async () => {
    expect(await runCli(program, ['fs', 'usage'])).toEqual({ exitCode: 0, stdout: 'used\n', stderr: '' });
  });

  test('as JSON, with a name', async () => {
    expect(JSON.parse((await runCli(program, ['mount', '--json'])).stderr)).toMatchObject({ name: 'needs_kernel' });
    expect(JSON.parse((await runCli(program, ['device', 'add', '--json'])).stderr)).toMatchObject({
      name: 'not_built',
    });
  });

  test('help names them in groups of their own, and nothing else lists them', async () => {
    const { stdout } = await runCli(program, ['help']);
    expect(stdout).toContain('They need a running kernel; each says what to use:\n  fs top, mount\n');
    expect(stdout).toContain('Not in this version:\n  device add\n');
    expect([...listedEntries(program.commands)].map(({ words }) => words.join(' '))).not.toContain('mount');
    expect((await runCli(program, ['completions', 'bash'])).stdout).not.toContain('mount');
    const tree = JSON.parse((await runCli(program, ['help', '--json'])).stdout);
    expect(tree.elsewhere).toEqual({ kernel: ['fs top', 'mount'], unbuilt: ['device add'] });
    expect((await runCli(program, ['device'])).stdout).toContain('  add\n');
    expect((await runCli(program, ['mount', '--help'])).stdout).toContain('It mounts, which takes a running kernel');
    expect((await runCli(program, ['mout'])).stderr).toContain("did you mean 'mount'?");
  });
});
