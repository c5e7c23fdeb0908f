// Makes the next mount check everything: for filesystems that were changed although something of them is lost.
// Source: bch2_sb_ext and recovery_passes_required in recovery_passes.c, v1.13.0.

import { rulesOf } from '../ondisk/format-rules.ts';
import { withPassesRequired } from '../ondisk/sb-fields/ext.ts';
import type { Superblock } from '../ondisk/superblock.ts';

/** A superblock that asks for all passes of fsck, beside those that it asks for already. */
export const withCheckRequired = (sb: Superblock): Superblock =>
  withPassesRequired(sb, mask => mask | rulesOf(sb).fsckPasses);
