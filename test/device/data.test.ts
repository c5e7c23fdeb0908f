// The data commands: what they say first, what they refuse to write, and what is left when they are done.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';
import { copySparse, hashFile } from '../support/sparse.ts';

const folder = mkdtempSync(join(tmpdir(), 'data-commands-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const names = ['a.img', 'b.img', 'c.img'];
const [a, b] = names.map(path) as [string, string, string];
const all = names.map(path).join(':');
const against = validator('data');

/** Metadata has two copies; /file has one. */
beforeAll(async () => {
  const kept = names.map(name => path(`kept-${name}`));
  writeFileSync(path('file'), 'x'.repeat(MIB));
  await succeed('format', ['-q', '--metadata_replicas=2', '--fs_size=32M', ...kept]);
  await succeed('put', ['-q', kept.join(':'), path('file'), 'file']);
}, patient(60_000));

beforeEach(() => {
  for (const name of names) copySparse(path(`kept-${name}`), path(name));
});

const hashes = () => names.map(name => hashFile(path(name)));

/** Runs a command with `--json`. */
async function documentOf(
  command: 'data rereplicate' | 'data drop_extra_replicas' | 'data rebalance',
  ...words: readonly string[]
) {
  const { exitCode, stdout } = await runCli(bcachefs, [...command.split(' '), '--json', ...words]);
  const document = JSON.parse(stdout);
  expect(against(document)).toEqual([]);
  return { exitCode, ...document };
}

async function expectClean(...images: readonly string[]) {
  expect(await run('fsck', ['-n', '-f', ...images])).toMatchObject({ exitCode: 0 });
  const { stdoutBytes } = await runForBytes('cat', [images.join(':'), 'file']);
  expect(new TextDecoder().decode(stdoutBytes) === 'x'.repeat(MIB)).toBe(true);
}

test('rereplicate: a file is to have two copies', { timeout: patient(60_000) }, async () => {
  expect(await documentOf('data rereplicate', '-y', all)).toMatchObject({ exitCode: 0, action: 'none needed' });
  await succeed('set-file-option', ['-q', '--data_replicas=2', all, 'file']);
  const before = hashes();
  const trial = await documentOf('data rereplicate', '-n', all);
  expect(hashes()).toEqual(before);
  expect(trial).toMatchObject({ exitCode: 0, action: 'dry run', result: null });
  expect(trial.plan.extents).toMatchObject({ read: MIB, written: MIB });
  const done = await documentOf('data rereplicate', '-y', all);
  expect(done).toMatchObject({ exitCode: 0, action: 'done', plan: trial.plan });
  expect(done.result).toMatchObject({ written: MIB, dropped: 0, left_keys: 0, left: [] });
  expect(await succeed('data rereplicate', [all])).toBe('everything has the copies that it is to have\n');
  await expectClean(...names.map(path));

  expect(await documentOf('data drop_extra_replicas', '-y', all)).toMatchObject({ exitCode: 0, action: 'none needed' });
  await succeed('set-file-option', ['-q', '--data_replicas=1', all, 'file']);
  const dropped = await documentOf('data drop_extra_replicas', '-y', all);
  expect(dropped.plan.extents).toMatchObject({ read: MIB, dropped: MIB });
  expect(dropped.result).toMatchObject({ dropped: MIB, nodes: 0, left_keys: 0 });
  await expectClean(...names.map(path));
});

test('rereplicate: what cannot get its copies is listed, and the exit code is 1', {
  timeout: patient(60_000),
}, async () => {
  await succeed('set-file-option', ['-q', '--data_replicas=3', all, 'file']);
  await succeed('data rereplicate', ['-y', all]);
  const trial = await documentOf('data rereplicate', '-n', '--allow_missing', `${a}:${b}`);
  expect(trial).toMatchObject({ exitCode: 0, action: 'dry run' });
  const done = await documentOf('data rereplicate', '-y', '--allow_missing', `${a}:${b}`);
  expect(done.exitCode).toBe(1);
  expect(done.result.left).toEqual([{ why: 'no_member', paths: ['/file'] }]);
  expect(done.result.left_keys).toBe(trial.plan.no_member);
});

test('rebalance: a file goes to its background target and is compressed', { timeout: patient(60_000) }, async () => {
  expect(await documentOf('data rebalance', '-y', all)).toMatchObject({ exitCode: 0, action: 'none needed' });
  await succeed('set-file-option', ['-q', '--background_compression=zstd', all, 'file']);
  const before = hashes();
  const trial = await documentOf('data rebalance', '-n', all);
  expect(hashes()).toEqual(before);
  expect(trial.plan).toMatchObject({ move: { count: 0 }, compress: { bytes: MIB } });
  const done = await documentOf('data rebalance', '-y', all);
  expect(done).toMatchObject({ exitCode: 0, action: 'done', plan: trial.plan });
  expect(done.result).toMatchObject({ moved: 0, waiting: 0, left_keys: 0 });
  expect(done.result.compressed).toBeLessThan(MIB / 4);
  expect(await documentOf('data rebalance', '-y', all)).toMatchObject({ action: 'none needed' });
  await expectClean(...names.map(path));
});
