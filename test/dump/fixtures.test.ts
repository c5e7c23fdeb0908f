// Every reference image is dumped. Our readers see the same filesystem in the dump as in the original, in every btree; in the image that
// undump makes the superblocks and the journal are the same to the last line; nothing of the files is in it; QEMU finds no fault with
// the dump and reads the same bytes from it.

import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import {
  type Filesystem,
  keyKind,
  keyTypes,
  listItems,
  loadChecksums,
  openFilesystem,
  POS_MIN,
  SPOS_MAX,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { type Fixture, fixture, fixtureNames, someFixtures, whyNoFixtures } from '../support/fixtures.ts';
import { mustRun, qemuComplaints, whyNo7zip, whyNoQemuImg } from '../support/qcow2-tools.ts';

for (const why of [whyNoFixtures, whyNoQemuImg, whyNo7zip])
  if (why !== undefined) console.warn(`dump fixtures: ${why}`);

/** Of these an interior node or a root is lost: what is below it cannot be found. Their dumps say so. */
const INCOMPLETE = new Set(['dmg-root']);

/** 7-Zip is asked about these only: it reads every byte of the disk. */
const ASK_7ZIP = new Set(['basic', 'unclean-busy', 'multi3-r2']);

const EXTENT_TYPES = ['extent', 'reflink_v'].map(name => keyTypes.idOf(name as 'extent'));

function open(images: readonly string[], { json }: Fixture): Filesystem {
  const passphrase = json.passphrase === null ? undefined : new TextEncoder().encode(json.passphrase);
  return openFilesystem(images, { passphrase });
}

/** All of a filesystem's btrees, as text; members are called as in `named`. */
function* listing(filesystem: Filesystem, named: Filesystem): Generator<string> {
  const context = named.textContext();
  for (const id of [...filesystem.replay.roots.keys()].toSorted((a, b) => a - b)) {
    const btree = filesystem.btree(id);
    yield `btree ${btree.name}`;
    for (let level = 0; level < Math.max(1, btree.depth); level++) {
      const request = { mode: 'keys', btree, type: undefined, level, from: POS_MIN, to: SPOS_MAX, context } as const;
      const damage: string[] = [];
      for (const item of listItems(filesystem, request, ({ message }) => damage.push(message))) yield item.text();
      for (const { device } of filesystem.set.members) {
        yield* damage.map(message => message.replaceAll(device.name, 'MEMBER'));
      }
    }
  }
}

function expectSameListing(found: Filesystem, expected: Filesystem): number {
  const theirs = listing(expected, expected);
  let count = 0;
  for (const line of listing(found, expected)) {
    const { value } = theirs.next();
    if (value !== line) expect(line).toBe(value);
    count++;
  }
  expect(theirs.next().done).toBe(true);
  return count;
}

/** As much of an extent's entry as is looked at. */
type Entry = { readonly type: 'ptr'; readonly dev: number; readonly offset: number } | { readonly type: 'other' };

/** Where the contents of files begin, by member: sectors. */
function dataSectors(filesystem: Filesystem): Map<number, Set<number>> {
  const found = new Map(filesystem.set.members.map(({ sb }) => [sb.dev_idx, new Set<number>()]));
  for (const name of ['extents', 'reflink'] as const) {
    for (const key of filesystem.btree(name).keys({ onDamage() {} })) {
      if (!EXTENT_TYPES.includes(key.k.type)) continue;
      const value = keyKind(key.k.type)?.decode(key.value) as { readonly entries: readonly Entry[] };
      for (const entry of value.entries) if (entry.type === 'ptr') found.get(entry.dev)?.add(entry.offset);
    }
  }
  return found;
}

describe.skipIf(whyNoFixtures !== undefined)('dumps of the reference images', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-dump-'));
  beforeAll(async () => await loadChecksums());
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(someFixtures('reference images dumped in full', fixtureNames()))('%s', async name => {
    const image = fixture(name);
    const { images } = image;
    const env = image.json.passphrase === null ? {} : { BCACHEFS_PASSPHRASE: image.json.passphrase };
    const here = join(folder, name);
    mkdirSync(here);
    try {
      const dumped = await run('dump', ['--json', '--noexcl', '-o', join(here, 'dump'), ...images], { env });
      expect(dumped.exitCode, dumped.stderr).toBe(INCOMPLETE.has(name) ? 1 : 0);
      const result = JSON.parse(dumped.stdout) as {
        readonly files: readonly { readonly path: string; readonly device: string; readonly dev: number }[];
      };
      expect(result.files.map(({ path }) => path)).toEqual(
        images.length === 1 ? [join(here, 'dump.qcow2')] : images.map((_, i) => join(here, `dump.${i}.qcow2`)),
      );

      const restored = new Map<number, string>();
      for (const { path, device, dev } of result.files) {
        const target = join(here, basename(device));
        await succeed('undump', ['-o', target, path]);
        restored.set(dev, target);
        if (whyNoQemuImg === undefined) {
          expect(qemuComplaints(path)).toEqual([]);
          const converted = join(here, 'converted');
          mustRun('qemu-img', 'convert', '-O', 'raw', path, converted);
          mustRun('cmp', converted, target);
          rmSync(converted);
        }
        if (whyNo7zip === undefined && ASK_7ZIP.has(name)) {
          mustRun('7zz', 't', path);
          mustRun('sh', '-c', '7zz e -so "$0" | cmp - "$1"', path, target);
        }
      }
      for (const { device, dev } of result.files) {
        const there = restored.get(dev) ?? '';
        const known = images.find(path => path === device) ?? '';
        expect(await outputOf('show-super', there)).toEqual(await outputOf('show-super', known));
      }
      const order = result.files.map(({ dev }) => restored.get(dev)!);
      const journal = await run('list_journal', ['--all', '--blacklisted', ...order], { env });
      const expected = await run(
        'list_journal',
        ['--all', '--blacklisted', ...result.files.map(({ device }) => device)],
        { env },
      );
      expect(withoutFolders(journal.stdout)).toBe(withoutFolders(expected.stdout));
      expect(journal.exitCode).toBe(expected.exitCode);

      const original = open(images, image);
      const copies = open(
        result.files.map(({ path }) => path),
        image,
      );
      try {
        expect(copies.replay.from).toBe(original.replay.from);
        const lines = expectSameListing(copies, original);
        if (original.replay.from !== 'uninitialized') expect(lines).toBeGreaterThan(20);
        for (const [dev, sectors] of dataSectors(original)) {
          expectZero(restored.get(dev) ?? '', sectors, original);
        }
      } finally {
        copies.close();
        original.close();
      }
    } finally {
      rmSync(here, { recursive: true, force: true });
    }
  });

  async function outputOf(command: 'show-super', path: string): Promise<object> {
    const { stdout, stderr, exitCode } = await run(command, ['--layout', path]);
    return { stdout: withoutFolders(stdout), stderr: withoutFolders(stderr), exitCode };
  }
});

const withoutFolders = (text: string) => text.replaceAll(/\/\S*\//g, '');

/** No byte of a file's contents: these sectors are zero. Damaged images point to metadata with extents too. */
function expectZero(path: string, sectors: ReadonlySet<number>, { sb }: Filesystem): void {
  expect(existsSync(path)).toBe(true);
  const fd = openSync(path, 'r');
  try {
    const sector = new Uint8Array(512);
    for (const nr of sectors) {
      readSync(fd, sector, 0, sector.length, 512 * nr);
      if (sector.some(byte => byte !== 0)) expect.fail(`sector ${nr} of ${path} (${sb.user_uuid}) has contents`);
    }
  } finally {
    closeSync(fd);
  }
}
