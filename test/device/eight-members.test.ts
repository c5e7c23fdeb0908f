// One filesystem of eight members, encrypted and compressed, through every device command: its files stay what they are, the checker finds
// nothing, and every JSON document fits its schema.

import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { type CommandName, run, runForBytes, succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';

const folder = mkdtempSync(join(tmpdir(), 'eight-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const violations = validator('device');
const contents = Buffer.from(Array.from({ length: 60_000 }, (_, nr) => `line ${nr * nr}\n`).join(''));
const eight = Array.from({ length: 8 }, (_, nr) => `${nr}.img`);
/** Those that are members, in order. */
let members: readonly string[] = eight;
const all = () => members.map(path).join(':');

interface Document {
  readonly action?: string;
  readonly plan?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly devices?: readonly {
    readonly index: number;
    readonly standing: string;
    readonly if_lost: { readonly lost: number };
  }[];
  readonly domains?: readonly { readonly kind: string; readonly name: string; readonly devices: readonly number[] }[];
}

async function documentOf(command: CommandName, words: readonly string[]): Promise<Document> {
  const { stdout, stderr, exitCode } = await runCli(bcachefs, [...command.split(' '), '--json', ...words]);
  // Of a missing member it warns.
  const warnings = words.includes('--allow_missing') ? expect.any(String) : '';
  expect({ command, exitCode, stderr }).toEqual({ command, exitCode: 0, stderr: warnings });
  const document = JSON.parse(stdout);
  expect(violations(document)).toEqual([]);
  return document;
}

async function expectWhole(): Promise<void> {
  const { stdoutBytes } = await runForBytes('cat', [all(), 'a/file', 'b/file']);
  expect(Buffer.compare(Buffer.from(stdoutBytes), Buffer.concat([contents, contents]))).toBe(0);
}

beforeAll(async () => {
  writeFileSync(path('file'), contents);
  // Of 0 to 3 each has a label of its own below ssd, of 4 to 7 below hdd.
  const devices = eight.flatMap((name, nr) => [`--label=${nr < 4 ? 'ssd' : 'hdd'}.${nr}`, '--fs_size=16M', path(name)]);
  const options = [
    '--encrypted',
    '--no_passphrase',
    '--compression=lz4',
    '--replicas=2',
    '--foreground_target=ssd',
    '--background_target=hdd.7',
  ];
  await succeed('format', ['-q', ...options, ...devices]);
  await succeed('mkdir', ['-q', all(), 'a', 'b']);
  await succeed('put', ['-q', all(), path('file'), 'a/file']);
  await succeed('set-fs-option', ['-q', `--promote_target=${path('1.img')}`, ...members.map(path)]);
  await succeed('put', ['-q', all(), path('file'), 'b/file']);
}, patient(60_000));

test('eight members through every command', { timeout: patient(200_000) }, async () => {
  const listed = await documentOf('device list', ['--paths', ...members.map(path)]);
  expect(listed.devices!.map(({ standing }) => standing)).toEqual(eight.map(() => 'current'));
  expect(listed.devices!.map(({ if_lost }) => if_lost.lost)).toEqual(eight.map(() => 0));
  const { domains = [] } = await documentOf('fs failure-domains', ['--paths', all()]);
  const labels = domains.filter(({ kind }) => kind === 'label').map(({ name, devices }) => [name, devices.length]);
  expect(labels).toContainEqual(['ssd', 4]);
  expect(labels).toContainEqual(['hdd.7', 1]);

  const changed = async (command: CommandName, words: readonly string[], action = 'done') => {
    const document = await documentOf(command, words);
    expect(document.action).toBe(action);
    return document;
  };
  await changed('device set-state', ['-n', 'failed', all(), '6'], 'dry run');
  await changed('device set-state', ['-y', 'ro', all(), '6']);
  await changed('device set-state', ['-y', 'ro', all(), '6'], 'none needed');
  await changed('device set-state', ['-y', 'rw', all(), '6']);
  await changed('device resize', ['-y', all(), path('2.img'), '32M']);
  expect(statSync(path('2.img')).size).toBe(32 << 20);
  await changed('device resize', ['-y', all(), path('2.img'), '24M']);
  await changed('device resize-journal', ['-y', all(), path('2.img'), '2M']);
  await expectWhole();

  const evacuated = await changed('device evacuate', ['-y', all(), path('0.img'), path('3.img')]);
  expect(evacuated.result).toMatchObject({ left_keys: 0, left: [] });
  // What names a member goes with it; a label without other members stays, and is named.
  const first = await changed('device remove', ['-y', all(), path('1.img')]);
  expect(first.plan).toMatchObject({ targets_cleared: ['promote_target'], targets_emptied: [], lost_files: [] });
  members = members.filter(name => name !== '1.img');
  const second = await changed('device remove', ['-y', all(), '7']);
  expect(second.plan).toMatchObject({ targets_cleared: [], targets_emptied: ['background_target'] });
  members = members.filter(name => name !== '7.img');
  const options = await run('show-super', ['--json', path('0.img')]);
  expect(options.stdout).toContain('"promote_target": "none"');
  await expectWhole();

  writeFileSync(path('9.img'), '');
  truncateSync(path('9.img'), 24 << 20);
  const place = [all(), path('4.img'), path('9.img')];
  await changed('device replace', ['-n', ...place], 'dry run');
  await changed('device replace', ['-y', ...place]);
  members = members.map(name => (name === '4.img' ? '9.img' : name));
  const replaced = await changed('device replace', ['-y', ...place], 'none needed');
  expect(replaced.plan).toMatchObject({ member: 4, old: null, completes: true });
  await changed('device resync', ['-y', all(), '4'], 'none needed');
  await expectWhole();

  writeFileSync(path('8.img'), '');
  truncateSync(path('8.img'), 16 << 20);
  await changed('device add', ['-y', '--label=ssd.8', all(), path('8.img')]);
  members = [...members, '8.img'];
  // Dead, and then gone.
  members = members.filter(name => name !== '5.img');
  await changed('device set-state', ['-y', '--allow_missing', 'failed', all(), '5']);
  const third = await changed('device remove', ['-y', '--allow_missing', all(), '5']);
  expect(third.plan).toMatchObject({ missing: true, lost: 0, lost_files_complete: true });
  // Later writes go where there is room.
  await succeed('put', ['-q', all(), path('file'), 'c']);
  await expectWhole();
  const after = await documentOf('device list', [all()]);
  expect(after.devices!.map(({ index, standing }) => [index, standing])).toEqual(
    [0, 2, 3, 4, 6, 8].map(index => [index, 'current']),
  );
  expect(await run('fsck', ['-n', ...members.map(path)])).toMatchObject({ exitCode: 0 });
});
