// Every example of every command's help, run by a shell as it is written, in a folder that has what the examples take for granted: images,
// disks (as files), a directory, passphrases. What makes filesystems is in test/format/examples.test.ts.

import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listedEntries } from '@bcachefs-ts/command';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { built } from '../support/built.ts';
import { whyNoE2fsprogs } from '../support/ext4.ts';
import { copySparse } from '../support/fixtures.ts';
import { isLong, someOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { isWhole } from '../support/whole-run.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-examples-'));
const bin = join(folder, 'bin');
const world = join(folder, 'world');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The passphrase of what is encrypted here comes from the environment, a new one from standard input. */
function sh(cwd: string, line: string) {
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-o', 'pipefail', '-c', line], {
    cwd,
    encoding: 'utf8',
    env: {
      PATH: `${bin}:${process.env.PATH}:/usr/sbin:/sbin`,
      HOME: cwd,
      TMPDIR: folder,
      BCACHEFS_PASSPHRASE: 'secret',
    },
    input: 'another\n',
    maxBuffer: 64 << 20,
  });
  return { line, status, stdout, stderr };
}

function make(line: string): void {
  expect(sh(world, line)).toMatchObject({ status: 0 });
}

beforeAll(() => {
  mkdirSync(bin);
  mkdirSync(join(world, 'tree/etc'), { recursive: true });
  const script = (name: string, text: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  script('bcachefs', `exec ${process.execPath} ${built('bcachefs')} "$@"`);
  // What machines may lack: that it is given something is what counts.
  for (const name of ['jq', 'zstd', 'hostname']) script(name, name === 'hostname' ? 'echo host' : 'cat >/dev/null');

  const files = ['etc/fstab', 'etc/passwd', 'etc/machine-id', 'var/log/syslog', 'var/cache/x', 'tmp/x', 'home/anna/x'];
  for (const file of [...files, 'src/a.c', 'src/a.o', 'a', 'b', 'c', 'swap', 'file', 'old/x']) {
    mkdirSync(join(world, 'tree', file, '..'), { recursive: true });
    writeFileSync(join(world, 'tree', file), `${file}\n`.repeat(100));
  }
  make('tar -cf tree/backup.tar tree/etc');
  mkdirSync(join(world, 'rootfs'));
  writeFileSync(join(world, 'rootfs/f'), 'f');
  writeFileSync(join(world, 'fstab'), 'fstab');
  writeFileSync(join(world, 'pw'), 'secret\n');
  writeFileSync(join(world, 'old'), 'secret\n');
  writeFileSync(join(world, 'new'), 'another\n');
  const fill = '--source=tree';
  make(`bcachefs format -q ${fill} --fs_size=64M disk.img`);
  make('bcachefs mkdir -q disk.img snapshots home2');
  make('bcachefs subvolume create -q disk.img snap && bcachefs put -q disk.img fstab snap/file');
  make('bcachefs subvolume snapshot -q disk.img / snapshots/monday');
  for (const names of [
    ['a.img', 'b.img'],
    ['sda.img', 'sdb.img'],
    ['sda', 'sdb', 'sdc'],
  ]) {
    make(`bcachefs format -q ${fill} --replicas=2 ${names.map(name => `--fs_size=96M ${name}`).join(' ')}`);
  }
  make('bcachefs format -q --fs_size=64M empty.img');
  const encrypted = 'bcachefs format -q --encrypted --passphrase_file=old --fs_size=64M';
  make(`${encrypted} encrypted.img && ${encrypted} encrypted.0 encrypted.1`);
  make('bcachefs dump -q -o broken disk.img');
  make('bcachefs dump -q -o pair a.img b.img');
}, patient(120_000));

/** What an example takes for granted besides the world, by words in it. */
const before: readonly (readonly [words: string, line: string])[] = [
  ['bcachefs put', 'cp empty.img disk.img; bcachefs mkdir -q disk.img etc'],
  ['bcachefs mkdir', 'cp empty.img disk.img'],
  ['bcachefs mv --no_replace', 'cp empty.img disk.img; bcachefs mkdir -qp disk.img home/anna'],
  ['bcachefs subvolume create', 'cp empty.img disk.img'],
  ['bcachefs subvolume snapshot', 'cp empty.img disk.img; bcachefs subvolume create -q disk.img home'],
  ['bcachefs dump', 'rm *.qcow2'],
  ['bcachefs device add', 'truncate -s 64M new.img nvme0n1; cp disk.img sda'],
  ['bcachefs device replace', 'cp a.img sda; cp b.img sdb; rm sdc; truncate -s 128M new.img sdc'],
  [
    'bcachefs device replace --allow_missing',
    'rm -f sd*; bcachefs format -q --source=tree --replicas=2 --fs_size=96M sda --fs_size=96M sdb --fs_size=96M sdc; ' +
      'rm sdc; truncate -s 128M sdd',
  ],
  ['bcachefs migrate', 'truncate -s 65M disk.ext4; mke2fs -q -t ext4 -d tree disk.ext4; cp disk.ext4 other.ext4'],
  ['migrated.img', 'cp disk.ext4 migrated.img; bcachefs migrate -qy migrated.img'],
  ['bcachefs device resync', 'cp a.img sda; cp b.img sdb'],
  ['bcachefs get disk.img', 'rm fstab'],
  ['bcachefs set-fs-option', 'cp a.img sda; cp b.img sdb; cp disk.img copy.img'],
  ['bcachefs completions fish', 'mkdir -p .config/fish/completions'],
  ['bcachefs set-passphrase', 'mv encrypted.img disk.img; cp encrypted.0 sda; cp encrypted.1 sdb'],
  ['bcachefs remove-passphrase', 'cp encrypted.img sda'],
  ['rm.undo disk.img', 'bcachefs rm -q --undo_file=rm.undo -r disk.img home/anna'],
  ['bcachefs undo mkfs.undo', 'bcachefs format -qf --undo_file=mkfs.undo sdb sdc'],
  ['bcachefs fsck --apply', 'bcachefs fsck --plan=plan.jsonl disk.img'],
  ['bcachefs unlock', 'cp encrypted.img sda; mv encrypted.img disk.img'],
];

/**
 * Those of mount take a kernel with a driver: test/device/mount.test.ts has a machine for them. explore takes a terminal: test/explore/explore.test.ts
 * has one. view runs until it is stopped: test/viewer/view.test.ts. migrate-superblock is for what nothing here makes.
 */
const DONE_ELSEWHERE = ['explore', 'format', 'image create', 'image update', 'migrate-superblock', 'mount', 'view'];
if (whyNoE2fsprogs !== undefined) console.warn(`examples of migrate skipped: ${whyNoE2fsprogs}`);
const isLeftOut = (words: readonly string[]): boolean =>
  DONE_ELSEWHERE.includes(words.join(' ')) || (words[0] === 'migrate' && whyNoE2fsprogs !== undefined);

const all = [...listedEntries(bcachefs.commands)]
  .filter(({ words }) => !isLeftOut(words))
  .map(({ words, entry }) => ({ name: words.join(' '), entry }));

// Each starts programs, which is most of what it takes.
describe.each(isWhole && !isLong ? someOf('examples', all) : all)('bcachefs $name', ({ entry }) => {
  test('the examples of its help', { timeout: patient(60_000) }, async () => {
    for (const { command } of (await entry.load()).examples ?? []) {
      const at = mkdtempSync(join(folder, 'place-'));
      const first = before.filter(([words]) => command.includes(words)).map(([, line]) => line);
      const words = [command, ...first].join(' ');
      for (const name of readdirSync(world)) {
        const [from, to] = [join(world, name), join(at, name)];
        if (!/\.img$|^sd[a-c]$|^encrypted/.test(name)) cpSync(from, to, { recursive: true });
        else if (words.includes(name) || /[*?[{]/.test(words)) copySparse(from, to);
      }
      for (const line of first) sh(at, line);
      const line = command.replaceAll(/\/(?:tmp\/|dev\/(?=sd|nvme))/g, `${at}/`);
      const ran = sh(at, line);
      expect({ ...ran, stdout: '' }, ran.stderr).toMatchObject({ status: 0 });
      rmSync(at, { recursive: true });
    }
  });
});
