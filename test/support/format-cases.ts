// The ways to call format that the suites go through: the kernel judges each, and so does our own checker.

import { join } from 'node:path';
import { isSoak } from './long.ts';

export const MIB = 2 ** 20;

/** One way to call format. `DEV0`, `DEV1`… stand for image files, `PASSPHRASE` for a file that holds one. */
export interface FormatCase {
  readonly name: string;
  readonly args: readonly string[];
  readonly fillBytes?: number;
  /** Where the kernel cannot be made to fill it until its statfs says 95 %: how far then, and why. */
  readonly fillsLess?: { readonly why: string } & ({ readonly percent: number } | { readonly limitBytes: number });
  /** Sectors of the disks that the machine gets; 512 bytes when absent. */
  readonly sectorBytes?: number;
  readonly passphrase?: string;
  /** What show-super prints of it afterwards, among the rest. */
  readonly shows?: readonly RegExp[];
}

const small = '--fs_size=96M';

function one(name: string, options: readonly string[], shows: readonly RegExp[] = []): FormatCase {
  return { name, args: [...options, small, 'DEV0'], shows };
}

export const PASSPHRASE = 'correct horse';

export const formatCases: readonly FormatCase[] = [
  {
    name: 'defaults',
    args: ['--fs_size=1G', 'DEV0'],
    ...(isSoak
      ? {}
      : {
          fillsLess: {
            limitBytes: 96 * MIB,
            why: 'the others are filled, and this would take longer than all of them',
          },
        }),
    shows: [/block_size: +4.00k/, /btree_node_size: +256k/],
  },
  one('superblocks only', ['--no_initialize']),
  {
    name: 'superblocks only, three devices',
    args: ['--no_initialize', '--replicas=2', small, 'DEV0', small, 'DEV1', small, 'DEV2'],
  },
  one('blocks of 512 bytes', ['--block_size=512'], [/block_size: +512/]),
  one('blocks of 4k', ['--block_size=4k'], [/block_size: +4.00k/]),
  one('btree nodes of 64k', ['--btree_node_size=64k'], [/btree_node_size: +64.0k/]),
  one('buckets of 32k', ['--bucket_size=32k'], [/Bucket size: +32.0k/, /btree_node_size: +32.0k/]),
  one('buckets that are not a power of two', ['--bucket_size=192k'], [/Bucket size: +192k/, /btree_node_size: +128k/]),
  ...['none', 'crc32c', 'crc64', 'xxhash'].map(type =>
    one(
      `checksums ${type}`,
      [`--metadata_checksum=${type}`, `--data_checksum=${type}`],
      [new RegExp(`data_checksum: .*\\[${type}\\]`)],
    ),
  ),
  ...['crc32c', 'crc64', 'siphash'].map(hash =>
    one(`names hashed by ${hash}`, [`--str_hash=${hash}`], [new RegExp(`\\[${hash}\\]`)]),
  ),
  ...['lz4', 'gzip', 'zstd:3'].map(type =>
    one(`compression ${type}`, [`--compression=${type}`], [new RegExp(`compression: +${type}`)]),
  ),
  one(
    'compression in the background',
    ['--compression=lz4', '--background_compression=zstd'],
    [/background_compression: +zstd/],
  ),
  one('quotas', ['--usrquota', '--grpquota', '--prjquota'], [/usrquota: +1/]),
  one('nocow', ['--nocow'], [/nocow: +1/]),
  one(
    'the old defaults',
    ['--inodes_32bit', '--encoded_extent_max=64k', '--no_discard'],
    [/inodes_32bit: +1/, /Discard: +0/],
  ),
  one(
    'other options',
    ['--errors=ro', '--no_acl', '--gc_reserve_percent=12', '--root_reserve_percent=5', '--wide_macs'],
    [/continue fix_safe panic \[ro\]/, /gc_reserve_percent: +12/],
  ),
  one(
    'label and UUID',
    ['--fs_label=kernel suite', '--uuid=12345678-9abc-4def-8123-456789abcdef'],
    [/Label: +kernel suite/, /External UUID: +12345678-9abc-4def-8123-456789abcdef/],
  ),
  one('room of 256k for superblocks', ['--superblock_size=256k'], [/Superblock size: .*\/256k/]),
  {
    name: 'three devices, two copies, labels and targets',
    args: [
      ...['--replicas=2', '--foreground_target=ssd', '--background_target=hdd', '--promote_target=ssd'],
      ...['--label=ssd.a', small, 'DEV0', '--label=hdd.b', small, 'DEV1', '--label=hdd.c', small, 'DEV2'],
    ],
    fillsLess: {
      percent: 65,
      why: 'one of three devices is to be emptied again; statfs counts it, and writes wait for ever',
    },
    shows: [/Devices: +3/, /background_target: +hdd/, /Label: +(ssd\.a|a)/, /data_replicas: +2/],
  },
  {
    name: 'devices of different sizes',
    args: ['--fs_size=64M', 'DEV0', '--fs_size=2G', 'DEV1'],
    shows: [/Devices: +2/],
  },
  {
    name: 'a device of durability 0',
    args: ['--promote_target=cache', small, 'DEV0', '--label=cache', '--durability=0', small, 'DEV1'],
    fillsLess: {
      percent: 45,
      why: 'statfs counts the cache, which holds no data of its own; writes wait for ever at half',
    },
    shows: [/Durability: +0/, /Data allowed: +user\n/, /promote_target: +cache/],
  },
  {
    name: 'a device for metadata and one for data',
    args: ['--data_allowed=journal,btree', small, 'DEV0', '--data_allowed=user', small, 'DEV1'],
    fillsLess: { percent: 45, why: 'statfs counts the device for metadata; writes wait for ever at half' },
    shows: [/Data allowed: +journal,btree\n/, /Data allowed: +user\n/],
  },
  {
    name: 'encrypted',
    args: ['--encrypted', '--passphrase_file=PASSPHRASE', small, 'DEV0'],
    passphrase: PASSPHRASE,
    shows: [/Sections: .*crypt/],
  },
  {
    name: 'encrypted and compressed, wide MACs, two devices',
    args: [
      '--encrypted',
      '--passphrase_file=PASSPHRASE',
      '--wide_macs',
      '--compression=lz4',
      small,
      'DEV0',
      small,
      'DEV1',
    ],
    passphrase: PASSPHRASE,
    shows: [/wide_macs: +1/],
  },
  one('encrypted without a passphrase', ['--encrypted', '--no_passphrase'], [/Sections: .*crypt/]),
  { name: 'the smallest image, 8 MiB', args: ['--fs_size=8M', 'DEV0'], fillBytes: MIB / 4, shows: [/Size: +8.00M/] },
  { name: 'a disk with sectors of 4 KiB', args: ['--block_size=4k', small, 'DEV0'], sectorBytes: 4096 },
  {
    name: 'a sparse image of 8 TiB',
    args: ['--fs_size=8T', 'DEV0'],
    fillsLess: { limitBytes: 256 * MIB, why: 'no disk of ours is so large' },
    shows: [/Size: +8.00T/, /Bucket size: +2.00M/],
  },
];

export interface PreparedFormat {
  readonly nr: number;
  readonly format: FormatCase;
  readonly words: readonly string[];
  readonly images: readonly string[];
}

/** @param folder for the images, and for the file `passphrase` that holds PASSPHRASE */
export function prepareFormat(format: FormatCase, nr: number, folder: string): PreparedFormat {
  const images = format.args
    .filter(word => /^DEV\d$/.test(word))
    .map(word => join(folder, `case${nr}.${word.toLowerCase()}.img`));
  const words = format.args.map(word =>
    /^DEV\d$/.test(word)
      ? join(folder, `case${nr}.${word.toLowerCase()}.img`)
      : word.replace('PASSPHRASE', join(folder, 'passphrase')),
  );
  return { nr, format, words, images };
}

export const isComplete = ({ args }: FormatCase): boolean => !args.includes('--no_initialize');
