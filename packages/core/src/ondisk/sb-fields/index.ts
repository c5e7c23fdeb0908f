// The table of superblock sections: what each of them is, by its type number. A section without a row here is newer than we are: it
// is carried along, and printed as its number.

import { type SbFieldName, sbFieldIds } from '../sb-field-ids.ts';
import { cleanField } from './clean.ts';
import { countersField } from './counters.ts';
import { cryptField } from './crypt.ts';
import { diskGroupsField } from './disk-groups.ts';
import { downgradeField } from './downgrade.ts';
import { errorsField, errorsV2Field } from './errors.ts';
import { extField } from './ext.ts';
import { extentTypeU64sField } from './extent-type-u64s.ts';
import { journalField, journalV2Field } from './journal.ts';
import { journalSeqBlacklistField } from './journal-seq-blacklist.ts';
import type { SbFieldKind } from './kind.ts';
import { membersV1Field, membersV2Field } from './members-field.ts';
import { quotaField } from './quota.ts';
import { recoveryPassesField } from './recovery-passes.ts';
import { replicasField, replicasV0Field } from './replicas.ts';

/** One row for each section that has a name: leaving one out does not compile. */
const kinds: { readonly [name in SbFieldName]: SbFieldKind<unknown> } = {
  journal: journalField,
  members_v1: membersV1Field,
  crypt: cryptField,
  replicas_v0: replicasV0Field,
  quota: quotaField,
  disk_groups: diskGroupsField,
  clean: cleanField,
  replicas: replicasField,
  journal_seq_blacklist: journalSeqBlacklistField,
  journal_v2: journalV2Field,
  counters: countersField,
  members_v2: membersV2Field,
  errors: errorsField,
  ext: extField,
  downgrade: downgradeField,
  recovery_passes: recoveryPassesField,
  extent_type_u64s: extentTypeU64sField,
  errors_v2: errorsV2Field,
};

/** The row of a section type, if it is known here. */
export function sbFieldKind(type: number): SbFieldKind<unknown> | undefined {
  const row = sbFieldIds.byId(type);
  return row === undefined ? undefined : kinds[row.name];
}
