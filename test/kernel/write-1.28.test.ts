// Metadata version 1.28, against Linux 6.16, which has it: see both-ways.ts.

import { sampleOf } from '../support/long.ts';
import { bothWays } from './both-ways.ts';
import type { Formatted } from './formatted-kinds.ts';
import { kernelSuiteOf } from './vm/suite.ts';

const SERIES = '6.16';

// biome-ignore format: a table
const allKinds: readonly Formatted[] = [
  { name: 'plain', format: ['--fs_size=320M', 'DEV0'] },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--fs_size=320M', 'DEV0'], isEncrypted: true },
  { name: 'three', format: ['--replicas=2', '--compression=zstd', '--fs_size=320M', 'DEV0', '--fs_size=256M', 'DEV1', '--fs_size=320M', 'DEV2'], devices: 3 },
  { name: 'small-nodes', format: ['--btree_node_size=16k', '--block_size=512', '--fs_size=320M', 'DEV0'] },
];
const kinds = sampleOf('changes at 1.28 by the engine and by the kernel', allKinds, ['encrypted']);

bothWays({ suite: await kernelSuiteOf(SERIES), series: SERIES, kinds, format: ['--version=1.28'] });
