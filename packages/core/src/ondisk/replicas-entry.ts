// A replicas entry: a kind of data and a set of devices that it is replicated over: one copy on each. The superblock lists which
// sets are in use, so that a mount can decide whether the devices at hand are enough; accounting keys and old journals use it too.
// Source: alloc/replicas_format.h and alloc/replicas.c, v1.36.1.

import { dataTypes } from './data-types.ts';

export interface ReplicasEntry {
  readonly data_type: number;
  /** How many of the devices are needed to read the data; more than one only with erasure coding. Always 1 in entries of type v0. */
  readonly nr_required: number;
  readonly devs: readonly number[];
}

/** `btree`, or `(unknown data_type 99)` as the reference prints it. */
export function dataTypeText(type: number): string {
  return dataTypes.byId(type)?.name ?? `(unknown data_type ${type})`;
}

/** `user: 1/2 [0 1]`. Mirrors bch2_replicas_entry_to_text. */
export function replicasEntryText(entry: ReplicasEntry): string {
  return `${dataTypeText(entry.data_type)}: ${entry.nr_required}/${entry.devs.length} [${entry.devs.join(' ')}]`;
}

export function replicasEntryJson(entry: ReplicasEntry): unknown {
  return { data_type: dataTypes.nameOf(entry.data_type), nr_required: entry.nr_required, devices: entry.devs };
}
