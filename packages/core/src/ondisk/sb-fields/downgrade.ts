// Section `downgrade`: for kernels older than the one that wrote it: on going back below a version, these passes must run, and these
// errors are to be expected. Source: sb/downgrade_format.h and sb/downgrade.c, v1.36.1.

import { roundUp } from '../../util/sizes.ts';
import { fsckErrors, fsckErrorText } from '../fsck-errors.ts';
import { array, at, layout, u16, u64, viewOf } from '../layout.ts';
import { passNames } from '../passes.ts';
import { type Superblock, sectionPayload, withSection } from '../superblock.ts';
import type { VersionChange } from '../upgrade-downgrade.ts';
import { versionMajor, versionNumber, versionText } from '../versions.ts';
import { problem, type SbFieldKind } from './kind.ts';

/** struct bch_sb_field_downgrade_entry, aligned to two bytes only. The errors follow as u16. */
const DowngradeEntryHeader = layout('bch_sb_field_downgrade_entry', 20, {
  version: at(0, u16),
  recovery_passes: at(2, array(u64, 2)), // bits are stable pass ids
  nr_errors: at(18, u16),
});

export interface DowngradeEntry {
  readonly version: number;
  readonly recovery_passes: readonly bigint[];
  /** Fsck error ids. */
  readonly errors: readonly number[];
}

/** Entries as far as they are whole; the section's end is padding, or an entry that is cut off, which the reference ignores. */
function decodeDowngrade(payload: Uint8Array): readonly DowngradeEntry[] {
  const view = viewOf(payload);
  const entries: DowngradeEntry[] = [];
  for (let start = 0; start + DowngradeEntryHeader.size <= payload.length; ) {
    const { version, recovery_passes, nr_errors } = DowngradeEntryHeader.get(view, start);
    const errorsStart = start + DowngradeEntryHeader.size;
    const end = errorsStart + 2 * nr_errors;
    if (end > payload.length) break;
    const errors = Array.from({ length: nr_errors }, (_, i) => view.getUint16(errorsStart + 2 * i, true));
    entries.push({ version, recovery_passes, errors });
    start = end;
  }
  return entries;
}

function encodeDowngrade(entries: readonly DowngradeEntry[]): Uint8Array {
  const sizes = entries.map(entry => DowngradeEntryHeader.size + 2 * entry.errors.length);
  const target = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const view = viewOf(target);
  let start = 0;
  entries.forEach(({ version, recovery_passes, errors }, i) => {
    DowngradeEntryHeader.put(view, start, { version, recovery_passes, nr_errors: errors.length });
    errors.forEach((error, j) => {
      view.setUint16(start + DowngradeEntryHeader.size + 2 * j, error, true);
    });
    start += sizes[i]!;
  });
  return target;
}

/**
 * A superblock with the section for these changes. A longer one stays: older kernels know only what they have passes for.
 * Mirrors bch2_sb_downgrade_update.
 */
export function withDowngradeEntries(sb: Superblock, changes: readonly VersionChange[]): Superblock {
  const entries = changes.map(({ version, passes, errors }) => ({
    version,
    recovery_passes: [passes, 0n],
    errors: [...errors],
  }));
  const encoded = encodeDowngrade(entries);
  const padded = new Uint8Array(roundUp(encoded.length, 8));
  padded.set(encoded);
  const before = sectionPayload(sb, 'downgrade');
  return before !== undefined && before.length > padded.length ? sb : withSection(sb, 'downgrade', padded);
}

/** Passes beyond the first word do not exist yet. */
const passMaskOf = (entry: DowngradeEntry) => (entry.recovery_passes[1]! << 64n) | entry.recovery_passes[0]!;

export const downgradeField: SbFieldKind<readonly DowngradeEntry[]> = {
  name: 'downgrade',
  decode: decodeDowngrade,
  encode: encodeDowngrade,
  validate(value, sb) {
    const odd = value.findIndex(entry => versionMajor(entry.version) !== versionMajor(sb.version));
    if (odd < 0) return [];
    const detail = `an entry for version ${versionNumber(value[odd]!.version)}, the superblock's is ${versionNumber(sb.version)}`;
    return [problem('invalid_sb_downgrade', `downgrade[${odd}]`, detail)];
  },
  text(out, value, { style }) {
    // Left behind for the sections that follow, as in the reference.
    if (out.tabStopCount <= 1) out.pushTabStop(16);
    for (const entry of value) {
      out.print(`version:\t${versionText(entry.version, style)}\n`);
      out.print(`recovery passes:\t${passNames(passMaskOf(entry), style).join(',')}\n`);
      out.print(`errors:\t${entry.errors.map(id => fsckErrorText(id, style)).join(',')}\n`);
    }
  },
  json: value => ({
    entries: value.map(entry => ({
      version: versionNumber(entry.version),
      recovery_passes: passNames(passMaskOf(entry)),
      errors: entry.errors.map(id => fsckErrors.nameOf(id)),
    })),
  }),
};
