// The commands that change superblocks, on images that a kernel has written: what they print, their exit codes, and that every
// copy on every member has the change. What a kernel makes of it is test/kernel's.

import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';

interface ShownDevice {
  readonly superblock: {
    readonly seq: number;
    readonly options: Readonly<Record<string, unknown>>;
    readonly fields: Readonly<Record<string, Record<string, unknown>>>;
  };
}

const shown = async (paths: readonly string[]): Promise<readonly ShownDevice[]> =>
  JSON.parse(await succeed('show-super', ['--json', ...paths])).superblocks;

function damage(image: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(image, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** Whether every place that the layout lists holds the newest superblock. */
async function allCopiesAreEqual(image: string): Promise<boolean> {
  return JSON.parse(await succeed('recover-super', ['--json', '--dry_run', image])).action === 'none needed';
}

describe('set-fs-option', () => {
  test('changes options on every copy of every member', async () => {
    await withTestImage('multi', async paths => {
      const before = await shown(paths);
      const text = await succeed('set-fs-option', [
        '--compression=lz4:3',
        '--no_usrquota',
        '--promote_target=ssd',
        ...paths,
      ]);
      expect(text).toContain('compression: lz4:3\n');
      for (const [nr, { superblock }] of (await shown(paths)).entries()) {
        expect(superblock.options).toMatchObject({ compression: 'lz4:3', usrquota: false });
        expect(superblock.seq).toBe(before[nr]!.superblock.seq + 1);
      }
      for (const path of paths) expect(await allCopiesAreEqual(path)).toBe(true);
    });
  });

  test.each<[string, string[], number, RegExp]>([
    ['nothing to change', [], 2, /no option to change was given/],
    ['an option of later versions', ['--casefold=1'], 2, /--casefold/],
    ['a value out of range', ['--gc_reserve_percent=90'], 2, /--gc_reserve_percent: .*5 to 20/],
    ['an unknown target', ['--promote_target=nowhere'], 2, /--promote_target: "nowhere" is neither a label/],
    ['an unknown member', ['--dev_idx=7', '--durability=1'], 2, /--dev_idx: the filesystem has no member 7/],
    ['what format decides', ['--block_size=4k'], 2, /block_size/],
  ])('refuses %s, and writes nothing', async (_, words, exitCode, message) => {
    await withTestImage('multi', async paths => {
      const before = paths.map(path => readFileSync(path));
      const result = await run('set-fs-option', [...words, ...paths]);
      expect(result.stderr).toMatch(message);
      expect(result.exitCode).toBe(exitCode);
      expect(paths.every((path, nr) => readFileSync(path).equals(before[nr]!))).toBe(true);
    });
  });

  test('wants all members, unless it is told to go on without', async () => {
    await withTestImage('multi', async ([first, second]) => {
      const refused = await run('set-fs-option', ['--nocow', first!]);
      expect(refused.exitCode).toBe(2);
      expect(refused.stderr).toMatch(
        /of 2 members, member 1 \(uuid .*, label hdd\.slow\) is missing; name all of them/,
      );
      await succeed('set-fs-option', ['--nocow', '--allow_missing', first!]);
      const [one, two] = await shown([first!, second!]);
      expect([one, two].map(device => device!.superblock.options.nocow)).toEqual([true, false]);
    });
  });
});

describe('reset-counters', () => {
  test('zeroes all, or those that are named', async () => {
    await withTestImage('basic', async ([image]) => {
      const counters = async () => (await shown([image!]))[0]!.superblock.fields.counters!;
      const before = await counters();
      expect(before.btree_node_write).toBeGreaterThan(0);
      await succeed('reset-counters', ['--counters=btree_node_write', image!]);
      expect(await counters()).toEqual({ ...before, btree_node_write: 0 });
      await succeed('reset-counters', [image!]);
      expect(Object.values(await counters()).every(value => value === 0)).toBe(true);
      expect((await run('reset-counters', ['--counters=nothing', image!])).exitCode).toBe(2);
    });
  });
});

describe('passphrases', () => {
  test('are checked, changed and removed', async () => {
    await withTestImage('encrypted', async ([image]) => {
      const file = (name: string, text: string) => {
        const path = join(dirname(image!), name);
        writeFileSync(path, text);
        return path;
      };
      const right = file('right', 'correct horse\n');
      const wrong = file('wrong', 'wrong horse\n');
      const check = async (...words: string[]) => (await run('unlock', ['--check', ...words, image!])).exitCode;

      expect(await check()).toBe(0);
      expect(await check(`--file=${right}`)).toBe(0);
      expect(await check(`--file=${wrong}`)).toBe(1);

      const before = readFileSync(image!);
      const refused = await run('set-passphrase', [
        `--passphrase_file=${wrong}`,
        `--new_passphrase_file=${right}`,
        image!,
      ]);
      expect(refused).toMatchObject({
        exitCode: 1,
        stderr: 'set-passphrase: the passphrase is wrong; nothing was changed\n',
      });
      expect(readFileSync(image!).equals(before)).toBe(true);

      await succeed('set-passphrase', [`--passphrase_file=${right}`, `--new_passphrase_file=${wrong}`, image!]);
      expect(await check(`--file=${right}`)).toBe(1);
      expect(await check(`--file=${wrong}`)).toBe(0);

      await succeed('remove-passphrase', [`--passphrase_file=${wrong}`, image!]);
      expect(await check()).toBe(1);
      expect((await run('remove-passphrase', [`--passphrase_file=${wrong}`, image!])).exitCode).toBe(1);
      await succeed('set-passphrase', [`--new_passphrase_file=${right}`, image!]);
      expect(await check(`--file=${right}`)).toBe(0);
      expect(await allCopiesAreEqual(image!)).toBe(true);
    });
  });

  test('belong to encrypted filesystems only', async () => {
    await withTestImage('basic', async ([image]) => {
      expect((await run('unlock', ['--check', image!])).exitCode).toBe(1);
      const refused = await run('remove-passphrase', ['--passphrase_file=/nowhere', image!]);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toContain('is not encrypted; encryption is chosen when a filesystem is made');
    });
  });
});

describe('recover-super', () => {
  test('does nothing when all is well', async () => {
    await withTestImage('basic', async ([image]) => {
      expect(await succeed('recover-super', [image!])).toContain('all superblocks are sound, nothing was written');
    });
  });

  test('mends the first superblock and the layout from a backup, once it is told to', async () => {
    await withTestImage('basic', async ([image]) => {
      const before = readFileSync(image!);
      damage(image!, 0, new Uint8Array(16384));
      const damaged = readFileSync(image!);

      const dry = await succeed('recover-super', ['--dry_run', image!]);
      expect(dry).toContain('sector 8: not a bcachefs superblock');
      const unattended = await run('recover-super', [image!]);
      expect(unattended.exitCode).toBe(2);
      expect(unattended.stderr).toContain('--yes');
      expect((await run('recover-super', [image!], { isTerminal: true, stdin: 'n\n' })).exitCode).toBe(1);
      expect(readFileSync(image!).equals(damaged)).toBe(true);

      expect(await succeed('recover-super', ['--yes', image!])).toMatch(
        /wrote the copy at sector \d+ to sectors 8, \d+, \d+/,
      );
      expect(readFileSync(image!).subarray(3584).equals(before.subarray(3584))).toBe(true);
    });
  });

  test('takes the superblock of another member', async () => {
    await withTestImage('multi', async ([first, second]) => {
      damage(second!, 0, new Uint8Array(16 * 2 ** 20)); // everything
      const words = [`--src_device=${first}`, '--dev_idx=1', second!];
      expect(await succeed('recover-super', ['--yes', ...words])).toContain('The device has no journal now');
      const [one, two] = await shown([first!, second!]);
      expect(two!.superblock.seq).toBe(one!.superblock.seq);
      expect(Object.keys(two!.superblock.fields)).not.toContain('journal_v2');
      expect((await run('recover-super', ['--yes', `--src_device=${first}`, '--dev_idx=5', second!])).exitCode).toBe(2);
      expect((await run('recover-super', ['--yes', `--src_device=${first}`, '--dev_idx=0', second!])).exitCode).toBe(2);
    });
  });

  test('says so when there is nothing left', async () => {
    await withTestImage('basic', async ([image]) => {
      damage(image!, 0, new Uint8Array(8 * 2 ** 20));
      const result = await run('recover-super', ['--yes', image!]);
      expect(result.exitCode).toBe(3);
      expect(result.stderr).toContain('no sound superblock');
    });
  });
});
