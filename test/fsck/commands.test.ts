// fsck as a command: who decides, what is left alone, what is written down, and the exit codes of fsck(8).

import { closeSync, existsSync, openSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { loadChecksums } from '@bcachefs-ts/core/engine';
import { listCommand } from '@bcachefs-ts/dump';
import { beforeAll, describe, expect, test } from 'vitest';
import { wrongCounts } from '../support/recovered.ts';
import { validator } from '../support/schemas.ts';
import { lostInode, withDamaged } from './damaged.ts';

beforeAll(loadChecksums);

describe('who decides', () => {
  test.each([[['-n']], [['-yn']], [['-y', '-o', 'nochanges']], [['-o', 'fix_errors=no', '-y']], [[]]])(
    '%j only looks',
    words =>
      withDamaged(wrongCounts, async ({ fsck, contents }) => {
        const before = contents();
        const { exitCode, stdout } = await fsck(...words);
        expect(exitCode).toBe(4);
        expect(stdout).not.toContain('fixed');
        expect(stdout).toContain('5 errors found, nothing was changed');
        expect(contents().equals(before)).toBe(true);
      }),
  );

  test.each([
    [['-y']],
    [['-p']],
    [['-y', '-r']],
    [['-o', 'fix_errors']],
    [['-o', 'errors=fix_safe']],
    [['-fy', '-C0', '-k']],
  ])('%j repairs what is safe', words =>
    withDamaged(wrongCounts, async ({ fsck }) => {
      // It was unmounted cleanly, and nothing says that it is damaged: that alone does not make -p look.
      const { exitCode, stdout } = await fsck(...words, '-f');
      expect(stdout).toContain('5 errors found, 5 fixed, 0 left');
      expect(exitCode).toBe(1);
      expect(await fsck('-n')).toMatchObject({ exitCode: 0 });
    }),
  );

  test('--explain says what an error means, what its repair does and what is lost', () =>
    withDamaged(wrongCounts, async ({ fsck, asked }) => {
      const words =
        'inode_dir_wrong_nlink:\n' +
        '  means:  A directory counts another number of subdirectories than it has.\n' +
        '  repair: The count is set.\n' +
        '  lost:   Nothing.\n';
      expect((await fsck('-n', '--explain')).stdout).toContain(words);
      expect((await fsck('-nv')).stdout).toContain(words);
      expect((await fsck('-n')).stdout).not.toContain('lost:');
      expect((await asked('m\nq\n')).stderr).toContain('  lost:   Nothing.\n');
      const { stdout } = await fsck('-n', '--explain', '--json');
      expect(stdout).toContain('"means":"A directory counts');
      expect((await fsck('-n', '--json')).stdout).not.toContain('"means"');
    }));

  test('-a does not look at a clean filesystem', () =>
    withDamaged(wrongCounts, async ({ fsck }) => {
      const { exitCode, stdout } = await fsck('-a');
      expect(exitCode).toBe(0);
      expect(stdout).toContain('clean, not checked');
    }));

  test('-p stops at what is not safe', () =>
    withDamaged(lostInode, async ({ fsck }) => {
      expect((await fsck('-fp')).exitCode & 4).toBe(4);
      expect((await fsck('-y')).exitCode).toBe(1);
      expect((await fsck('-n')).exitCode).toBe(0);
    }));

  test.each([
    ['norecovery', 'norecovery leaves the journal out'],
    ['fix_errors=exit', 'fix_errors=exit stops at the first error'],
    ['errors=panic', 'errors=panic is for a mounted filesystem'],
    ['recovery_passes=check_everything', "there is no recovery pass 'check_everything'"],
    ['recovery_passes_exclude=check_topology', 'check_topology is part of every check'],
    ['speed=11', "'speed' is not known"],
  ])('-o %s is refused in a line', (option, message) =>
    withDamaged(undefined, async ({ fsck }) => {
      const { exitCode, stderr } = await fsck('-y', '-o', option);
      expect(exitCode).toBe(16);
      expect(stderr).toContain(message);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }),
  );

  test.each(['recovery_passes_exclude=check_nlinks', 'recovery_pass_last=check_dirents'])(
    '-o %s leaves a pass out',
    option =>
      withDamaged(wrongCounts, async ({ fsck }) => {
        const { exitCode } = await fsck('-n', '-o', option);
        expect(exitCode).toBe(0);
      }),
  );

  test('a device that is not there is an operational error', async () =>
    withDamaged(undefined, async ({ fsck, folder }) => {
      expect(await fsck('-n', join(folder, 'no.img'))).toMatchObject({ exitCode: 8 });
    }));
});

describe('at a terminal', () => {
  test('y for one, N for the others of its kind', () =>
    withDamaged(wrongCounts, async ({ asked, fsck }) => {
      const { exitCode, stdout, stderr } = await asked('y\nN\n');
      expect(stderr.match(/Repair it\?/g)).toHaveLength(2);
      expect(stdout).toContain('5 errors found, 1 fixed, 4 left');
      expect(exitCode).toBe(5);
      expect((await fsck('-n')).stdout).toContain('4 errors found');
    }));

  test('Y repairs all of a kind, and more shows what is known', () =>
    withDamaged(wrongCounts, async ({ asked }) => {
      const { exitCode, stderr } = await asked('m\nwhat?\nY\n', '-r');
      expect(stderr).toContain('error:  inode_dir_wrong_nlink');
      expect(stderr).toContain('before: ');
      expect(stderr).toContain('Please answer with one of y, n, Y, N, m, q.');
      expect(exitCode).toBe(1);
    }));

  test.each([
    ['y\nq\n', 36],
    ['y\n', 36],
    ['N\n', 4],
  ])('%j changes nothing', (typed, code) =>
    withDamaged(wrongCounts, async ({ asked, contents }) => {
      const before = contents();
      const { exitCode, stdout } = await asked(typed);
      expect(exitCode).toBe(code);
      expect(stdout).not.toContain('fixed');
      expect(contents().equals(before)).toBe(true);
    }),
  );

  test('with --json nothing is asked', () =>
    withDamaged(wrongCounts, async ({ asked }) => {
      const { exitCode, stderr } = await asked('', '--json');
      expect(exitCode).toBe(4);
      expect(stderr).toBe('');
    }));
});

describe('the quarantine file', () => {
  test('one that is there is refused before anything else', () =>
    withDamaged(lostInode, async ({ fsck, contents, folder }) => {
      const before = contents();
      const there = join(folder, 'there');
      writeFileSync(there, 'mine');
      symlinkSync(join(folder, 'elsewhere'), join(folder, 'link'));
      for (const path of [there, join(folder, 'link'), join(folder, 'no', 'folder')]) {
        const { exitCode, stderr } = await fsck('-y', `--quarantine=${path}`);
        expect(exitCode).toBe(8);
        expect(stderr).toContain(path);
      }
      expect(readFileSync(there, 'utf8')).toBe('mine');
      expect(existsSync(join(folder, 'elsewhere'))).toBe(false);
      expect(contents().equals(before)).toBe(true);
    }));

  test('it is not left when everything was kept', () =>
    withDamaged(wrongCounts, async ({ fsck, folder }) => {
      const path = join(folder, 'keys.jsonl');
      expect((await fsck('-y', `--quarantine=${path}`)).exitCode).toBe(1);
      expect(existsSync(path)).toBe(false);
    }));
});

describe('plans', () => {
  test('what is still listed is repaired, and nothing else', () =>
    withDamaged(wrongCounts, async ({ fsck, contents, folder }) => {
      const before = contents();
      const path = join(folder, 'plan.jsonl');
      const { exitCode, stdout } = await fsck(`--plan=${path}`);
      expect(exitCode).toBe(4);
      expect(stdout).toContain(`the plan is in ${path}`);
      expect(contents().equals(before)).toBe(true);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      const lines = readFileSync(path, 'utf8').trim().split('\n');
      expect(lines).toHaveLength(6);
      writeFileSync(path, `${lines.slice(0, 3).join('\n')}\n`);
      const applied = await fsck(`--apply=${path}`);
      expect(applied.stdout).toContain('5 errors found, 2 fixed, 3 left');
      expect(applied.exitCode).toBe(5);

      const after = contents();
      const again = await fsck(`--apply=${path}`);
      expect(again.exitCode).toBe(8);
      expect(again.stderr).toContain('the filesystem has changed since');
      expect(contents().equals(after)).toBe(true);
    }));

  test('a plan of another filesystem, and other files', () =>
    withDamaged(wrongCounts, async ({ fsck, contents, folder }) => {
      const path = join(folder, 'plan.jsonl');
      await fsck(`--plan=${path}`);
      const before = contents();
      const [head = '', first = ''] = readFileSync(path, 'utf8').split('\n');
      const bad: readonly (readonly [string, string])[] = [
        ['', 'line 1: this is not a plan of fsck: it is not JSON'],
        ['[]\n', 'line 1: this is not a plan of fsck: it is not an object'],
        ['{}\n', 'line 1: this is not a plan of fsck: expected the schema'],
        [head.replace('"version":1', '"version":2'), 'expected version 1'],
        [head.replace('"journal_seq":"', '"journal_seq":"9'), 'the filesystem has changed since'],
        [head.replace(/"filesystem":"[^"]*"/, '"filesystem":"\\u001b[2J"'), 'is for the filesystem'],
        [head.replace(/"roots":"[^"]*"/, '"roots":7'), "'roots' is not what it should be"],
        [
          `${head}\n${first.replace(/"finding":"./, '"finding":"x')}\n`,
          "line 2: this is not a plan of fsck: a finding has no 'finding'",
        ],
        [`${head}\n${'['.repeat(1_000_000)}\n`, 'line 2: this is not a plan of fsck: it is not JSON'],
      ];
      for (const [text, message] of bad) {
        writeFileSync(path, text);
        const { exitCode, stderr } = await fsck(`--apply=${path}`);
        expect(stderr).toContain(message);
        expect(stderr).not.toContain('\u001b');
        expect(stderr.trim().split('\n')).toHaveLength(1);
        expect(exitCode).toBe(8);
      }
      expect(contents().equals(before)).toBe(true);
    }));

  test('a plan with nothing left in it changes nothing', () =>
    withDamaged(wrongCounts, async ({ fsck, contents, folder }) => {
      const path = join(folder, 'plan.jsonl');
      await fsck(`--plan=${path}`);
      writeFileSync(path, readFileSync(path, 'utf8').split('\n')[0] ?? '');
      const before = contents();
      expect((await fsck(`--apply=${path}`)).exitCode).toBe(4);
      expect(contents().equals(before)).toBe(true);
    }));

  test('they go with nothing else that decides', () =>
    withDamaged(wrongCounts, async ({ fsck, folder }) => {
      for (const words of [
        ['--plan=a', '-y'],
        ['--apply=a', '-n'],
        ['--plan=a', '--apply=b'],
      ])
        expect(await fsck(...words)).toMatchObject({ exitCode: 16 });
      const there = join(folder, 'there');
      writeFileSync(there, 'mine');
      expect(await fsck(`--plan=${there}`)).toMatchObject({ exitCode: 8 });
      expect(readFileSync(there, 'utf8')).toBe('mine');
    }));
});

describe('--json', () => {
  test.each([
    ['-n', 'look', 0],
    ['-y', 'yes', 5],
  ])('%s: every line fits the schema', (word, mode, fixed) =>
    withDamaged(wrongCounts, async ({ fsck }) => {
      const violations = validator('fsck');
      const { stdout } = await fsck(word, '--json');
      const lines: readonly { readonly finding?: object; readonly summary?: object }[] = stdout
        .trim()
        .split('\n')
        .map(line => JSON.parse(line));
      for (const line of lines) expect(violations(line)).toEqual([]);
      expect(lines).toHaveLength(7);
      expect(lines[1]?.finding).toMatchObject({
        id: 'inode_dir_wrong_nlink',
        pass: 'check_nlinks',
        safe: true,
        path: '/',
        facts: { found: 5, expected: 2 },
        decision: fixed > 0 ? 'fix' : 'ignore',
      });
      expect(lines.at(-1)?.summary).toMatchObject({ mode, found: 5, fixed, left: 5 - fixed });
      expect(violations({ finding: { ...lines[1]?.finding, extra: 1 } })).not.toEqual([]);
      expect(violations({ summary: {} })).not.toEqual([]);
    }),
  );
});

describe('-C', () => {
  test('lines that fsck(8) reads, up to the end of the last pass', () =>
    withDamaged(wrongCounts, async ({ fsck, folder, image }) => {
      const path = join(folder, 'progress');
      const fd = openSync(path, 'w');
      try {
        expect(await fsck('-y', `-C${fd}`)).toMatchObject({ exitCode: 1 });
      } finally {
        closeSync(fd);
      }
      const lines = readFileSync(path, 'utf8').trim().split('\n');
      for (const line of lines) expect(line).toMatch(/^[1-5] \d+ \d+ \S+$/);
      expect(new Set(lines.map(line => line[0]))).toEqual(new Set(['1', '2', '3', '4', '5']));
      expect(lines.at(-1)).toBe(`5 1 1 ${image}`);
    }));

  test.each(['-C900000', '-Cx'])('%s is refused', word =>
    withDamaged(undefined, async ({ fsck }) => {
      expect(await fsck('-n', word)).toMatchObject({ exitCode: 16 });
    }),
  );
});

test('list --fsck lists what a repair would leave, and repairs nothing', () =>
  withDamaged(lostInode, async ({ image, contents }) => {
    const before = contents();
    const damaged = await runCli(listCommand, ['--btree=inodes', image]);
    const { exitCode, stdout, stderr } = await runCli(listCommand, ['--fsck', '--btree=inodes', image]);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/\d+ errors? found, \d+ repaired in memory: fsck -n lists them/);
    expect(stdout).not.toBe(damaged.stdout);
    expect(contents().equals(before)).toBe(true);
  }));
