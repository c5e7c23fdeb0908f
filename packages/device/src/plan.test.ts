// The manners that commands with a plan share: what is shown, asked, written and printed.

import { defineCommand, runCli } from '@bcachefs-ts/command';
import { expect, test } from 'vitest';
import { memberPositional } from './member-named.ts';
import { carryOut, type Plan, plannedJson, planOptions, printPlanned, reshapedPositional } from './plan.ts';

const plan: Plan = {
  uuid: 'u',
  members: ['a.img'],
  lines: ['a.img will be red'],
  question: 'Paint it?',
  json: { color: 'red' },
};

function painting(of: Plan = plan) {
  const painted: string[] = [];
  const command = defineCommand({
    name: 'paint',
    summary: 'Paint',
    positionals: { ...reshapedPositional, ...memberPositional },
    options: planOptions,
    run: (context, args) =>
      carryOut(context, args, of, () => {
        painted.push('red');
        return { lines: ['painted a.img'], json: { coats: 2 } };
      }),
    text: printPlanned,
    json: plannedJson,
  });
  return {
    painted,
    run: (words: readonly string[], stdin?: string) =>
      runCli(command, ['fs', '0', ...words], stdin === undefined ? {} : { stdin, isTerminal: true }),
  };
}

test('without a terminal, it needs an answer', async () => {
  const { painted, run } = painting();
  expect(await run([])).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringContaining('--yes') });
  expect(painted).toEqual([]);
});

test('-y answers; the plan is printed with what was done', async () => {
  const { painted, run } = painting();
  expect(await run(['-y'])).toMatchObject({ exitCode: 0, stdout: 'a.img will be red\npainted a.img\n' });
  expect(painted).toEqual(['red']);
});

test('a dry run stops after the plan', async () => {
  const { painted, run } = painting();
  expect(await run(['-n'])).toMatchObject({ exitCode: 0, stdout: 'a.img will be red\ndry run, nothing was written\n' });
  expect(await run(['-n', '-y'])).toMatchObject({ exitCode: 2 });
  expect(painted).toEqual([]);
});

test('at a terminal the plan is shown with the question, and not once more', async () => {
  const { painted, run } = painting();
  const no = await run([], 'n\n');
  expect(no).toMatchObject({ exitCode: 1, stdout: '' });
  expect(no.stderr).toContain('a.img will be red\nPaint it? [y/N] ');
  expect(no.stderr).toContain('nothing was written');
  expect(painted).toEqual([]);
  expect(await run([], 'y\n')).toMatchObject({ exitCode: 0, stdout: 'painted a.img\n' });
  expect(painted).toEqual(['red']);
});

test('JSON has the plan and the result', async () => {
  const { run } = painting();
  const common = {
    schema: 'bcachefs-ts/paint',
    version: 1,
    filesystem: 'u',
    members: ['a.img'],
    plan: { color: 'red' },
  };
  expect(JSON.parse((await run(['-y', '--json'])).stdout)).toEqual({ ...common, action: 'done', result: { coats: 2 } });
  expect(JSON.parse((await run(['-n', '--json'])).stdout)).toEqual({ ...common, action: 'dry run', result: null });
});

test('where there is nothing to do, nothing is asked', async () => {
  const { painted, run } = painting({ ...plan, lines: ['a.img is red already'], isDone: true });
  expect(await run([])).toMatchObject({ exitCode: 0, stdout: 'a.img is red already\n' });
  expect(painted).toEqual([]);
});
