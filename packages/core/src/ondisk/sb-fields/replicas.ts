// Sections `replicas_v0` and `replicas`: which kinds of data are replicated over which sets of devices. The kernel writes v0, which
// leaves nr_required out, as long as every entry has 1 there. From 1.36 on, user data is no longer listed.
// Source: alloc/replicas_format.h and alloc/replicas.c, v1.36.1.

import { dataTypes } from '../data-types.ts';
import { CorruptError } from '../errors.ts';
import type { FaultName } from '../faults.ts';
import { MEMBER_INVALID } from '../member-states.ts';
import { dataTypeText, type ReplicasEntry, replicasEntryJson, replicasEntryText } from '../replicas-entry.ts';
import { type Superblock, sectionPayload } from '../superblock.ts';
import { PROBLEMS_MAX, problem, type SbFieldKind, type SbProblem } from './kind.ts';
import { memberAlive, members } from './members.ts';

/** data_type, nr_devs and (not in v0) nr_required. */
const HEADER_BYTES = { replicas_v0: 2, replicas: 3 } as const;

/** Entries up to a data type of 0, which is padding. */
function decodeEntries(payload: Uint8Array, field: 'replicas_v0' | 'replicas'): readonly ReplicasEntry[] {
  const headerBytes = HEADER_BYTES[field];
  const entries: ReplicasEntry[] = [];
  for (let start = 0; start < payload.length && payload[start] !== 0; ) {
    const nrDevs = payload[start + 1] ?? 0;
    const end = start + headerBytes + nrDevs;
    if (end > payload.length) {
      throw new CorruptError(
        'invalid_sb_replicas',
        { field: `${field}[${entries.length}]` },
        `${nrDevs} devices, the section ends ${end - payload.length} bytes before them`,
      );
    }
    entries.push({
      data_type: payload[start]!,
      nr_required: field === 'replicas' ? payload[start + 2]! : 1,
      devs: Array.from(payload.subarray(start + headerBytes, end)),
    });
    start = end;
  }
  return entries;
}

export function encodeReplicas(entries: readonly ReplicasEntry[], field: 'replicas_v0' | 'replicas'): Uint8Array {
  return Uint8Array.from(
    entries.flatMap(({ data_type, nr_required, devs }) =>
      field === 'replicas' ? [data_type, devs.length, nr_required, ...devs] : [data_type, devs.length, ...devs],
    ),
  );
}

/** The superblock's entries, from `replicas` if it has it, else from `replicas_v0`. */
export function replicas(sb: Superblock): readonly ReplicasEntry[] {
  const v1 = sectionPayload(sb, 'replicas');
  if (v1 !== undefined) return decodeEntries(v1, 'replicas');
  return decodeEntries(sectionPayload(sb, 'replicas_v0') ?? new Uint8Array(0), 'replicas_v0');
}

/** The kinds of data that each device has, as masks of data types. Mirrors bch2_sb_dev_has_data. */
export function dataTypesByDevice(entries: readonly ReplicasEntry[]): ReadonlyMap<number, bigint> {
  const masks = new Map<number, bigint>();
  for (const { data_type, devs } of entries) {
    if (data_type >= 32) continue;
    for (const dev of devs) masks.set(dev, (masks.get(dev) ?? 0n) | (1n << BigInt(data_type)));
  }
  return masks;
}

function validateEntries(entries: readonly ReplicasEntry[], field: string, sb: Superblock): SbProblem[] {
  const problems: SbProblem[] = [];
  const seen = new Set<string>();
  const alive = members(sb).map(memberAlive);
  for (const [i, entry] of entries.entries()) {
    if (problems.length >= PROBLEMS_MAX) break;
    const wrong = (detail: string, error: FaultName = 'invalid_replicas_entry') =>
      problems.push(problem(error, `${field}[${i}]`, `${detail} in entry ${replicasEntryText(entry)}`));
    if (entry.devs.length === 0) wrong('no devices');
    if (entry.nr_required > 1 && entry.nr_required >= entry.devs.length) wrong('bad nr_required');
    const missing = entry.devs.find(dev => dev !== MEMBER_INVALID && !alive[dev]);
    if (missing !== undefined) wrong(`invalid device ${missing}`);

    const identity = replicasEntryText({ ...entry, devs: [...entry.devs].sort((a, b) => a - b) });
    if (seen.has(identity)) wrong('duplicate', 'invalid_sb_replicas');
    seen.add(identity);
  }
  return problems;
}

function kind(field: 'replicas_v0' | 'replicas'): SbFieldKind<readonly ReplicasEntry[]> {
  return {
    name: field,
    decode: payload => decodeEntries(payload, field),
    encode: value => encodeReplicas(value, field),
    validate: (value, sb) => validateEntries(value, field, sb),
    text(out, value) {
      const v0Text = (entry: ReplicasEntry) =>
        `${dataTypeText(entry.data_type)}: ${entry.devs.length} [${entry.devs.join(' ')}]`;
      out.print(`${value.map(field === 'replicas' ? replicasEntryText : v0Text).join(' ')}\n`);
    },
    json: value => ({ entries: value.map(replicasEntryJson) }),
  };
}

export const replicasV0Field = kind('replicas_v0');
export const replicasField = kind('replicas');

/** Names of the data types in a mask. */
export function dataTypeNames(mask: bigint): string[] {
  return dataTypes.rows.filter(row => (mask >> BigInt(row.id)) & 1n).map(row => row.name);
}
