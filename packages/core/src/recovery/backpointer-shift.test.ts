// A filesystem in whose superblock it says how far sectors are shifted in the positions of backpointers (EXTENT_BP_SHIFT): the checker, the
// repair and every change go by it.

import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { openOn } from '../../../../test/support/cut-states.ts';
import { recovered, smallTree } from '../../../../test/support/recovered.ts';
import { FileEdit } from '../change/file-edit.ts';
import { checkInvariants } from '../check/check.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { withBits } from '../ondisk/bits.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { editSuperblock } from '../superblock/edit.ts';
import { openMembers } from '../superblock/member-set.ts';

beforeAll(loadChecksums);

test.each([1, 16, 31])('backpointers that are shifted by %i bits', shift => {
  const devices = smallTree();
  editSuperblock(openMembers(devices), sb => ({ ...sb, flags: withBits(sb.flags, sbBits.EXTENT_BP_SHIFT, shift) }), {
    now: 1_800_000_000n,
  });
  const { counts } = checkInvariants(openOn(devices));
  expect(counts.get('ptr_to_missing_backpointer')).toBeGreaterThan(0);

  const { left, again } = recovered(devices);
  expect(left).toEqual([]);
  expect(again).toEqual([]);

  const { writer, options } = writerOn(devices, undefined, 3);
  const edit = new FileEdit(writer, options);
  const made = edit.files.create(edit.files.root(), new TextEncoder().encode('new'), { mode: 0o100644 });
  edit.content.write(made, 0, new Uint8Array(100_000).fill(1));
  edit.commit();
  expect(checkInvariants(openOn(devices)).findings).toEqual([]);
});
