// The examples of the README, of docs/ and of the help that make filesystems, each run by a shell as it is written.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { built, root } from '../support/built.ts';
import { run, succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-examples-'));
const bin = join(folder, 'bin');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 2 ** 20;
let nr = 0;

beforeAll(() => {
  const program = built('bcachefs');
  mkdirSync(bin);
  const script = (name: string, text: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  script('bcachefs', `exec ${process.execPath} ${program} "$@"`);
  script('docker', 'exec tar -c -C rootfs .');
}, patient(120_000));

/** A folder as the examples take for granted, the disks in it as files. */
function place(): string {
  const at = join(folder, `place${nr++}`);
  mkdirSync(join(at, 'rootfs', 'etc'), { recursive: true });
  mkdirSync(join(at, 'scripts'));
  writeFileSync(join(at, 'scripts', 'bcachefs'), `#!/bin/sh\nexec ${bin}/bcachefs "$@"\n`, { mode: 0o755 });
  writeFileSync(join(at, 'rootfs', 'etc', 'motd'), 'hello\n'.repeat(1000));
  writeFileSync(join(at, 'pw'), 'secret\n');
  return at;
}

function shell(at: string, line: string) {
  const disks = [...new Set(line.match(/\/dev\/sd[a-z]/g) ?? [])];
  for (const disk of disks) {
    const path = join(at, disk.slice(5));
    writeFileSync(path, '');
    truncateSync(path, 1024 * MIB);
  }
  const { status, stderr } = spawnSync('bash', ['--norc', '-o', 'pipefail', '-c', line.replaceAll('/dev/', `${at}/`)], {
    cwd: at,
    encoding: 'utf8',
    env: { PATH: `${bin}:${process.env.PATH}`, TMPDIR: folder },
  });
  return { line, status, stderr };
}

const done = (line: string) => ({ line, status: 0, stderr: '' });

const page = (...names: string[]): string => readFileSync(join(root, ...names), 'utf8');

test.each(['format.md', 'image-create.md', 'image-update.md'])(
  'docs/commands/%s',
  name => {
    const examples = [...page('docs', 'commands', name).matchAll(/^```sh\n(.+)\n```$/gm)].map(([, line]) => line!);
    expect(examples.length).toBeGreaterThan(2);
    for (const line of examples) {
      const at = place();
      if (name === 'image-update.md') {
        const before =
          'bcachefs image create -q --source=rootfs root.img; cp root.img web.img; echo more >> rootfs/etc/motd';
        expect(shell(at, before)).toEqual(done(before));
      }
      expect(shell(at, line)).toEqual(done(line));
    }
  },
  patient(120_000),
);

test(
  'README: every line of a console block that is about the program',
  () => {
    const blocks = [...page('README.md').matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block!);
    const lines = blocks.flatMap(block => [...block.matchAll(/^\$ (.*)$/gm)].map(([, line]) => line!));
    const isOurs = (line: string) => line.startsWith('scripts/bcachefs ');
    expect(lines.filter(isOurs).length).toBeGreaterThan(5);
    const at = place();
    // jq may not be there; what it is given is.
    for (const line of lines.filter(isOurs).map(each => each.replace(/\| jq .*$/, '> /dev/null'))) {
      const what = line.replaceAll('/dev/null', 'null');
      expect(shell(at, what)).toEqual(done(what));
    }
  },
  patient(120_000),
);

describe('--fs_size before several files', () => {
  const images = () => ['a', 'b', 'c'].map(name => join(folder, `${name}${nr++}.img`));

  test('makes each that does not exist yet', async () => {
    const [a, b, c] = images() as [string, string, string];
    await succeed('format', [
      '--fs_size=64M',
      '--replicas=2',
      '--label=ssd.a',
      a,
      '--label=hdd.b',
      b,
      '--fs_size=96M',
      c,
    ]);
    expect([a, b, c].map(path => statSync(path).size / MIB)).toEqual([64, 64, 96]);
  });

  test('leaves those that exist as large as they are, but for the next one', async () => {
    const [a, b, c] = images() as [string, string, string];
    for (const path of [b, c]) writeFileSync(path, '');
    truncateSync(b, 128 * MIB);
    truncateSync(c, 128 * MIB);
    const { stdout } = await run('format', ['--json', '--fs_size=64M', a, b, '--fs_size=96M', c]);
    const { devices } = JSON.parse(stdout);
    expect(devices.map(({ buckets, bucket_size }: Record<string, number>) => (buckets! * bucket_size!) / MIB)).toEqual([
      64, 128, 96,
    ]);
  });

  test('a file that does not exist and has no size before it is refused, and none is made', async () => {
    const [a, b] = images() as [string, string];
    expect(await run('format', [a, '--fs_size=64M', b])).toMatchObject({ exitCode: 5 });
    expect(() => statSync(b)).toThrow('ENOENT');
  });
});
