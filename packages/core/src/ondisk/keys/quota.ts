// Key type quota: the limits of one user, group or project. The key's position is kind:id.
// Source: struct bch_quota in fs/quota_format.h and fs/quota.c, v1.36.1.

import { bposInode } from '../bpos.ts';
import { array, at, layout, type Struct, u64, viewOf } from '../layout.ts';
import { type Row, type Table, table } from '../table.ts';
import type { KeyKind } from './kind.ts';

/** Whose limits they are: the inode field of the position. */
export const quotaTypes: Table<Row> = table<Row>('quota type', [
  { id: 0, name: 'user' },
  { id: 1, name: 'group' },
  { id: 2, name: 'project' },
]);

const COUNTERS = ['space', 'inodes'] as const;

const BchQuotaCounter = layout('bch_quota_counter', 16, {
  hardlimit: at(0, u64), // 512-byte sectors or inodes; 0 is none
  softlimit: at(8, u64),
});

export const BchQuota = layout('bch_quota', 32, {
  c: at(0, array(BchQuotaCounter, 2)), // space, inodes
});
export type Quota = Struct<typeof BchQuota>;

export const quota: KeyKind<Quota> = {
  name: 'quota',
  minBytes: BchQuota.size,
  decode: value => BchQuota.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchQuota.size);
    BchQuota.put(viewOf(target), 0, value);
    return target;
  },
  validate(_value, k) {
    const type = bposInode(k.p);
    return type < BigInt(quotaTypes.rows.length)
      ? []
      : [{ error: 'quota_type_invalid', detail: `quota type ${type}, expected below ${quotaTypes.rows.length}` }];
  },
  text(out, value) {
    // Without a space between the two, as in the reference.
    value.c.forEach((counter, i) => {
      out.print(`${COUNTERS[i]} hardlimit ${counter.hardlimit} softlimit ${counter.softlimit}`);
    });
  },
  json: (value, k) => ({
    quota_type: quotaTypes.nameOf(k.p[3]!),
    ...Object.fromEntries(COUNTERS.map((name, i) => [name, value.c[i]])),
  }),
};
