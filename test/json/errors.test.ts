// Errors and warnings with --json against their documented schema, and the names that programs branch on.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandFailed, describeError, runCli } from '@bcachefs-ts/command';
import { CorruptError, DeviceError } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { validator } from '../support/schemas.ts';

const violations = validator('error');
const folder = mkdtempSync(join(tmpdir(), 'errors-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const image = join(folder, 'disk.img');
const second = join(folder, 'second.img');

beforeAll(async () => {
  await runCli(bcachefs, ['format', '-q', '--fs_size=16M', image]);
  await runCli(bcachefs, ['format', '-q', '--fs_size=16M', second, `${folder}/third.img`]);
});

test.each([
  ['no such command', ['nonsense'], 2, 'command_line'],
  ['a wrong option', ['ls', '--nonsense', image], 2, 'command_line'],
  ['a path that is not there', ['ls', image, '/nowhere'], 2, 'ENOENT'],
  ['a name that is taken', ['mkdir', image, '/lost+found'], 2, 'EEXIST'],
  ['no such file of the host', ['put', image, join(folder, 'nowhere'), '/x'], 5, 'ENOENT'],
  ['an image that is not there', ['ls', join(folder, 'nowhere.img')], 5, 'missing'],
  ['a member that is missing', ['mkdir', second, '/x'], 2, 'member_missing'],
  ['a filesystem without encryption', ['unlock', image], 1, 'not_encrypted'],
  ['a command that needs a kernel', ['device', 'online', image], 2, 'needs_kernel'],
] as const)('%s', async (_what, words, exitCode, name) => {
  const ran = await runCli(bcachefs, ['--json', ...words]);
  const lines = ran.stderr
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
  for (const line of lines) expect(violations(line)).toEqual([]);
  expect({ exitCode: ran.exitCode, ...lines.at(-1) }).toMatchObject({ exitCode, exit_code: exitCode, name });
});

test('what is only on a missing member has the name of that', () => {
  const name = (error: unknown) => describeError(error).details.name;
  expect(name(new DeviceError('missing', 'member 2', 'it is not among the devices that were given'))).toBe(
    'member_missing',
  );
  expect(name(new DeviceError('missing', 'disk.img', 'there is no such device or file'))).toBe('missing');
  expect(name(new CorruptError('root_dir_missing', {}, 'x'))).toBe('root_dir_missing');
  expect(name(new CommandFailed('x'))).toBe('failed');
});
