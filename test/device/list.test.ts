// device list: every member with its standing, what is on it, and what would be lost without it. Members that are missing, that missed
// changes, or that were changed without the others are made here by changing superblocks of some members only.

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import {
  type MemberStateName,
  memberBits,
  memberStates,
  mountVerdict,
  openDevice,
  openMembers,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { memberNamed } from '../../packages/device/src/member-named.ts';
import { run, succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';

const folder = mkdtempSync(join(tmpdir(), 'device-list-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const made = ['a.img', 'b.img', 'c.img'];
const data = 'x'.repeat(1 << 20);

/** Three members: what is in /twice has two copies, what is in /once has one. */
beforeAll(async () => {
  writeFileSync(path('file'), data);
  const devices = [`--label=ssd.a`, path('a.img'), '--label=hdd.b', path('b.img'), '--label=hdd.c', path('c.img')];
  await succeed('format', ['-q', '--metadata_replicas=2', '--fs_size=64M', ...devices]);
  const all = made.map(path).join(':');
  await succeed('mkdir', ['-q', all, 'once', 'twice']);
  await succeed('set-file-option', ['-q', '--data_replicas=2', all, 'twice']);
  await succeed('put', ['-q', all, path('file'), 'twice/file']);
  await succeed('put', ['-q', all, path('file'), 'once/file']);
  for (const name of made) copyFileSync(path(name), path(`old-${name}`));
}, patient(60_000));

interface Listed {
  readonly index: number;
  readonly path: string | null;
  readonly standing: string;
  readonly state: string;
  readonly label: string;
  readonly seq: number | null;
  readonly if_lost: { readonly lost: number; readonly lost_metadata: number; readonly degraded: number };
}

async function listed(names: readonly string[]) {
  const { stdout } = await run('device list', ['--json', ...names.map(path)]);
  return JSON.parse(stdout).devices as Listed[];
}

describe('what would be lost', () => {
  test('by each member: what has one copy is on one of them', async () => {
    const devices = await listed(made);
    expect(devices.map(({ index, label, state, standing }) => [index, label, state, standing])).toEqual([
      [0, 'ssd.a', 'rw', 'current'],
      [1, 'hdd.b', 'rw', 'current'],
      [2, 'hdd.c', 'rw', 'current'],
    ]);
    const lost = devices.reduce((sum, { if_lost }) => sum + if_lost.lost, 0);
    expect(lost).toBe(data.length);
    expect(devices.map(({ if_lost }) => if_lost.lost_metadata)).toEqual([0, 0, 0]);
    // Every copy is on some member, and nodes have two.
    expect(devices.every(({ if_lost }) => if_lost.degraded > 0)).toBe(true);
  });

  test('with one missing: what is lost already, and what else would be', async () => {
    const devices = await listed(['b.img', 'c.img']);
    expect(devices[0]).toMatchObject({ path: null, standing: 'missing', seq: null });
    const [all, rest] = [await listed(made), devices.slice(1)];
    // What is on 0 and one other has no copy left but there.
    for (const { index, if_lost } of rest) expect(if_lost.lost_metadata, `${index}`).toBeGreaterThan(0);
    expect(devices[0]!.if_lost).toEqual(all[0]!.if_lost);
    const { stdout, exitCode } = await run('device list', [path('b.img'), path('c.img')]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('(missing)');
    expect(stdout).toMatch(/^member 0 \(uuid [0-9a-f-]{36}\) is missing: it was never mounted\.$/m);
  });
});

describe('how members stand', () => {
  test('one that missed changes', async () => {
    await succeed('set-fs-option', ['-q', '--allow_missing', '--fs_label=later', path('a.img'), path('b.img')]);
    const devices = await listed(['a.img', 'b.img', 'old-c.img']);
    expect(devices.map(({ standing }) => standing)).toEqual(['current', 'current', 'stale']);
    const { stdout } = await run('device list', ['a.img', 'b.img', 'old-c.img'].map(path));
    expect(stdout).toContain('old-c.img missed changes: its superblock is number ');

    const words = [['a.img', 'b.img', 'old-c.img'].map(path).join(':'), '2'];
    expect(await succeed('device resync', ['-n', ...words])).toContain('old-c.img missed changes: its superblock is');
    copyFileSync(path('old-c.img'), path('stale-c.img'));
    expect(await succeed('device resync', ['-y', ...words])).toContain('brought back');
    const back = await listed(['a.img', 'b.img', 'old-c.img']);
    expect(back.map(({ standing, seq }) => [standing, seq])).toEqual(back.map(() => ['current', back[0]!.seq]));
    expect(await succeed('device resync', ['-y', ...words])).toContain('old-c.img missed nothing');
    copyFileSync(path('stale-c.img'), path('old-c.img'));
    const { stdout: text } = await runCli(bcachefs, ['device', 'resync', '--json', '-y', ...words]);
    const document = JSON.parse(text);
    expect(validator('device')(document)).toEqual([]);
    expect(document).toMatchObject({ action: 'done', plan: { members: [{ member: 2, standing: 'stale' }] } });
    copyFileSync(path('c.img'), path('old-c.img'));
    for (const name of made) copyFileSync(path(`old-${name}`), path(name));
  });

  test('two sides that were changed without each other', async () => {
    await succeed('set-fs-option', ['-q', '--allow_missing', '--fs_label=other', path('c.img')]);
    await succeed('set-fs-option', ['-q', '--allow_missing', '--fs_label=more', path('a.img'), path('b.img')]);
    const devices = await listed(made);
    expect(devices.map(({ standing }) => standing)).toEqual(['current', 'current', 'split_brain']);
    const { stdout } = await run('device list', made.map(path));
    expect(stdout).toContain('c.img was changed without the others, and they without it (split brain)');
    const { exitCode, stderr } = await run('device resync', ['-y', made.map(path).join(':'), path('c.img')]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringMatching(/Each side has changes that the other lacks/),
    });
    for (const name of made) copyFileSync(path(`old-${name}`), path(name));
  });
});

test('what a mount of some members asks for, by their states', () => {
  const opened = made.map(name => openDevice(path(name), { write: false }));
  const { sb } = openMembers(opened).newest;
  for (const device of opened) device.close();
  const needOf = (present: readonly number[], states: Readonly<Record<number, MemberStateName>> = {}) => {
    const changed = Object.entries(states).reduce((next, [index, state]) => {
      return withMember(next, Number(index), member => {
        const [flags = 0n] = withBits([member.flags], memberBits.STATE, memberStates.idOf(state));
        return { ...member, flags };
      });
    }, sb);
    return mountVerdict(changed, new Set(present)).need;
  };
  expect(needOf([0, 1, 2])).toBe('nothing');
  // Of what has one copy, one member has all.
  const needs = [needOf([1, 2]), needOf([0, 2]), needOf([0, 1])];
  expect(needs).toContain('very_degraded');
  expect(needs).not.toContain('nothing');
  expect([
    needOf([1, 2], { 0: 'evacuating' }),
    needOf([0, 2], { 1: 'evacuating' }),
    needOf([0, 1], { 2: 'evacuating' }),
  ]).toEqual(['nothing', 'nothing', 'nothing']);
  expect(needOf([0, 1, 2], { 2: 'evacuating' })).toBe('nothing');
  expect(needOf([0], { 1: 'evacuating' })).toBe('very_degraded');
});

test('a member is named by its index, its UUID or its path, also a missing one', () => {
  const opened = ['a.img', 'b.img'].map(name => openDevice(path(name), { write: false }));
  try {
    const set = openMembers(opened);
    const named = (word: string) => {
      const { index, member } = memberNamed(set, word);
      return [index, member?.device.name];
    };
    expect(named('1')).toEqual([1, path('b.img')]);
    expect(named('2')).toEqual([2, undefined]);
    expect(named(path('a.img'))).toEqual([0, path('a.img')]);
    expect(named(`${folder}/../${folder.split('/').at(-1)}/b.img`)).toEqual([1, path('b.img')]);
    expect(named('b.img')).toEqual([1, path('b.img')]);
    expect(() => named('3')).toThrow(
      /"3" is not a member; expected one of 0 \(.*a\.img\), 1 \(.*b\.img\), 2 \(missing, uuid /,
    );
    expect(() => named('c.img')).toThrow('is not a member');
    const uuid = /missing, uuid ([0-9a-f-]+)/.exec(thrownBy(() => named('x')))?.[1] ?? '';
    expect(named(uuid.toUpperCase())).toEqual([2, undefined]);
  } finally {
    for (const device of opened) device.close();
  }
});

function thrownBy(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    return `${thrown}`;
  }
  return '';
}
