// The `bcachefs` binary.

import { main } from '@bcachefs-ts/command';
import { bcachefs } from '../programs/bcachefs.ts';

await main(bcachefs);
