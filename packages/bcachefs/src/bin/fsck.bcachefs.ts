// The `fsck.bcachefs` binary.

import { main } from '@bcachefs-ts/command';
import { fsckBcachefs } from '../programs/fsck.bcachefs.ts';

await main(fsckBcachefs);
