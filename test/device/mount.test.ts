// mount and mount.bcachefs on machines that are described here: images in place of block devices, and a mount program that notes what it is given.

import { copyFileSync, linkSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blockDevicesOf, type KeyringName, type MountHost, runCli } from '@bcachefs-ts/command';
import {
  editSuperblock,
  memberBits,
  memberStates,
  openDevice,
  openMembers,
  type Superblock,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { mountCommandOn, mountHelperOn } from '@bcachefs-ts/device';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mount-')));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);
const UUID = '11111111-2222-4333-8444-555555555555';
const SEALED = '22222222-2222-4333-8444-555555555555';
const three = ['a', 'b', 'c'].map(path);
const LABEL = '-o ro,x=y';

beforeAll(async () => {
  const many = ['-q', '--replicas=2', '--fs_size=16M', `--uuid=${UUID}`, `--fs_label=${LABEL}`];
  await succeed('format', [...many, ...three]);
  const env = { BCACHEFS_PASSPHRASE: 'pw' };
  await succeed('format', ['-q', '--encrypted', '--fs_size=16M', `--uuid=${SEALED}`, path('sealed')], { env });
}, patient(60_000));

interface Machine {
  readonly devices?: readonly string[];
  /** Of these, others are made. */
  readonly parts?: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
  /** What is a file and no block device. */
  readonly images?: readonly string[];
  readonly keys?: readonly string[];
  readonly mount?: { readonly status: number; readonly output: string };
  readonly platform?: string;
}

const DRIVER = { '/proc/filesystems': 'nodev\tproc\n\text4\n\tbcachefs\n' };

function machine({ devices = [], parts = [], files = DRIVER, images = [], keys = [], mount, platform }: Machine) {
  const ran: string[][] = [];
  const added: [KeyringName, string, Uint8Array][] = [];
  const known = new Set(keys);
  let waits = 0;
  const host: MountHost = {
    platform: platform ?? 'linux',
    text: name => files[name],
    blockDevices: () => devices.map(name => ({ path: name, isPartOfAnother: parts.includes(name) })),
    look(name) {
      try {
        const realPath = realpathSync(name);
        return { realPath, kind: images.includes(realPath) ? 'file' : 'block device' };
      } catch {
        return undefined;
      }
    },
    addKey: () => (keyring, description, key) => {
      added.push([keyring, description, key]);
      known.add(description);
    },
    hasKey: () => description => known.has(description),
    run(program, args) {
      ran.push([program, ...args]);
      return program === 'mount' ? (mount ?? { status: 0, output: '' }) : undefined;
    },
    async wait() {
      if (++waits === 2) known.add(`bcachefs:${SEALED}`);
    },
  };
  const by =
    (command: typeof mountCommandOn | typeof mountHelperOn) =>
    (words: readonly string[], options = {}) =>
      runCli(command(host), words, options);
  return { host, ran, added, mount: by(mountCommandOn), helper: by(mountHelperOn), waits: () => waits };
}

const mounted = (source: readonly string[], ...words: readonly string[]) => [
  'mount',
  '-i',
  ...words.slice(0, -1),
  source.join(':'),
  words.at(-1)!,
];

/** Copies with superblocks that are changed. */
function changed(names: readonly string[], edit: (sb: Superblock) => Superblock): readonly string[] {
  const copies = names.map((name, nr) => {
    const copy = path(`changed-${nr}`);
    copyFileSync(name, copy);
    return copy;
  });
  const devices = copies.map(copy => openDevice(copy, { write: true }));
  try {
    editSuperblock(openMembers(devices), edit, { now: 1n });
  } finally {
    for (const device of devices) device.close();
  }
  return copies;
}

describe('what is mounted', () => {
  test.each([
    ['a UUID', `UUID=${UUID}`],
    ['a UUID in other letters', `UUID="${UUID.toUpperCase()}"`],
    ['a UUID by itself', UUID],
    ['a label', `LABEL=${LABEL}`],
    ['one of the members', path('b')],
  ])('by %s: all of its members, and no word of the label', async (_, spec) => {
    const { mount, ran } = machine({ devices: [path('sealed'), ...three, path('nothing')] });
    expect(await mount(['-o', 'noatime,verbose', spec, '/mnt'])).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
    const all = spec === path('b') ? [path('b'), path('a'), path('c')] : three;
    expect(ran).toEqual([mounted([...all].sort(), '-t', 'bcachefs', '-o', 'noatime,verbose', '/mnt')]);
  });

  test('those that are named, by their own names', async () => {
    const { mount, ran } = machine({});
    symlinkSync(three[0]!, path('by-id:0'));
    const { stdout } = await mount(['-v', `${path('by-id:0')}`, '/mnt']).then(() =>
      mount(['-v', three.join(':'), 'mnt']),
    );
    const program = mounted(three, '-v', '-t', 'bcachefs', join(process.cwd(), 'mnt'));
    expect(ran.at(-1)).toEqual(program);
    expect(stdout).toBe(`ran: ${program.join(' ')}\n`);
  });

  test('a disk that is reached in two ways: what is made of the other', async () => {
    linkSync(three[0]!, path('second-way'));
    const { mount, ran } = machine({ devices: [...three, path('second-way')], parts: [three[0]!] });
    await mount([`UUID=${UUID}`, '/mnt']);
    expect(ran).toEqual([mounted([path('second-way'), three[1]!, three[2]!], '-t', 'bcachefs', '/mnt')]);
    const other = machine({ devices: [...three, path('second-way')] });
    const refused = await other.mount([`UUID=${UUID}`, '/mnt']);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('both are member 0');
    expect(other.ran).toEqual([]);
  });

  test('an image by a loop device, several not', async () => {
    const one = machine({ images: [path('sealed')], keys: [`bcachefs:${SEALED}`] });
    await one.mount([path('sealed'), '/mnt']);
    expect(one.ran).toEqual([mounted([path('sealed')], '-t', 'bcachefs', '-o', 'loop', '/mnt')]);
    const several = machine({ images: three });
    expect((await several.mount([three.join(':'), '/mnt'])).stderr).toContain('losetup');
    expect(several.ran).toEqual([]);
  });

  test('nothing without a mountpoint', async () => {
    const { mount, ran } = machine({ devices: three });
    const { stdout } = await mount(['--json', `UUID=${UUID}`]);
    expect(JSON.parse(stdout)).toMatchObject({ filesystem: UUID, members: three, mounted: false, program: null });
    expect(ran).toEqual([]);
  });
});

describe('mount.bcachefs', () => {
  test('as mount(8) calls it', async () => {
    const { helper, ran } = machine({ devices: three });
    const words = [three[0]!, '/mnt', '-s', '-n', '-v', '-o', 'rw,degraded', '-t', 'bcachefs'];
    await helper(words);
    expect(ran).toEqual([mounted(three, '-v', '-s', '-n', '-t', 'bcachefs', '-o', 'rw,degraded', '/mnt')]);
    const { stdout } = await helper([...words, '-f']);
    expect(stdout).toMatch(/^would run: mount -i /);
    expect(ran).toHaveLength(1);
  });
});

describe('refused, and nothing is run', () => {
  test.each<[string, Machine, readonly string[], number, string]>([
    ['no Linux', { platform: 'darwin' }, [three.join(':')], 2, 'takes Linux'],
    ['no driver', { files: { '/proc/filesystems': '\text4\n' } }, [three.join(':')], 2, 'has no driver for bcachefs'],
    [
      'a UUID that is not there',
      { devices: three },
      ['UUID=99999999-2222-4333-8444-555555555555'],
      1,
      'no block device',
    ],
    ['no UUID', { devices: three }, ['UUID=x'], 1, 'is not a UUID'],
    ['another tag', { devices: three }, ['PARTUUID=12'], 1, 'expected UUID=…, LABEL=… or devices'],
    ['a label that is not there', { devices: three }, ['LABEL=other'], 1, 'with the label "other"'],
    ['another type', { devices: three }, ['-t', 'bcachefs.fuse', three[0]!], 1, 'only bcachefs'],
    [
      'a missing member',
      { devices: three.slice(1) },
      [`UUID=${UUID}`],
      32,
      'is missing; -o degraded mounts it without',
    ],
    ['two missing', { devices: three.slice(2) }, ['-o', 'degraded', `UUID=${UUID}`], 32, '-o very_degraded'],
    ['a line end', { devices: three }, ['-o', 'ro\nrw', three[0]!], 1, 'has a line end'],
    [
      'a kernel that is older',
      { files: { ...DRIVER, '/sys/module/bcachefs/parameters/version': '29\n' } },
      [three.join(':')],
      32,
      'of version inode_has_child_snapshots (1.13), and this kernel knows versions up to snapshot_trees (0.29)',
    ],
    ['no key in a keyring', { devices: [path('sealed')] }, ['-k', 'fail', path('sealed')], 32, 'is in no keyring'],
  ])('%s', async (_, given, words, exitCode, message) => {
    const { mount, ran } = machine(given);
    const done = await mount([...words, '/mnt']);
    expect(done).toMatchObject({ exitCode, stdout: '' });
    expect(done.stderr).toContain(message);
    expect(ran.filter(([program]) => program === 'mount')).toEqual([]);
  });

  test('features that only newer kernels know', async () => {
    const copies = changed(three, sb => ({ ...sb, features: [sb.features[0]! | (1n << 19n), 0n] }));
    const given = (version: number) => ({
      files: { ...DRIVER, '/sys/module/bcachefs/parameters/version': `${version}` },
    });
    const old = machine(given(1024 + 13));
    expect((await old.mount([copies.join(':'), '/mnt'])).stderr).toContain('made by newer tools');
    const newer = machine(given(1024 + 36));
    expect((await newer.mount([copies.join(':'), '/mnt'])).exitCode).toBe(0);
  });

  test('a missing member is not asked for once its state is failed, or with an option', async () => {
    const { mount } = machine({ devices: three.slice(1) });
    for (const options of ['degraded', 'degraded=yes', 'very_degraded'])
      expect((await mount(['-o', options, `UUID=${UUID}`, '/mnt'])).exitCode).toBe(0);
    expect((await mount(['-o', 'degraded=no', `UUID=${UUID}`, '/mnt'])).exitCode).toBe(32);
    const copies = changed(three, sb =>
      withMember(sb, 0, member => ({
        ...member,
        flags: withBits([member.flags], memberBits.STATE, memberStates.idOf('evacuating'))[0]!,
      })),
    );
    const { mount: again } = machine({});
    expect(await again([copies.slice(1).join(':'), '/mnt'])).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('what the mount program says, with its exit code', async () => {
    const { mount } = machine({ devices: three, mount: { status: 32, output: 'mount: /mnt: wrong fs type.\n' } });
    const done = await mount(['--json', `UUID=${UUID}`, '/mnt']);
    expect(done.exitCode).toBe(32);
    expect(JSON.parse(done.stderr)).toMatchObject({ name: 'mount_failed', exit_code: 32 });
    expect(done.stderr).toContain('wrong fs type');
  });
});

describe('an encrypted filesystem', { timeout: patient(60_000) }, () => {
  const spec = `UUID=${SEALED}`;
  const devices = [path('sealed')];

  test('gets the key of its passphrase into the keyring of the user, before it is mounted', async () => {
    const { mount, added, ran } = machine({ devices });
    expect(await mount([spec, '/mnt'], { stdin: 'pw\n' })).toMatchObject({ exitCode: 0, stderr: '' });
    // Which key that is: test/cli/passphrases.test.ts.
    expect(added.map(([keyring, description, key]) => [keyring, description, key.length])).toEqual([
      ['user', `bcachefs:${SEALED}`, 32],
    ]);
    expect(ran).toHaveLength(1);
  });

  test('with a wrong passphrase nothing is added or run', async () => {
    const { mount, added, ran } = machine({ devices });
    const done = await mount(['-k', 'stdin', spec, '/mnt'], { stdin: 'other\n' });
    expect(done).toMatchObject({ exitCode: 1, stderr: 'mount: the passphrase is wrong\n' });
    expect([added, ran]).toEqual([[], []]);
  });

  test('nothing is asked when the kernel has the key, or is to get it from elsewhere', async () => {
    const has = machine({ devices, keys: [`bcachefs:${SEALED}`] });
    expect((await has.mount([spec, '/mnt'])).exitCode).toBe(0);
    const waiting = machine({ devices });
    expect((await waiting.mount(['--key_location=wait', spec, '/mnt'])).exitCode).toBe(0);
    expect([waiting.waits(), waiting.added]).toEqual([2, []]);
  });
});

test('the examples of its help', async () => {
  const { examples = [] } = mountCommandOn(machine({}).host);
  expect(examples.length).toBeGreaterThan(2);
  for (const { command } of examples) {
    const { mount } = machine({ devices: three });
    const words = command
      .replace(/UUID=\S+/, `UUID=${UUID}`)
      .replaceAll(/\/dev\/sd[ab]/g, three[0]!)
      .split(' ')
      .map(word => (word.startsWith('LABEL=') ? `LABEL=${LABEL}` : word));
    expect(await mount(words.slice(2)), command).toMatchObject({ exitCode: 0, stderr: '' });
  }
});

test('block devices as sysfs has them: with a medium, and by the names of their nodes', () => {
  const uevent = (name: string) => `MAJOR=8\nDEVNAME=${name}\nDEVTYPE=disk\n`;
  const files: Record<string, string> = {
    '/sys/class/block/sda/uevent': uevent('sda'),
    '/sys/class/block/sda/size': '2048\n',
    '/sys/class/block/sr0/uevent': uevent('sr0'),
    '/sys/class/block/sr0/size': '0\n',
    '/sys/class/block/cciss!c0d0/uevent': uevent('cciss/c0d0'),
    '/sys/class/block/cciss!c0d0/size': '8\n',
  };
  const folders: Record<string, readonly string[]> = {
    '/sys/class/block': ['sda', 'sr0', 'cciss!c0d0'],
    '/sys/class/block/sda/holders': ['dm-0'],
  };
  expect(blockDevicesOf({ text: name => files[name], names: name => folders[name] ?? [] })).toEqual([
    { path: '/dev/sda', isPartOfAnother: true },
    { path: '/dev/cciss/c0d0', isPartOfAnother: false },
  ]);
});
