// fs usage: its counters against a recount of everything that they count, its text, and what it says of filesystems that are incomplete.
// What the kernel makes of the same filesystems is in test/kernel/usage.test.ts.

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { type Filesystem, type FsUsage, loadChecksums, openFilesystem, readUsage } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { run, succeed } from '../support/cli.ts';
import { fixture, fixtureNames, whyNoFixtures } from '../support/fixtures.ts';
import { testImages, withTestImage } from '../support/images.ts';
import {
  btreeName,
  compressionName,
  deviceName,
  INODES,
  recount,
  replicasName,
  reservedName,
  type Sums,
} from './recount.ts';

if (whyNoFixtures !== undefined) console.warn(`fs usage of reference images skipped: ${whyNoFixtures}`);

beforeAll(() => loadChecksums());

/** The counters under the names of a recount. */
function counted({ counters }: FsUsage): Sums {
  const sums = new Map<string, readonly bigint[]>();
  for (const { counted: what, values } of counters) {
    const first = values.slice(0, 1);
    if (what.type === 'replicas') {
      sums.set(replicasName(what.entry.data_type, what.entry.nr_required, what.entry.devs), first);
    } else if (what.type === 'dev_data_type') sums.set(deviceName(what.dev, what.data_type), values);
    else if (what.type === 'compression') sums.set(compressionName(what.compression_type), values);
    else if (what.type === 'btree') sums.set(btreeName(what.id), first);
    else if (what.type === 'persistent_reserved') sums.set(reservedName(what.nr_replicas), first);
    else if (what.type === 'nr_inodes') sums.set(INODES, first);
  }
  return new Map([...sums].sort());
}

function usageOf(filesystem: Filesystem): FsUsage {
  return readUsage(filesystem, damage => {
    throw damage;
  });
}

function opened<T>(images: readonly string[], passphrase: string | null | undefined, use: (fs: Filesystem) => T): T {
  const bytes = passphrase == null ? undefined : new TextEncoder().encode(passphrase);
  const filesystem = openFilesystem(images, { passphrase: bytes });
  try {
    return use(filesystem);
  } finally {
    filesystem.close();
  }
}

function expectSound(filesystem: Filesystem): void {
  const usage = usageOf(filesystem);
  const expected = new Map(recount(filesystem));
  if (usage.from === 'usage entries') {
    // Kept by accounting only.
    for (const name of expected.keys()) if (/^(btree|compression) /.test(name)) expected.delete(name);
  }
  expect(counted(usage)).toEqual(expected);
  expect(expected.size).toBeGreaterThan(usage.from === 'usage entries' ? 5 : 10);
  for (const { buckets, types } of usage.devices) {
    // Every bucket is of one type; what is unstriped is counted beside.
    const sum = types.reduce((sum, type) => (type.dataType === 10 ? sum : sum + type.buckets), 0n);
    expect(sum).toBe(buckets);
  }
  expect(usage.usedSectors).toBeLessThan(usage.capacitySectors);
}

describe('counters are what a recount of all keys comes to', () => {
  test.each(testImages.map(({ name, passphrase }) => [name, passphrase] as const))('%s', (name, passphrase) =>
    withTestImage(name, async images => opened(images, passphrase, expectSound)),
  );

  // Those whose counters come from a crash or a fault, or are missing, are below.
  const sound = fixtureNames().filter(name => !/^(dmg|fresh.*noinit|sb-)/.test(name) && !/^fresh/.test(name));
  test.skipIf(whyNoFixtures !== undefined).each(sound.length > 0 ? sound : ['none'])('%s', name => {
    const { images, json } = fixture(name);
    opened(images, json.passphrase, expectSound);
  });

  test.skipIf(whyNoFixtures !== undefined)('and not, where alloc keys were changed and the counters were not', () => {
    opened(fixture('dmg-alloc').images, null, filesystem => {
      const usage = counted(usageOf(filesystem));
      const again = recount(filesystem);
      expect(usage.get('dev 0 user')).toEqual([15n, 3000n, 840n]);
      expect(again.get('dev 0 user')).toEqual([14n, 2491n, 1093n]);
      const different = [...usage].filter(([name, values]) => `${again.get(name)}` !== `${values}`);
      expect(different.map(([name]) => name)).toEqual(['dev 0 user']);
      expect(again.get('dev 0 need_discard')).toEqual([1n, 0n, 0n]);
    });
  });
});

describe('text', () => {
  test('what is printed without options', () =>
    withTestImage('basic', async ([image = '']) => {
      expect(await succeed('fs usage', [image])).toMatchInlineSnapshot(`
        "Filesystem: f51f9d0c-f950-4a13-98ec-f8bd38787ce1
        Size:                        6193152
        Used:                        1055744
        Online reserved:                   0

        Data by durability desired and amount degraded:
                  undegraded
        1x:          1005568
        reserved:      49152

        Device label                   Device      State          Size      Used  Use%
        (no label) (device 0):         basic.img   rw          8388608   1533952   18%
        "
      `);
    }));

  test('all fields, for people', () =>
    withTestImage('multi', async images => {
      expect(await succeed('fs usage', ['-ha', ...images])).toMatchInlineSnapshot(`
        "Filesystem: 54bb44e5-2386-4620-a354-4c73a54c682b
        Size:                          23.6M
        Used:                          2.45M
        Online reserved:                   0

        Data by durability desired and amount degraded:
                  undegraded
        2x:            2.36M
        reserved:      48.0k

        Data type      Required/total  Durability    Devices
        reserved:      1/2                    [] 48.0k
        btree:         1/2             2             [multi.dev0.img multi.dev1.img] 1.25M
        user:          1/2             2             [multi.dev0.img multi.dev1.img] 1.11M

        Compression:
        type              compressed    uncompressed     average extent size
        zstd                    116k            266k                   14.0k
        incompressible         1.14M           1.14M                   21.7k

        Btree usage:
        extents:               64.0k
        inodes:                 192k
        dirents:               64.0k
        xattrs:                64.0k
        alloc:                 64.0k
        reflink:               64.0k
        subvolumes:            64.0k
        snapshots:             64.0k
        lru:                   64.0k
        freespace:             64.0k
        need_discard:          64.0k
        backpointers:          64.0k
        bucket_gens:           64.0k
        snapshot_trees:        64.0k
        deleted_inodes:        64.0k
        logged_ops:            64.0k
        subvolume_children:    64.0k
        accounting:            64.0k

        hdd.slow (device 1):  multi.dev1.img              rw    13%
                                        data         buckets    fragmented
          free:                        13.7M             440              
          sb:                           772k              25         28.0k
          journal:                      256k               8              
          btree:                        640k              20              
          user:                         571k              19         37.0k
          cached:                          0               0              
          parity:                          0               0              
          stripe:                          0               0              
          need_gc_gens:                    0               0              
          need_discard:                    0               0              
          unstriped:                       0               0              
          capacity:                    16.0M             512
          bucket size:                 32.0k

        ssd.fast (device 0):  multi.dev0.img              rw    13%
                                        data         buckets    fragmented
          free:                        13.7M             440              
          sb:                           772k              25         28.0k
          journal:                      256k               8              
          btree:                        640k              20              
          user:                         571k              19         37.0k
          cached:                          0               0              
          parity:                          0               0              
          stripe:                          0               0              
          need_gc_gens:                    0               0              
          need_discard:                    0               0              
          unstriped:                       0               0              
          capacity:                    16.0M             512
          bucket size:                 32.0k

        "
      `);
    }));

  test('fields by name', () =>
    withTestImage('multi', async images => {
      const text = await succeed('fs usage', ['--fields=btree,compression', images.join(':')]);
      const headings = text.split('\n').filter(line => /^[A-Z]/.test(line));
      expect(headings.map(line => line.split(/[: ]/)[0])).toEqual([
        ...['Filesystem', 'Size', 'Used', 'Online', 'Data', 'Compression', 'Btree', 'Device'],
      ]);
      expect(await run('fs usage', ['--fields=btree,sizes', ...images])).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('--fields: found "sizes", expected some of replicas, btree, compression'),
      });
    }));

  test('-h is not help here; --help is', () =>
    withTestImage('basic', async ([image = '']) => {
      const human = await runCli(bcachefs, ['fs', 'usage', '-h', image]);
      expect(human.stdout).toMatch(/^Size: +5\.90M$/m);
      expect((await runCli(bcachefs, ['fs', 'usage', '--help', image])).stdout).toContain('Usage: bcachefs fs usage');
      expect((await runCli(bcachefs, ['fs', 'usage', image, '-h'])).stdout).toBe(human.stdout);
      expect((await runCli(bcachefs, ['fs', '-h'])).stdout).toMatch(/^ *usage +Print how/m);
      expect((await runCli(bcachefs, ['list', '-h'])).stdout).toContain('Usage: bcachefs list');
    }));

  test('each of several filesystems', () =>
    withTestImage('multi', images =>
      withTestImage('basic', async basic => {
        const text = await succeed('fs usage', [images[1]!, ...basic, images[0]!]);
        const [first, second, ...rest] = text.split(/^(?=Filesystem: )/m);
        expect(rest).toEqual([]);
        expect(first).toBe(await succeed('fs usage', images));
        expect(second).toBe(await succeed('fs usage', basic));
      }),
    ));

  test('a missing member is degraded data, and is reported unless that is known', () =>
    withTestImage('multi', async ([image = '']) => {
      const { exitCode, stdout, stderr } = await run('fs usage', ['--fields=replicas', image]);
      expect(exitCode).toBe(0);
      expect(stderr).toMatch(
        /warning: of 2 members, member 1 \(uuid [0-9a-f-]{36}, label hdd\.slow\) is missing; what is only there cannot be read$/m,
      );
      expect(stdout).toMatch(/^ +undegraded +-1x$/m);
      expect(stdout).toMatch(/^2x: +2480128$/m);
      expect(stdout).toMatch(/^btree: +1\/2 +2 +\[multi\.dev0\.img \(offline dev 1\)\] 1310720$/m);
      // As much as the member that is there can hold.
      expect(stdout).toMatch(/^Size: +12386304$/m);
      expect((await run('fs usage', ['--degraded', image])).stderr).toBe('');
    }));

  test('a filesystem that no kernel has completed', () =>
    withTestImage('basic', async ([image = '']) => {
      const fresh = join(dirname(image), 'fresh.img');
      await succeed('format', ['--no_initialize', '--fs_size=16M', fresh]);
      const { exitCode, stdout, stderr } = await run('fs usage', ['-a', fresh]);
      expect(exitCode).toBe(0);
      expect(stderr).toMatch(/was never mounted: a kernel begins to count at the first mount$/m);
      expect(stdout).toMatch(/^Used: +0$/m);
      expect(stdout).toMatch(/^ {2}capacity: +16777216 +512$/m);
    }));

  test.skipIf(whyNoFixtures !== undefined)('a filesystem of 1.3, which counts in the journal', async () => {
    expect(await succeed('fs usage', ['--human_readable', ...fixture('u103-2dev').images])).toMatchInlineSnapshot(`
      "Filesystem: b247223e-555a-4a72-a258-29aaf129f708
      Size:                          94.5M
      Used:                          12.3M
      Online reserved:                   0

      Data type      Required/total  Durability    Devices
      btree:         1/2             2             [u103-2dev.dev0.img u103-2dev.dev1.img] 2.75M
      user:          1/1             1             [u103-2dev.dev0.img]                     692k
      user:          1/1             1             [u103-2dev.dev1.img]                     640k

      Device label                   Device             State          Size      Used  Use%
      x.a (device 0):                u103-2dev.dev0.img rw            64.0M     6.05M   09%
      x.b (device 1):                u103-2dev.dev1.img rw            64.0M     6.00M   09%
      "
    `);
  });
});

test('what cannot be read is reported, and the exit code says so', () =>
  withTestImage('basic', async ([image = '']) => {
    const [, line = ''] = (await succeed('list', ['--json', '--mode=nodes-ondisk', '-b', 'accounting', image])).split(
      '\n',
    );
    const { sector } = JSON.parse(line);
    const bytes = readFileSync(image);
    bytes[512 * sector + 40]! ^= 1;
    writeFileSync(image, bytes);
    const { exitCode, stdout, stderr } = await run('fs usage', [image]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`accounting SPOS_MAX level 0, ${image} sector ${sector}: `);
    expect(stderr).toContain('not all counters could be read');
    expect(stdout).toContain('Filesystem: ');
  }));
