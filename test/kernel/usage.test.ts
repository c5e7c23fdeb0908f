// fs usage against the kernel's own numbers: each filesystem is counted from its image, then mounted read-only as it is, and statfs, the
// tables of data types of each member and every counter that the kernel has in memory must be what was counted.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, openFilesystem, readUsage } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { counterLine } from '../support/counter-lines.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { caseNamed, type Disk, type RunResult, resultOf, runInKernel, type Step, unlockKey } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

interface Mountable {
  readonly name: string;
  readonly images: readonly string[];
  readonly passphrase?: string | undefined;
}

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-usage-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Mounted read-only, so that nothing is moved or counted in the meantime. */
function lookSteps(disks: readonly string[], { images: [image], passphrase }: Mountable): readonly Step[] {
  const key = passphrase === undefined ? {} : { key: unlockKey(image!, passphrase) };
  return [
    { do: 'mount', disks, readOnly: true, options: 'nochanges', ...key },
    {
      do: 'sh',
      as: 'usage',
      script: `stat -f -c 'statfs %S %b %f %a' /mnt
        cd /sys/fs/bcachefs/*-*/
        sed 's/^/base /' internal/usage_base
        sed 's/^/counter /' internal/accounting
        for dev in dev-*; do sed "s/^/$dev /" $dev/alloc_debug; done`,
    },
    { do: 'umount' },
  ];
}

async function look(mountables: readonly Mountable[]): Promise<RunResult> {
  const disks: Disk[] = [];
  const cases = mountables.map(mountable => {
    const names = mountable.images.map((path, i) => {
      const name = `${mountable.name}.${i}`;
      disks.push({ name, path, throwaway: true });
      return name;
    });
    return { name: mountable.name, steps: lookSteps(names, mountable) };
  });
  return await runInKernel({ disks, cases });
}

/** What the kernel says, line by line, and what we have counted, in the same lines. */
function compare(result: RunResult, { name, images, passphrase }: Mountable): { found: string[]; expected: string[] } {
  const lines = resultOf(caseNamed(result, name), 'usage').stdout.split('\n');
  const filesystem = openFilesystem(images, {
    ...(passphrase === undefined ? {} : { passphrase: new TextEncoder().encode(passphrase) }),
  });
  try {
    const usage = readUsage(filesystem, damage => {
      throw damage;
    });
    const statfs = /^statfs (\d+) (\d+) (\d+) (\d+)$/m.exec(lines.join('\n'))!.slice(1).map(BigInt);
    const blockSectors = statfs[0]! / 512n;
    const shown = [
      ...statfs.slice(1).map(blocks => `statfs ${blocks}`),
      ...lines.flatMap(line => {
        const [, hidden] = /^base hidden:\s+(\d+)$/.exec(line) ?? [];
        const [, dev, type, ...counts] = /^dev-(\d+) (\w+)\s+(\d+)\s+(\d+)\s+(\d+)$/.exec(line) ?? [];
        const [, counter] = /^counter (.*)$/.exec(line) ?? [];
        if (hidden !== undefined) return [`hidden ${hidden}`];
        if (dev !== undefined) return [`dev ${dev} ${type} ${counts.join(' ')}`];
        // A counter that has come to 0 may still be listed.
        return counter === undefined || /: (0 ?)+$/.test(counter) ? [] : [`counter ${counter}`];
      }),
    ];
    const { capacitySectors, freeSectors, availableSectors } = usage.statfs;
    const counted = [
      ...[capacitySectors, freeSectors, availableSectors].map(sectors => `statfs ${sectors / blockSectors}`),
      `hidden ${usage.hiddenSectors}`,
      ...usage.devices.flatMap(({ index, types }) =>
        types.map(
          type => `dev ${index} ${typeNames[type.dataType]} ${type.buckets} ${type.sectors} ${type.fragmentedSectors}`,
        ),
      ),
      ...usage.counters.map(counter => `counter ${counterLine(counter)}`),
    ];
    return { found: shown.sort(), expected: counted.sort() };
  } finally {
    filesystem.close();
  }
}

const typeNames = 'free sb journal btree user cached parity stripe need_gc_gens need_discard unstriped'.split(' ');

kernelSuite('fs usage', () => {
  beforeAll(() => loadChecksums());

  test('filesystems that we made and a kernel filled: several members, a cache, odd buckets, reserves', async () => {
    const paths = (name: string, count: number) =>
      Array.from({ length: count }, (_, i) => join(folder, `${name}${i}.img`));
    const made: readonly (Mountable & { readonly options: readonly string[] })[] = [
      { name: 'plain', images: paths('plain', 1), options: ['--fs_size=96M', 'DEV0'] },
      {
        name: 'large',
        images: paths('large', 1),
        options: ['--fs_size=4G', '--bucket_size=1M', '--gc_reserve_percent=20', 'DEV0'],
      },
      {
        name: 'reserve',
        images: paths('reserve', 1),
        options: ['--fs_size=1G', '--gc_reserve_bytes=300M', '--bucket_size=192k', 'DEV0'],
      },
      {
        name: 'four',
        images: paths('four', 4),
        options: [
          ...['--replicas=2', '--compression=lz4', '--foreground_target=ssd', '--promote_target=cache'],
          ...[
            '--label=ssd.a',
            '--fs_size=96M',
            'DEV0',
            '--label=ssd.b',
            '--fs_size=160M',
            '--bucket_size=256k',
            'DEV1',
          ],
          ...['--label=hdd.c', '--fs_size=256M', 'DEV2', '--label=cache.d', '--durability=0', '--fs_size=144M', 'DEV3'],
        ],
      },
    ];
    for (const { images, options } of made) {
      await succeed(
        'format',
        options.map(option => option.replace(/^DEV(\d)$/, (_, nr: string) => images[Number(nr)]!)),
      );
    }
    const disks = made.flatMap(({ name, images }) => images.map((path, i) => ({ name: `${name}.${i}`, path })));
    await runInKernel({
      disks,
      cases: made.map(({ name, images }) => ({
        name,
        steps: [
          { do: 'mount', disks: images.map((_, i) => `${name}.${i}`) },
          { do: 'fill', sizeBytes: 4 * MIB, subvolumes: true },
          { do: 'fallocate', path: 'promised', mode: 'allocate', offset: 0, length: 3 * MIB },
          { do: 'umount' },
        ],
      })),
    });
    const result = await look(made);
    for (const each of made) {
      const { found, expected } = compare(result, each);
      expect(found, each.name).toEqual(expected);
      expect(found.filter(line => line.startsWith('counter')).length, each.name).toBeGreaterThan(20);
    }
  });

  test.skipIf(whyNoFixtures !== undefined)('reference images', async () => {
    const names = [
      ...['basic', 'many', 'compress-gzip', 'compress-background', 'geom-bs512', 'geom-bucket1m', 'encrypted'],
      ...['multi2', 'multi3-r2', 'multi4-tiers', 'nocow', 'quota', 'reflink', 'snapshots'],
    ];
    const images = names.map((name): Mountable => {
      const { images, json } = fixture(name);
      return { name, images, passphrase: json.passphrase ?? undefined };
    });
    const result = await look(images);
    for (const each of images) {
      const { found, expected } = compare(result, each);
      expect(found, each.name).toEqual(expected);
    }
  });
});
