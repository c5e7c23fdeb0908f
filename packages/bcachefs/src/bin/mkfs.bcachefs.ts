// The `mkfs.bcachefs` binary.

import { main } from '@bcachefs-ts/command';
import { mkfsBcachefs } from '../programs/mkfs.bcachefs.ts';

await main(mkfsBcachefs);
