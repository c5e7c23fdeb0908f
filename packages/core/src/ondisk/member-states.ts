// States of a member device (BCH_MEMBER_STATE) and other small tables about members.
// Source: sb-members_format.h (v1.13.0), sb/members_format.h (v1.36.1, v1.39.2).

import type { ReleasedRow } from './releases.ts';
import { type Row, type Table, table } from './table.ts';

interface MemberStateRow extends ReleasedRow {}

const rows = [
  { id: 0, name: 'rw', since: '1.13' },
  { id: 1, name: 'ro', since: '1.13' },
  { id: 2, name: 'evacuating', since: '1.13', names: { '1.13': 'failed' } },
  { id: 3, name: 'spare', since: '1.13' },
] as const satisfies readonly MemberStateRow[];

export type MemberStateName = (typeof rows)[number]['name'];
export type MemberState = MemberStateRow & { readonly name: MemberStateName };

/** Member states; number 2 was called `failed` up to 1.13. */
export const memberStates: Table<MemberState> = table<MemberState>('member state', rows);

/** Error counters of a member, in order of `bch_member.errors`. */
export const memberErrorTypes: Table<Row> = table<Row>('member error type', [
  { id: 0, name: 'read' },
  { id: 1, name: 'write' },
  { id: 2, name: 'checksum' },
]);

/** Measured speeds of a member, in order of `bch_member.iops`. */
export const iopsMeasurements: Table<Row> = table<Row>('iops measurement', [
  { id: 0, name: 'seqread' },
  { id: 1, name: 'seqwrite' },
  { id: 2, name: 'randread' },
  { id: 3, name: 'randwrite' },
]);

/** How far adding a device got (BCH_MEMBER_INITIALIZED, 1.39). */
export const memberInitializedStates: Table<Row> = table<Row>('member initialisation state', [
  { id: 0, name: 'initialized' },
  { id: 1, name: 'pre_dev_usage' },
  { id: 2, name: 'pre_mark_sb' },
  { id: 3, name: 'pre_freespace_init' },
  { id: 4, name: 'pre_journal_alloc' },
]);

/** A device index that means "no device". */
export const MEMBER_INVALID = 255;

/**
 * A slot whose device was removed while something may still point to it (1.36 and later); a zero UUID is a free slot.
 */
export const MEMBER_DELETED_UUID = 'ffffffff-ffff-ffff-d96a-60cf803df7ef';

/** BCH_MIN_NR_NBUCKETS: fewest buckets per device. */
export const MIN_BUCKETS = { '1.13': 64, '1.36': 512, '1.39': 512 } as const;

/** BCH_MEMBER_NBUCKETS_MAX: the kernel keeps the generations of all buckets in one allocation. */
export const MAX_BUCKETS = 0x7fff_ffff - 64;
