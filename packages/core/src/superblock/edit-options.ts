// Changes options that are stored in a superblock: of the filesystem, or of single members. What can be changed is what a
// kernel would let a mount or sysfs change; sizes that the whole layout rests on stay as format made them.

import { withBits } from '../ondisk/bits.ts';
import { UsageError } from '../ondisk/errors.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import {
  type OptionNumber,
  type OptionValue,
  withExtOption,
  withMemberOption,
  withOption,
} from '../ondisk/option-values.ts';
import { isOptionKnownTo, type OptionName, type OptionRow, optionAt, options } from '../ondisk/options.ts';
import type { Release } from '../ondisk/releases.ts';
import { diskGroups, encodeDiskGroups, findLabel, withLabel } from '../ondisk/sb-fields/disk-groups.ts';
import { withExt } from '../ondisk/sb-fields/ext.ts';
import { BchMember, type Member, memberAt, memberBytes, withMember } from '../ondisk/sb-fields/members.ts';
import { type Superblock, withSection } from '../ondisk/superblock.ts';
import { encodeTarget, type Target } from '../ondisk/targets.ts';

/** The options that can be changed in the superblock of an existing filesystem. */
export function changeableOptions(release: Release): readonly OptionRow[] {
  return options.rows.filter(row => {
    if (!isOptionKnownTo(release, row) || FIXED_AT_FORMAT.has(row.name)) return false;
    const { scopes, storage } = optionAt(release, row);
    if (storage.in === 'nowhere') return row.name === 'label';
    return isDeviceOption(row, release) || scopes.includes('mount') || scopes.includes('runtime');
  });
}

/** What the layout of a device rests on. */
const FIXED_AT_FORMAT: ReadonlySet<OptionName> = new Set(['bucket_size', 'fs_size']);

/** Whether the option belongs to members rather than to the filesystem. */
export function isDeviceOption(row: OptionRow, release: Release): boolean {
  return row.name === 'label' || ['member', 'member_field'].includes(optionAt(release, row).storage.in);
}

/** Names of the devices that are at hand, for targets that name one. */
export type DeviceNames = ReadonlyMap<string, number>;

/**
 * A copy of the superblock with a filesystem option changed.
 * @param value validated; a target still as the user named it
 */
export function withFilesystemOption(
  sb: Superblock,
  row: OptionRow,
  value: OptionValue,
  release: Release,
  devices: DeviceNames,
): Superblock {
  const { storage } = optionAt(release, row);
  const stored = typeof value === 'string' ? encodeTarget(resolveTarget(sb, row, value, devices)) : value;
  if (storage.in !== 'ext') return withOption(sb, row.name, stored);
  return withExt(sb, ({ flags0 }) => ({ flags0: withExtOption(flags0, row.name, stored) }));
}

/** @throws UsageError when the name is neither a label's nor a device's */
export function resolveTarget(sb: Superblock, row: OptionRow, wanted: string, devices: DeviceNames): Target {
  if (wanted === 'none') return { type: 'none' };
  const dev = devices.get(wanted);
  if (dev !== undefined) return { type: 'dev', dev };
  const group = findLabel(diskGroups(sb), wanted);
  if (group !== undefined) return { type: 'group', group };
  throw new UsageError(
    `${JSON.stringify(wanted)} is neither a label of this filesystem nor one of its devices`,
    `--${row.name}`,
  );
}

/**
 * A copy of the superblock with an option of one member changed.
 * @throws UsageError when there is no such member
 */
export function withDeviceOption(sb: Superblock, index: number, row: OptionRow, value: OptionValue): Superblock {
  if (memberAt(sb, index) === undefined) throw new UsageError(`the filesystem has no member ${index}`, '--dev_idx');
  if (row.name === 'label') return withMemberLabel(sb, index, String(value));
  if (row.name === 'failure_domain') {
    if (memberBytes(sb) < BchMember.size)
      throw new UsageError('this filesystem keeps no room for it', '--failure_domain');
    const name = new Uint8Array(32);
    name.set(new TextEncoder().encode(String(value)));
    return withMember(sb, index, member => ({ ...member, failure_domain: name }));
  }
  return withMember(sb, index, member => withMemberOption(member, row.name, value as OptionNumber)); // only the two above are texts
}

function withMemberLabel(sb: Superblock, index: number, path: string): Superblock {
  const setGroup = (group: number) => (member: Member) => ({
    ...member,
    flags: withBits([member.flags], memberBits.GROUP, group)[0]!,
  });
  if (path === 'none') return withMember(sb, index, setGroup(0));
  const labelled = withLabel(diskGroups(sb), path);
  return withMember(
    withSection(sb, 'disk_groups', encodeDiskGroups(labelled.groups)),
    index,
    setGroup(labelled.index + 1),
  );
}
