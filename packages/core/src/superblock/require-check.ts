// Makes the next mount check everything: for filesystems that were changed although something of them is lost.
// Source: bch2_sb_ext and recovery_passes_required in recovery_passes.c, v1.13.0.

import { rulesOf } from '../ondisk/format-rules.ts';
import { blankExt, decodeExt, encodeExt } from '../ondisk/sb-fields/ext.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';

/** A superblock that asks for all passes of fsck, beside those that it asks for already. */
export function withCheckRequired(sb: Superblock): Superblock {
  const payload = sectionPayload(sb, 'ext');
  const ext = payload === undefined ? blankExt() : decodeExt(payload);
  const [first = 0n, second = 0n] = ext.recovery_passes_required;
  return withSection(
    sb,
    'ext',
    encodeExt({ ...ext, recovery_passes_required: [first | rulesOf(sb).fsckPasses, second] }),
  );
}
