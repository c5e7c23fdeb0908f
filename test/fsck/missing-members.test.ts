// fsck without some of the members: it leaves alone what they would show, or gives them up once it has listed what is lost with them.

import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { openFilesystem } from '@bcachefs-ts/core/engine';
import { fsckCommand } from '@bcachefs-ts/fsck';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';
import { loadImage, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { tamper, wrongCounts } from '../support/recovered.ts';
import { copySparse, hashFile } from '../support/sparse.ts';

const hashOf = (path: string): string => hashFile(path);
const idsOf = (stdout: string): readonly string[] =>
  JSON.parse(stdout.trimEnd().split('\n').at(-1)!).summary.errors.map(({ id }: { readonly id: string }) => id);
const fsck = (...words: readonly string[]) => runCli(fsckCommand, words);

describe('of a filesystem that has two copies of everything', () => {
  test('a member that is missing is refused, and the message says what can be done', () =>
    withTestImage('multi', async ([first = '']) => {
      const { exitCode, stderr } = await fsck('-n', first);
      expect(exitCode).toBe(16);
      expect(stderr).toMatch(/^fsck: of 2 members, member 1 \(.*\) is missing: --allow_missing .* --give_up_missing /);
    }));

  test.each(['--allow_missing', '-odegraded'])('%s: nothing is found that the other one would show', option =>
    withTestImage('multi', async ([, second = '']) => {
      const before = hashOf(second);
      const { exitCode, stdout, stderr } = await fsck('-y', option, second);
      expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: `${second}: clean\n` });
      expect(stderr).toContain('member 0');
      expect(hashOf(second)).toBe(before);
    }),
  );

  test('what is wrong elsewhere is repaired on the one that is there', () =>
    withTestImage('multi', async ([first = '', second = '']) => {
      const devices = [first, second].map(loadImage);
      tamper(devices, wrongCounts);
      saveImage(devices[0]!, first);
      const repaired = await fsck('-y', '--allow_missing', '--json', first);
      expect(repaired.exitCode, repaired.stdout).toBe(1);
      expect(idsOf(repaired.stdout)).toEqual(['inode_dir_wrong_nlink']);
      expect((await fsck('-y', '--allow_missing', first)).exitCode).toBe(0);
    }));

  test('one that is given up has no place any more, and nothing is lost', () =>
    withTestImage('multi', async ([first = '']) => {
      const before = await succeed('tree', ['--degraded', first]);
      const given = await fsck('-y', '--give_up_missing', '--json', first);
      expect({ exitCode: given.exitCode, ids: idsOf(given.stdout) }).toEqual({ exitCode: 1, ids: ['member_given_up'] });
      const filesystem = openFilesystem([first]);
      expect(filesystem.set.missing).toEqual([]);
      filesystem.close();
      const again = await fsck('-y', first);
      expect({ exitCode: again.exitCode, stdout: again.stdout }).toEqual({ exitCode: 0, stdout: `${first}: clean\n` });
      expect(await succeed('tree', [first])).toBe(before);
    }));
});

describe('of a filesystem that has one copy of everything', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fsck-missing-'));
  const made = ['a.img', 'b.img'].map(name => join(folder, name));
  const contents = new Map<string, Buffer>();
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeAll(async () => {
    const source = join(folder, 'source');
    mkdirSync(source);
    for (let nr = 0; nr < 60; nr++) {
      const bytes = Buffer.from(`file ${nr} `.repeat(900 + 70 * nr));
      contents.set(`/f${nr}`, bytes);
      writeFileSync(join(source, `f${nr}`), bytes);
    }
    for (const path of made) {
      writeFileSync(path, '');
      truncateSync(path, 32 << 20);
    }
    const words = ['--quiet', '--replicas=1', '--btree_node_size=8k', '--fs_label=one', `--source=${source}`];
    await succeed('format', [...words, ...made]);
  }, patient(60_000));

  const copyOf = (nr: number, name: string): string => copySparse(made[nr]!, join(folder, name));

  test.each([0, 1])(
    'member %i alone: metadata that is elsewhere is not checkable, and nothing is repaired',
    async nr => {
      const path = copyOf(nr, `look-${nr}.img`);
      const before = hashOf(path);
      const { exitCode, stdout } = await fsck('-y', '--allow_missing', '--json', path);
      expect({ exitCode, ids: idsOf(stdout) }).toEqual({ exitCode: 4, ids: ['btree_node_on_missing_member'] });
      expect(hashOf(path)).toBe(before);
    },
  );

  test.each([0, 1])(
    'member %i alone: what is lost without the other one is listed by path, and the rest repaired',
    { timeout: patient(60_000) },
    async nr => {
      const path = copyOf(nr, `given-${nr}.img`);
      const before = hashOf(path);
      const looked = await fsck('-n', '-v', '--give_up_missing', path);
      expect(looked.exitCode).toBe(4);
      expect(looked.stdout.split('\n')[0]).toMatch(/^members_v2 [01]: member_given_up: member [01] /);
      expect(looked.stdout).toContain('btree_node_on_missing_member');
      expect(hashOf(path)).toBe(before);
      const given = await fsck('-y', '--give_up_missing', `--quarantine=${join(folder, `lost-${nr}`)}`, path);
      expect(given.exitCode, given.stdout).toBe(1);
      const again = await fsck('-y', path);
      expect({ exitCode: again.exitCode, stdout: again.stdout }).toEqual({ exitCode: 0, stdout: `${path}: clean\n` });
      const lost = new Set([...looked.stdout.matchAll(/^(\/f\d+): data_on_missing_member/gm)].map(([, name]) => name!));
      let found = 0;
      for (const [name, bytes] of contents) {
        const read = await runForBytes('cat', [path, name]);
        if (read.exitCode !== 0) continue;
        // What was lost does not read as zeroes; a file whose inode was lost ends with the sector.
        expect(lost).not.toContain(name);
        const known = Buffer.from(read.stdoutBytes).subarray(0, bytes.length);
        expect(known.equals(bytes.subarray(0, known.length)), name).toBe(true);
        found++;
      }
      const listed = await run('ls', ['-1', path, '/lost+found']);
      // With the root directory, all names may be lost.
      expect(found + (listed.exitCode === 0 ? listed.stdout.split('\n').length : 0)).toBeGreaterThan(20);
    },
  );

  test('nothing changes when somebody says no', async () => {
    const path = copyOf(0, 'asked.img');
    const before = hashOf(path);
    const { exitCode, stderr } = await runCli(fsckCommand, ['--give_up_missing', path], {
      stdin: 'n\n',
      isTerminal: true,
    });
    expect(stderr).toContain('Give them up? [y/n/m/q]');
    expect(exitCode).toBe(4);
    expect(hashOf(path)).toBe(before);
  });
});
