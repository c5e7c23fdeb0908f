// What a check leaves in the superblock: how often each error was ever found and when last, as a kernel counts them; and what the next mount
// is to run. Only errors of the reference are counted: a kernel has no names for ours.
// Source: bch2_sb_error_count in sb-errors.c, bch2_fs_recovery in recovery.c, v1.13.0.

import { getBits, withBits } from '../ondisk/bits.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { fsckErrors } from '../ondisk/fsck-errors.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { errorsField } from '../ondisk/sb-fields/errors.ts';
import { decodeExt, encodeExt } from '../ondisk/sb-fields/ext.ts';
import { setBits } from '../ondisk/sb-fields/flags.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';
import type { FindingGroup } from '../report/reporter.ts';

/** The most that the 48 bits of a count hold, as far as numbers are exact. */
const COUNT_MAX = 2 ** 48 - 1;

/** A superblock in which these errors were counted. @param now seconds since 1970 */
export function withErrorsCounted(sb: Superblock, groups: readonly FindingGroup[], now: bigint): Superblock {
  const found = groups.filter(({ error }) => fsckErrors.byName(error) !== undefined);
  if (found.length === 0) return sb;
  const counts = new Map(
    errorsField.decode(sectionPayload(sb, 'errors') ?? new Uint8Array(0), sb).map(one => [one.id, one]),
  );
  for (const { id, found: more } of found) {
    const count = Math.min(COUNT_MAX, (counts.get(id)?.count ?? 0) + more);
    counts.set(id, { id, count, first: undefined, last: now });
  }
  const payload = errorsField.encode?.([...counts.values()].sort((a, b) => a.id - b.id));
  return payload === undefined ? sb : withSection(sb, 'errors', payload);
}

/** Errors that are expected, and repaired without a word. */
export function silentErrors(sb: Superblock): ReadonlySet<FaultName> {
  const payload = sectionPayload(sb, 'ext');
  const ids = payload === undefined ? [] : setBits(decodeExt(payload).errors_silent);
  return new Set(ids.flatMap(id => (fsckErrors.byId(id)?.name as FaultName | undefined) ?? []));
}

/** Whether it says that errors were noted, or that the next mount is to check something. */
export function isCheckPending(sb: Superblock): boolean {
  if (getBits(sb.flags, sbBits.HAS_ERRORS) + getBits(sb.flags, sbBits.HAS_TOPOLOGY_ERRORS) > 0) return true;
  const payload = sectionPayload(sb, 'ext');
  if (payload === undefined) return false;
  const { recovery_passes_required: required, errors_silent: silent, btrees_lost_data: lost } = decodeExt(payload);
  return [...required, ...silent, lost].some(word => word !== 0n);
}

/** A superblock that says that nothing is wrong any more. */
export function withoutErrors(sb: Superblock): Superblock {
  const flags = withBits(withBits(sb.flags, sbBits.HAS_ERRORS, 0), sbBits.HAS_TOPOLOGY_ERRORS, 0);
  const payload = sectionPayload(sb, 'ext');
  if (payload === undefined) return { ...sb, flags };
  const ext = decodeExt(payload);
  const silent = {
    ...ext,
    recovery_passes_required: [0n, 0n],
    errors_silent: ext.errors_silent.map(() => 0n),
    btrees_lost_data: 0n,
  };
  return withSection({ ...sb, flags }, 'ext', encodeExt(silent));
}
