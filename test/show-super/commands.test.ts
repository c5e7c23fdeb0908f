// The commands that change superblocks, on images that a kernel has written: what they print, their exit codes, and that every
// copy on every member has the change. What a kernel makes of it is test/kernel's.

import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
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

  test('wants all members, unless it is asked to go on without', async () => {
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

describe('identity', () => {
  interface Identified {
    readonly superblock: { readonly label: string; readonly external_uuid: string; readonly internal_uuid: string };
  }
  const identified = async (paths: readonly string[]): Promise<Identified['superblock'][]> =>
    JSON.parse(await succeed('show-super', ['--json', ...paths])).superblocks.map((one: Identified) => one.superblock);

  test('--fs_label changes the label of the filesystem, and no disk label', async () => {
    await withTestImage('multi', async paths => {
      const before = await shown(paths);
      expect(await succeed('set-fs-option', ['--fs_label=ünder', ...paths])).toContain('fs_label: ünder\n');
      for (const [nr, path] of paths.entries()) {
        expect((await identified([path]))[0]!.label).toBe('ünder');
        expect((await shown([path]))[0]!.superblock.fields.disk_groups).toEqual(
          before[nr]!.superblock.fields.disk_groups,
        );
        expect(await allCopiesAreEqual(path)).toBe(true);
      }
      await succeed('set-fs-option', ['--fs_label=', ...paths]);
      expect((await identified(paths)).map(({ label }) => label)).toEqual(['', '']);
      const refused = await run('set-fs-option', [`--fs_label=${'x'.repeat(33)}`, ...paths]);
      expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('at most 32 fit') });
    });
  });

  test('--uuid changes what copies are told apart by, and nothing that nodes and journal know', async () => {
    await withTestImage('multi', async paths => {
      const before = await identified(paths);
      const files = await succeed('tree', [paths.join(':')]);
      await succeed('set-fs-option', ['--uuid=01234567-89AB-CDEF-0123-456789abcdef', ...paths]);
      const after = await identified(paths);
      for (const one of after) {
        expect(one.external_uuid).toBe('01234567-89ab-cdef-0123-456789abcdef');
        expect(one.internal_uuid.slice(0, 19)).toBe(before[0]!.internal_uuid.slice(0, 19));
        expect(one.internal_uuid).not.toBe(before[0]!.internal_uuid);
      }
      expect(after[0]!.internal_uuid).toBe(after[1]!.internal_uuid);
      expect(await succeed('tree', [paths.join(':')])).toBe(files);
      for (const uuid of ['0', '00000000-0000-0000-0000-000000000000']) {
        expect((await run('set-fs-option', [`--uuid=${uuid}`, ...paths])).exitCode).toBe(2);
      }
    });
  });

  test('the passphrase stays, since the key is sealed under the half that stays', async () => {
    await withTestImage('encrypted', async ([image]) => {
      const passphrase = join(dirname(image!), 'passphrase');
      writeFileSync(passphrase, 'correct horse\n');
      await succeed('set-fs-option', ['--uuid=random', image!]);
      expect((await run('unlock', ['--check', `--file=${passphrase}`, image!])).exitCode).toBe(0);
      expect(await succeed('ls', [`--passphrase_file=${passphrase}`, image!])).toContain('secret');
    });
  });

  test('of two clones in one folder, each can be used once one has a UUID of its own', async () => {
    await withTestImage('basic', async ([image]) => {
      const clone = join(dirname(image!), 'clone.img');
      writeFileSync(clone, readFileSync(image!));
      const both = await run('ls', [dirname(image!)]);
      expect(both.exitCode).toBe(2);
      expect(both.stderr).toContain(image!);
      expect(both.stderr).toContain(clone);
      expect(both.stderr).toContain('set-fs-option --uuid=random makes a copy a filesystem of its own');
      await succeed('ls', [clone]);
      await succeed('set-fs-option', ['--uuid=random', clone]);
      const [, { external_uuid }] = (await identified([image!, clone])) as [unknown, Identified['superblock']];
      expect((await run('ls', [dirname(image!)])).stderr).toContain('choose one with --uuid');
      await succeed('ls', [`--uuid=${external_uuid}`, dirname(image!)]);
    });
  });

  test('a new UUID that came to one of two members only is given to both by the same command', async () => {
    await withTestImage('multi', async paths => {
      const old = readFileSync(paths[1]!);
      await succeed('set-fs-option', ['--uuid=random', ...paths]);
      writeFileSync(paths[1]!, old);
      expect((await run('ls', [paths.join(':')])).exitCode).toBe(2);
      await succeed('set-fs-option', ['--uuid=random', ...paths]);
      await succeed('ls', [paths.join(':')]);
      const [first, second] = await identified(paths);
      expect(first!.external_uuid).toBe(second!.external_uuid);
    });
  });
});

describe('recovery-pass', () => {
  test('schedules and cancels, and lists what is scheduled', async () => {
    await withTestImage('multi', async images => {
      const listed = async (...words: string[]) =>
        JSON.parse(await succeed('recovery-pass', ['--json', ...words, ...images]));
      expect(await succeed('recovery-pass', images)).toBe('Scheduled recovery passes: (none)\n');
      const words = ['--set=check_topology,check_nlinks', '-s', 'set_fs_needs_rebalance'];
      expect(await listed(...words)).toMatchObject({
        isChanged: true,
        scheduled: ['check_topology', 'check_nlinks', 'set_fs_needs_rebalance'],
      });
      expect((await shown([images[1]!]))[0]!.superblock.fields.ext).toMatchObject({
        recovery_passes_required: ['check_topology', 'check_nlinks', 'set_fs_needs_reconcile'],
      });
      // Cancelled first, so that a pass in both is scheduled.
      expect(await listed('-u', 'check_topology,check_nlinks', '-s', 'check_nlinks')).toMatchObject({
        scheduled: ['check_nlinks', 'set_fs_needs_rebalance'],
      });
    });
  });

  test('writes nothing when nothing changes, and for what does not exist', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const before = readFileSync(image);
      expect(await succeed('recovery-pass', [image])).toBe('Scheduled recovery passes: (none)\n');
      await succeed('recovery-pass', ['--unset=check_nlinks', image]);
      const refused = await run('recovery-pass', ['--set=check_nlink', image]);
      expect([refused.exitCode, refused.stderr]).toEqual([
        2,
        expect.stringContaining('there is no recovery pass "check_nlink", expected some of: '),
      ]);
      const tooNew = await run('recovery-pass', ['--set=btree_bitmap_gc', image]);
      expect([tooNew.exitCode, tooNew.stderr]).toEqual([
        2,
        expect.stringMatching(/a filesystem of metadata version 1\.\d+ has no recovery pass btree_bitmap_gc/),
      ]);
      expect(readFileSync(image).equals(before)).toBe(true);
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

  test('repairs the first superblock and the layout from a backup, once it is asked to', async () => {
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

  test('shows the superblock line by line before it asks', async () => {
    await withTestImage('basic', async ([image]) => {
      damage(image!, 4096, new Uint8Array(4096));
      const { stderr } = await run('recover-super', [image!], { isTerminal: true, stdin: 'n\n' });
      expect(stderr).toMatch(/^External UUID: +f51f9d0c-f950-4a13-98ec-f8bd38787ce1$/m);
      expect(stderr).not.toContain('\\x0a');
    });
  });

  test('finds superblocks that have lost only their magic, as after wipefs; others say what to do', async () => {
    await withTestImage('basic', async ([image]) => {
      const before = readFileSync(image!);
      const layout = 7 * 512;
      for (let nr = 0; nr < before[layout + 18]!; nr++) {
        damage(image!, 512 * Number(before.readBigUInt64LE(layout + 24 + 8 * nr)) + 24, new Uint8Array(16));
      }
      const wiped = readFileSync(image!);
      for (const command of ['show-super', 'ls'] as const) {
        const refused = await run(command, [image!]);
        expect(refused.exitCode).toBe(3);
        expect(refused.stderr).toContain('has lost only its magic, as after wipefs: recover-super restores it');
        expect(refused.stderr).toContain('Where an undo was cut off, `undo` has to be run again instead');
      }
      expect(readFileSync(image!).equals(wiped)).toBe(true);
      expect(await succeed('recover-super', ['--yes', image!])).toContain(
        'wrote the copy at sector 8, whose magic was wiped, to sectors 8, ',
      );
      expect(readFileSync(image!).equals(before)).toBe(true);
    });
  });

  test('does not take one for a superblock whose checksum is wrong besides', async () => {
    await withTestImage('basic', async ([image]) => {
      damage(image!, 0, new Uint8Array(8 * 2 ** 20 - 64 * 1024));
      const { sb, sector } = { sb: new Uint8Array(1024), sector: 8 };
      sb.fill(1, 24, 40);
      sb[104] = sector;
      damage(image!, 4096, sb);
      expect((await run('recover-super', ['--yes', image!])).exitCode).toBe(3);
    });
  });

  test('--dev_size needs no --src_device: the last superblock is looked for before the end of the filesystem', async () => {
    await withTestImage('basic', async ([image]) => {
      const size = readFileSync(image!).length;
      truncateSync(image!, 64 * 2 ** 20);
      damage(image!, 0, new Uint8Array(4 * 2 ** 20));
      const words = ['--dry_run', '--json', '--scan_len=1M'];
      expect((await run('recover-super', [...words, image!])).exitCode).toBe(3);
      const found = JSON.parse(await succeed('recover-super', [...words, `--dev_size=${size}`, image!]));
      expect(found.candidates).toHaveLength(1);
      const refused = await run('recover-super', [...words, '--dev_size=1G', image!]);
      expect(refused.stderr).toContain('--dev_size');
      expect(refused.exitCode).toBe(2);
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

describe('strip-alloc', () => {
  test('what remains can be read and not changed, and that is said', async () => {
    await withTestImage('multi', async paths => {
      const word = paths.join(':');
      const tree = await succeed('tree', [word]);
      expect(await succeed('list', ['--btree=alloc', ...paths])).not.toBe('');
      expect(await succeed('strip-alloc', paths)).toContain('allocation info dropped');
      expect(await succeed('tree', [word])).toBe(tree);
      expect((await succeed('list', ['--btree=alloc', ...paths])).trim()).toBe('');
      for (const path of paths) expect(await allCopiesAreEqual(path)).toBe(true);
      const stripped = paths.map(path => readFileSync(path));
      const refused = await run('mkdir', [word, 'new']);
      expect(refused.exitCode).toBe(4);
      expect(refused.stderr).toContain('its allocation info was dropped (strip-alloc), so it can only be read');
      expect(await succeed('strip-alloc', paths)).toContain('nothing was written');
      expect(paths.every((path, nr) => readFileSync(path).equals(stripped[nr]!))).toBe(true);
    });
  });

  test.each([['unclean', 1, 'the filesystem is not clean; mount and unmount it first']] as const)(
    'refuses one that is %s',
    async (name, exitCode, message) => {
      await withTestImage(name, async ([image]) => {
        const before = readFileSync(image!);
        const refused = await run('strip-alloc', [image!]);
        expect(refused.stderr).toContain(message);
        expect(refused.exitCode).toBe(exitCode);
        expect(readFileSync(image!).equals(before)).toBe(true);
      });
    },
  );

  test('refuses what is too large to be rebuilt, what was never mounted, and a part of the members', async () => {
    await withTestImage('multi', async ([first]) => {
      const large = join(dirname(first!), 'large.img');
      await succeed('format', ['--fs_size=2T', large]);
      expect((await run('strip-alloc', [large])).stderr).toContain('at most 1099511627776 are possible');
      const fresh = join(dirname(first!), 'fresh.img');
      await succeed('format', ['--no_initialize', '--fs_size=16M', fresh]);
      expect((await run('strip-alloc', [fresh])).stderr).toContain('nothing was ever allocated');
      expect((await run('strip-alloc', [first!])).stderr).toContain('name all of them');
    });
  });
});
