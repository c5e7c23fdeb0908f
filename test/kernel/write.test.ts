// What is written by default, against Linux 6.12: see both-ways.ts.

import { sampleOf } from '../support/long.ts';
import { bothWays } from './both-ways.ts';
import type { Formatted } from './formatted-kinds.ts';
import { kernelSuite } from './vm/suite.ts';

// biome-ignore format: a table
const allKinds: readonly Formatted[] = [
  { name: 'plain', format: ['--fs_size=320M', 'DEV0'] },
  { name: 'zstd', format: ['--compression=zstd', '--fs_size=320M', 'DEV0'] },
  { name: 'lz4', format: ['--compression=lz4', '--data_checksum=xxhash', '--str_hash=crc32c', '--fs_size=320M', 'DEV0'] },
  { name: 'gzip', format: ['--compression=gzip', '--data_checksum=crc64', '--str_hash=crc64', '--fs_size=320M', 'DEV0'] },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--fs_size=320M', 'DEV0'], isEncrypted: true },
  { name: 'three', format: ['--replicas=2', '--fs_size=320M', 'DEV0', '--fs_size=256M', 'DEV1', '--fs_size=320M', 'DEV2'], devices: 3 },
  { name: 'small-nodes', format: ['--btree_node_size=16k', '--block_size=512', '--fs_size=320M', 'DEV0'] },
];
/** The others differ in how data is encoded. */
const FEW = ['encrypted', 'three'];
const kinds = sampleOf('changes by the engine and by the kernel', allKinds, FEW);

bothWays({ suite: kernelSuite, series: '6.12', kinds });
