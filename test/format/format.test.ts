// format as its users meet it: what it makes, what it refuses and in which words, and that a refusal leaves everything alone.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { masterKey, openDevice, openMembers } from '@bcachefs-ts/core/engine';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-format-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let nr = 0;
let image = '';
beforeEach(() => {
  image = join(folder, `disk${nr++}.img`);
});

/** Messages name the image by its path, which is another one each time. */
const named = (text: string) => text.replaceAll(image, 'DISK').replaceAll(folder, 'FOLDER');

/** An image with the magic of an ext filesystem, and a byte far after it that must stay. */
function ext2Image(path: string): void {
  const bytes = Buffer.alloc(64 * MIB);
  bytes.writeUInt32LE(8192, 0x400 + 0x20); // blocks per group
  bytes.writeUInt32LE(8192, 0x400 + 0x04); // blocks
  bytes.writeUInt16LE(0xef53, 0x400 + 0x38);
  bytes.writeUInt32LE(1, 0x400 + 0x4c); // revision
  bytes.write('someones-data', 0x400 + 0x78); // label
  bytes[40 * MIB] = 0x5a;
  writeFileSync(path, bytes);
}

describe('what it says: a summary that fits a screen', () => {
  test('which kernels can mount it, and the version that is chosen by the kernel', async () => {
    const made = async (kernel: string) =>
      /version (.*)[\s\S]*\nKernels: (.*)/.exec(
        await succeed('format', ['--fs_size=64M', `--for=${kernel}`, '--force', image]),
      )!;
    const all = [];
    for (const kernel of ['6.12', '6.16', 'latest']) all.push((await made(kernel)).slice(1));
    expect(all).toEqual([
      ['1.13', 'Linux 6.12, Linux 6.16, the driver of 1.39'],
      ['1.28', 'Linux 6.12 (as 1.13), Linux 6.16, the driver of 1.39'],
      ['1.30', 'Linux 6.12 (as 1.13), Linux 6.16 (as 1.28), the driver of 1.39'],
    ]);
    const { exitCode, stderr } = await run('format', ['--fs_size=64M', '--for=6.13', image]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('expected one of 6.12, 6.16, latest');
  });

  test('with nothing but defaults', async () => {
    const text = named(await succeed('format', ['--fs_size=1G', '--seed=s', image]));
    expect(text.replace(/[0-9a-f]{8}-[-0-9a-f]{27}/, 'UUID')).toMatchInlineSnapshot(`
      "Made filesystem UUID, version 1.13
        DISK: 1 GiB, 2048 buckets of 512 KiB
      Options: all as by default
      Encryption: none
      Kernels: Linux 6.12, Linux 6.16, the driver of 1.39
      Next: bcachefs put DISK FILE / (no mount needed)
        or, on Linux: mount -o loop -t bcachefs DISK DIR
      "
    `);
  });

  test('with labels, options and a key', async () => {
    const other = join(folder, 'other.img');
    const words = ['--fs_label=data', '--replicas=2', '--compression=zstd:3', '--foreground_target=ssd', '--encrypted'];
    const devices = ['--fs_size=64M', '--label=ssd.a', image, '--label=hdd', other];
    const text = named(
      await succeed('format', [...words, '--no_passphrase', '--metadata_checksum=crc32c', ...devices]),
    );
    rmSync(other);
    expect(text.replace(/[0-9a-f]{8}-[-0-9a-f]{27}/, 'UUID')).toMatchInlineSnapshot(`
      "Made filesystem UUID "data", version 1.13
        DISK: 64 MiB, 1024 buckets of 64 KiB, label ssd.a
        FOLDER/other.img: 64 MiB, 1024 buckets of 64 KiB, label hdd
      Options: metadata_replicas=2, data_replicas=2, compression=zstd:3, foreground_target=ssd; the rest as by default
      Encryption: yes, but the key is in the clear (set-passphrase seals it)
      Kernels: Linux 6.12, Linux 6.16, the driver of 1.39
      Next: bcachefs put DISK:FOLDER/other.img FILE / (no mount needed)
        or, on Linux: losetup -f each file, then mount -t bcachefs LOOP:LOOP DIR
      "
    `);
  });

  test('on many devices', async () => {
    const names = Array.from({ length: 12 }, (_, i) => join(folder, `many${i}.img`));
    const text = await succeed('format', ['--fs_size=16M', '--no_initialize', ...names]);
    for (const name of names) rmSync(name);
    expect(text).toContain('  and 4 more devices (--verbose shows all)\n');
    expect(text.split('\n').length).toBeLessThan(24);
  });

  test('with --verbose all that show-super says, and the layout', async () => {
    const text = await succeed('format', ['-v', '--fs_size=64M', image]);
    const shown = await succeed('show-super', ['--layout', '--fields=members_v2', image]);
    expect(text).toBe(shown);
  });
});

describe('what it makes', () => {
  test('an image file of the size that was asked for, sparse', async () => {
    await succeed('format', ['--fs_size=8T', image]);
    const { size, blocks } = statSync(image);
    expect(size).toBe(8 * 2 ** 40);
    expect(blocks * 512).toBeLessThan(MIB);
  });

  test('the same bytes for the same seed and epoch, also over an older filesystem', async () => {
    const words = ['--seed=twice', '--encrypted', '--no_passphrase', '--label=a.b', '--fs_size=64M'];
    const env = { SOURCE_DATE_EPOCH: '1700000000' };
    const other = join(folder, 'other.img');
    await succeed('format', ['--fs_size=64M', '--compression=zstd', other]);
    const filled = readFileSync(other).fill(0xff, 8 * MIB, 9 * MIB);
    writeFileSync(other, filled);
    await succeed('format', [...words, image], { env });
    await succeed('format', ['--force', ...words, other], { env });
    expect(readFileSync(image).equals(readFileSync(other))).toBe(true);
  });

  test('with a seed and encryption, another UUID and another key as soon as the contents differ', async () => {
    const env = { SOURCE_DATE_EPOCH: '1700000000' };
    const keys = new Set<string>();
    const variants = [['--label=a'], ['--label=b'], ['--compression=zstd'], ['--fs_label=x'], ['--bucket_size=64k']];
    for (const words of variants) {
      await succeed(
        'format',
        ['--force', '--seed=x', '--encrypted', '--no_passphrase', '--fs_size=64M', ...words, image],
        {
          env,
        },
      );
      const device = openDevice(image, { write: false });
      const { sb } = openMembers([device]).newest;
      device.close();
      keys.add(`${sb.uuid} ${Buffer.from(masterKey(sb, undefined)!).toString('hex')}`);
    }
    expect(keys.size).toBe(variants.length);
  });

  test('different bytes without a seed', async () => {
    await succeed('format', ['--fs_size=64M', image]);
    const first = readFileSync(image);
    await succeed('format', ['--force', image]);
    expect(readFileSync(image).equals(first)).toBe(false);
  });

  test('a description in JSON', async () => {
    const second = `${image}.second`;
    const words = [
      '--json',
      '--replicas=2',
      '--uuid=12345678-9ABC-4def-8123-456789abcdef',
      '--fs_size=64M',
      image,
      '--label=ssd',
      '--fs_size=128M',
      second,
    ];
    expect(JSON.parse(await succeed('format', words))).toMatchObject({
      schema: 'bcachefs-ts/format',
      version: 1,
      uuid: '12345678-9abc-4def-8123-456789abcdef',
      block_size: 512,
      devices: [
        { path: image, index: 0, created: true, bucket_size: 65536, buckets: 1024 },
        { path: second, index: 1, created: true, bucket_size: 65536, buckets: 2048 },
      ],
      superblock: {
        label: '',
        checksum_type: 'crc32c_nonzero',
        fields: { members_v2: { members: [{ label: null }, { label: 'ssd' }] } },
      },
    });
  });

  test('nothing on the screen with --quiet', async () => {
    expect(await succeed('format', ['-q', '--fs_size=64M', image])).toBe('');
  });
});

describe('what it refuses', () => {
  test.each<[string, string[], number, string]>([
    ['no device', [], 2, 'format: <devices> is missing'],
    [
      'a file that is not there',
      ['DISK'],
      5,
      'format: DISK: there is no such device or file; --fs_size=SIZE before it makes an image file',
    ],
    ['a device option without a device after it', ['--fs_size=64M', 'DISK', '--label=x'], 2, '--label'],
    ['an option of later versions', ['--casefold', '--fs_size=64M', 'DISK'], 2, 'casefold'],
    [
      'another version',
      ['--version=1.36', '--fs_size=64M', 'DISK'],
      2,
      '--version: no_sb_user_data_replicas (1.36) cannot be written, only 1.13 to 1.30 can',
    ],
    ['a value out of range', ['--gc_reserve_percent=40', '--fs_size=64M', 'DISK'], 2, '--gc_reserve_percent: '],
    ['a size that is not a power of two', ['--block_size=3000', '--fs_size=64M', 'DISK'], 2, '--block_size: '],
    ['an unknown choice', ['--data_checksum=md5', '--fs_size=64M', 'DISK'], 2, '--data_checksum: '],
    ['a level without compression', ['--compression=none:3', '--fs_size=64M', 'DISK'], 2, '--compression: '],
    [
      'an unknown target',
      ['--promote_target=ssd', '--fs_size=64M', 'DISK'],
      2,
      '--promote_target: "ssd" is neither a label nor one of the devices; no device has a label',
    ],
    ['a bad UUID', ['--uuid=1234', '--fs_size=64M', 'DISK'], 2, '--uuid: "1234" is not a UUID'],
    ['a passphrase file without encryption', ['--passphrase_file=x', '--fs_size=64M', 'DISK'], 2, '--encrypted'],
    [
      'one key for encrypted files that may differ',
      ['--seed=x', '--encrypted', '--no_passphrase', '--source=.', '--fs_size=64M', 'DISK'],
      2,
      '--seed: not together with --encrypted and files',
    ],
    ['encryption without a way to get a passphrase', ['--encrypted', '--fs_size=64M', 'DISK'], 2, '--passphrase_file'],
    [
      'too small a device',
      ['--fs_size=1M', 'DISK'],
      2,
      'DISK is too small: 1048576 bytes, at least 8388608 are needed',
    ],
    ['a misspelt option', ['--compresion=lz4', '--fs_size=64M', 'DISK'], 2, '--compression'],
    ['the same device twice', ['--fs_size=64M', 'DISK', 'DISK'], 2, 'DISK is named twice'],
  ])('%s', async (_, words, exitCode, message) => {
    const result = await run(
      'format',
      words.map(word => word.replace('DISK', image)),
    );
    expect(named(result.stderr)).toContain(message);
    expect(named(result.stderr).trim().split('\n')).toHaveLength(1);
    expect(result).toMatchObject({ exitCode, stdout: '' });
    expect(existsSync(image), 'an image file was left behind').toBe(false);
  });

  test('a device that another tool recognises, and leaves it as it was', async () => {
    ext2Image(image);
    const before = readFileSync(image);
    const result = await run('format', [image]);
    expect(result.exitCode).toBe(1);
    expect(named(result.stderr)).toBe(
      'format: DISK has ext2 filesystem "someones-data" at byte 1080; nothing was written (--force overwrites it)\n',
    );
    expect(readFileSync(image).equals(before)).toBe(true);
  });

  test('but not with --force, which says what it wiped', async () => {
    ext2Image(image);
    const text = await succeed('format', ['--force', image]);
    expect(named(text).split('\n')[0]).toBe('DISK: wiped ext2 at byte 1080');
    const after = readFileSync(image);
    expect(after.readUInt16LE(0x438)).toBe(0);
    expect(after[40 * MIB]).toBe(0x5a);
  });

  test('one disk with --metadata_replicas=2 needs no --force, which would overwrite anything', async () => {
    const made = await run('format', ['--metadata_replicas=2', '--fs_size=64M', image]);
    expect(made.exitCode).toBe(0);
    expect(named(made.stderr)).toBe(
      'format: warning: --metadata_replicas: 2 copies do not fit on these devices, which are worth 1 together; ' +
        'there will be 1 until devices are added\n',
    );
    expect((await run('format', ['--metadata_replicas=2', image])).stderr).toContain('bcachefs filesystem');
  });

  test('a layout alone, which wipefs leaves, is not in the way', async () => {
    await succeed('format', ['--fs_size=64M', image]);
    const bytes = readFileSync(image);
    for (const magic of superblockMagics(bytes)) bytes.fill(0, magic, magic + 16);
    writeFileSync(image, bytes);
    expect(named(await succeed('format', [image])).split('\n')[0]).toBe('DISK: wiped bcachefs at byte 3584');
  });

  test('asks on a terminal, and takes no for an answer', async () => {
    ext2Image(image);
    const result = await run('format', [image], { isTerminal: true, stdin: 'n\n' });
    expect(result.exitCode).toBe(1);
    expect(named(result.stderr)).toContain('Overwrite? [y/N]');
    const agreed = await run('format', [image], { isTerminal: true, stdin: 'y\n' });
    expect(agreed.exitCode).toBe(0);
  });

  test('an older bcachefs, whose backups go too', async () => {
    await succeed('format', ['--fs_size=64M', image]);
    expect((await run('format', [image])).stderr).toContain('bcachefs filesystem');
    const text = await succeed('format', ['--force', '--superblock_size=64k', '--bucket_size=64k', image]);
    expect(named(text)).toMatch(/wiped bcachefs at byte \d+/);
    const scan = JSON.parse(await succeed('recover-super', ['--json', '--dry_run', image]));
    expect(new Set(scan.candidates.map((candidate: { uuid: string }) => candidate.uuid)).size).toBe(1);
  });

  test('leaves a larger file alone after the end of the filesystem', async () => {
    writeFileSync(image, Buffer.alloc(32 * MIB, 0x11));
    truncateSync(image, 96 * MIB);
    await succeed('format', ['--force', '--fs_size=16M', image]);
    expect(statSync(image).size).toBe(96 * MIB);
    expect(readFileSync(image)[31 * MIB]).toBe(0x11);
  });
});

/** Where the magics of superblocks are: in each place that the layout lists. */
function superblockMagics(bytes: Buffer): readonly number[] {
  const [layout, magicAt] = [7 * 512, 24];
  return Array.from({ length: bytes[layout + 18]! }, (_, nr) => {
    return 512 * Number(bytes.readBigUInt64LE(layout + 24 + 8 * nr)) + magicAt;
  });
}
