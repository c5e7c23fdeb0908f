// Section `quota`: how long and how often a soft limit may be exceeded, for each type of quota.
// Source: fs/quota_format.h and fs/quota.c, v1.36.1.

import { quotaCounters, quotaTypes } from '../choices.ts';
import { CorruptError } from '../errors.ts';
import { array, at, layout, type Struct, u32, u64, viewOf } from '../layout.ts';
import type { SbFieldKind } from './kind.ts';

const BchSbQuotaCounter = layout('bch_sb_quota_counter', 8, {
  timelimit: at(0, u32), // seconds
  warnlimit: at(4, u32),
});

const BchSbQuotaType = layout('bch_sb_quota_type', 24, {
  flags: at(0, u64),
  c: at(8, array(BchSbQuotaCounter, 2)), // see quotaCounters
});

/** struct bch_sb_field_quota without its header. */
const BchSbQuota = layout('bch_sb_field_quota', 72, {
  q: at(0, array(BchSbQuotaType, 3)), // see quotaTypes
});
type BchSbQuota = Struct<typeof BchSbQuota>;

/** The section's text calls the types by other names than quota keys do. */
const TYPE_TEXTS = ['user', 'group', 'project'] as const;

export const quotaField: SbFieldKind<BchSbQuota> = {
  name: 'quota',
  decode(payload) {
    if (payload.length < BchSbQuota.size) {
      throw new CorruptError(
        'invalid_sb_quota',
        { field: 'quota' },
        `${payload.length} bytes, expected ${BchSbQuota.size}`,
      );
    }
    return BchSbQuota.get(viewOf(payload), 0);
  },
  encode(value) {
    const target = new Uint8Array(BchSbQuota.size);
    BchSbQuota.put(viewOf(target), 0, value);
    return target;
  },
  validate: () => [],
  text(out, value) {
    value.q.forEach(({ flags, c }, type) => {
      const counters = c.map(
        ({ timelimit, warnlimit }, counter) =>
          ` ${quotaCounters.nameOf(counter)} timelimit ${timelimit} warnlimit ${warnlimit}`,
      );
      out.print(`${TYPE_TEXTS[type]}: flags ${flags.toString(16)}${counters.join('')}\n`);
    });
  },
  json: value =>
    Object.fromEntries(
      value.q.map(({ flags, c }, type) => [
        quotaTypes.nameOf(type),
        { flags, ...Object.fromEntries(c.map((counter, i) => [quotaCounters.nameOf(i), counter])) },
      ]),
    ),
};
