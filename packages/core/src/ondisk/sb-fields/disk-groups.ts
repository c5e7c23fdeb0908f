// Section `disk_groups`: the tree of device labels. A label path such as
// `ssd.ssd1` is a chain of groups, each with its parent's index plus one (0: none); a member refers to the last group of its path,
// again by index plus one. Deleted groups keep their place, so that indexes stay, and are used again first.
// Sources: alloc/disk_groups_format.h, alloc/disk_groups.c and alloc/disk_groups.h, v1.36.1.

import { printable } from '../../util/byte-text.ts';
import { bits, getBits, withBits } from '../bits.ts';
import { dataTypes } from '../data-types.ts';
import { UsageError } from '../errors.ts';
import { array, at, bytes, layout, type Struct, u64, viewOf } from '../layout.ts';
import { memberBits } from '../member-bits.ts';
import { SB_LABEL_BYTES, type Superblock, sectionPayload } from '../superblock.ts';
import { decodeTarget } from '../targets.ts';
import { PROBLEMS_MAX, problem, type SbFieldKind, type SbProblem } from './kind.ts';
import { memberAt, members } from './members.ts';

/** struct bch_disk_group: one component of a label path. */
export const BchDiskGroup = layout('bch_disk_group', 48, {
  label: at(0, bytes(SB_LABEL_BYTES)),
  flags: at(32, array(u64, 2)), // see DISK_GROUP
});
export type BchDiskGroup = Struct<typeof BchDiskGroup>;

/** Bits of bch_disk_group.flags. */
export const DISK_GROUP = {
  deleted: bits(0, 0, 1),
  data_allowed: bits(0, 1, 6),
  /** Index plus one; 0 for a first component. */
  parent: bits(0, 6, 24),
} as const;

/** The longest path that the reference follows; also what ends a circle of parents. */
const PATH_LENGTH_MAX = 32;

export const isDeletedGroup = (group: BchDiskGroup): boolean => getBits(group.flags, DISK_GROUP.deleted) !== 0;
/** The parent's index, or -1. */
export const parentGroup = (group: BchDiskGroup): number => getBits(group.flags, DISK_GROUP.parent) - 1;

/** One component's name, up to its first NUL. */
export function groupLabel(group: BchDiskGroup): string {
  const end = group.label.indexOf(0);
  return new TextDecoder().decode(end < 0 ? group.label : group.label.subarray(0, end));
}

/** All groups by index; bytes after the last whole entry are not looked at. */
export function decodeDiskGroups(payload: Uint8Array): readonly BchDiskGroup[] {
  const view = viewOf(payload);
  const count = Math.floor(payload.length / BchDiskGroup.size);
  return Array.from({ length: count }, (_, i) => BchDiskGroup.get(view, i * BchDiskGroup.size));
}

export function encodeDiskGroups(groups: readonly BchDiskGroup[]): Uint8Array {
  const target = new Uint8Array(BchDiskGroup.size * groups.length);
  const view = viewOf(target);
  groups.forEach((group, i) => {
    BchDiskGroup.put(view, i * BchDiskGroup.size, group);
  });
  return target;
}

/** The superblock's groups; empty when it has none. */
export function diskGroups(sb: Superblock): readonly BchDiskGroup[] {
  return decodeDiskGroups(sectionPayload(sb, 'disk_groups') ?? new Uint8Array(0));
}

/** The index of the group that a path such as `ssd.ssd1` ends at, or undefined when there is none. */
export function findLabel(groups: readonly BchDiskGroup[], path: string): number | undefined {
  let index = -1;
  for (const component of path.split('.')) {
    index = findComponent(groups, index, component);
    if (index < 0) return undefined;
  }
  return index;
}

/**
 * The groups with a path added as far as it is missing, and the index of its last component.
 * @throws UsageError when a component is empty or longer than 32 bytes
 */
export function withLabel(
  groups: readonly BchDiskGroup[],
  path: string,
): { readonly groups: readonly BchDiskGroup[]; readonly index: number } {
  let changed = groups;
  let index = -1;
  for (const component of path.split('.')) {
    const found = findComponent(changed, index, component);
    if (found >= 0) {
      index = found;
      continue;
    }
    const added = newGroup(index, component, path);
    const freeSlot = changed.findIndex(isDeletedGroup);
    if (freeSlot < 0) {
      index = changed.length;
      changed = [...changed, added];
    } else {
      index = freeSlot;
      changed = changed.with(freeSlot, added);
    }
  }
  return { groups: changed, index };
}

function findComponent(groups: readonly BchDiskGroup[], parent: number, name: string): number {
  return groups.findIndex(
    group => !isDeletedGroup(group) && parentGroup(group) === parent && name !== '' && groupLabel(group) === name,
  );
}

function newGroup(parent: number, name: string, path: string): BchDiskGroup {
  const encoded = new TextEncoder().encode(name);
  if (encoded.length === 0) throw new UsageError(`the label ${JSON.stringify(path)} has an empty component`);
  if (encoded.length > SB_LABEL_BYTES) {
    throw new UsageError(
      `the label component ${JSON.stringify(name)} is ${encoded.length} bytes long, ${SB_LABEL_BYTES} at most`,
    );
  }
  const label = new Uint8Array(SB_LABEL_BYTES);
  label.set(encoded);
  // All kinds of data are allowed: the reference sets every bit of the field.
  const flags = withBits(withBits([0n, 0n], DISK_GROUP.data_allowed, 0x1f), DISK_GROUP.parent, parent + 1);
  return { label, flags };
}

/** The path that ends at a group; undefined where the chain leads to a deleted or missing group or in a circle. */
export function labelPath(groups: readonly BchDiskGroup[], index: number): string | undefined {
  const components: string[] = [];
  for (let next = index; next >= 0; ) {
    const group = groups[next];
    if (group === undefined || isDeletedGroup(group) || components.length === PATH_LENGTH_MAX) return undefined;
    components.unshift(groupLabel(group));
    next = parentGroup(group);
  }
  return components.join('.');
}

/** A target option's value as show-super prints it: `none`, a label path, or `Device <uuid> (<index>)`. */
export function targetText(sb: Superblock, value: number): string {
  const target = decodeTarget(value);
  if (target.type === 'none') return 'none';
  if (target.type === 'group') return labelText(diskGroups(sb), target.group);
  const member = memberAt(sb, target.dev);
  return member === undefined ? `Bad device ${target.dev}` : `Device ${member.uuid} (${target.dev})`;
}

/** The path of a group, or the reference's words for one that does not lead anywhere. */
export function labelText(groups: readonly BchDiskGroup[], index: number): string {
  const path = labelPath(groups, index);
  return path === undefined ? `invalid label ${index}` : printable(path);
}

/** The group of a member's label, by index; undefined when it has none. */
export function memberGroup(member: { readonly flags: bigint }): number | undefined {
  const stored = getBits([member.flags], memberBits.GROUP);
  return stored === 0 ? undefined : stored - 1;
}

export const diskGroupsField: SbFieldKind<readonly BchDiskGroup[]> = {
  name: 'disk_groups',
  decode: decodeDiskGroups,
  encode: encodeDiskGroups,
  validate(groups, sb) {
    const problems: SbProblem[] = [];
    const wrong = (field: string, detail: string) => problems.push(problem('invalid_sb_disk_groups', field, detail));
    members(sb).forEach((member, i) => {
      const index = memberGroup(member);
      if (index === undefined) return;
      const group = groups[index];
      if (group === undefined)
        wrong(`members[${i}].group`, `disk ${i} has invalid label ${index} (have ${groups.length})`);
      else if (isDeletedGroup(group)) wrong(`members[${i}].group`, `disk ${i} has deleted label ${index}`);
    });
    const seen = new Set<string>();
    for (const [i, group] of groups.entries()) {
      if (problems.length >= PROBLEMS_MAX) break;
      if (isDeletedGroup(group)) continue;
      const label = groupLabel(group);
      if (label === '') wrong(`disk_groups[${i}]`, `label ${i} empty`);
      if (parentGroup(group) >= groups.length) {
        wrong(`disk_groups[${i}]`, `label ${i} has invalid parent ${parentGroup(group)} (have ${groups.length})`);
      }
      const identity = `${parentGroup(group) + 1}.${label}`;
      if (seen.has(identity)) wrong(`disk_groups[${i}]`, `duplicate label ${identity}`);
      seen.add(identity);
    }
    return problems;
  },
  text(out, groups) {
    const texts = groups.map(group =>
      isDeletedGroup(group) ? '[deleted]' : `[parent ${parentGroup(group) + 1} name ${printable(groupLabel(group))}]`,
    );
    out.print(texts.join(' ')); // no newline, as in the reference
  },
  json: groups => ({
    groups: groups.map((group, index) =>
      isDeletedGroup(group)
        ? { index, deleted: true }
        : {
            index,
            label: groupLabel(group),
            path: labelPath(groups, index) ?? null,
            parent: parentGroup(group) < 0 ? null : parentGroup(group),
            data_allowed: dataTypes.rows
              .filter(row => (getBits(group.flags, DISK_GROUP.data_allowed) >> row.id) & 1)
              .map(row => row.name),
          },
    ),
  }),
};
