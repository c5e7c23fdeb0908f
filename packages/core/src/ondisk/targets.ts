// Targets: what the options metadata_target, foreground_target, background_target and promote_target hold, in the superblock, in
// inodes and in extents: 0 for none, then 256 numbers for devices, then the groups of the disk_groups section.
// Source: alloc/disk_groups.h, v1.36.1.

/** What a target option means: nothing, one device, or every device below a label. */
export type Target =
  | { readonly type: 'none' }
  | { readonly type: 'dev'; readonly dev: number }
  | { readonly type: 'group'; readonly group: number };

const TARGET_DEV_START = 1;
const TARGET_GROUP_START = TARGET_DEV_START + 256;

export function encodeTarget(target: Target): number {
  if (target.type === 'none') return 0;
  return target.type === 'dev' ? TARGET_DEV_START + target.dev : TARGET_GROUP_START + target.group;
}

export function decodeTarget(value: number): Target {
  if (value >= TARGET_GROUP_START) return { type: 'group', group: value - TARGET_GROUP_START };
  if (value >= TARGET_DEV_START) return { type: 'dev', dev: value - TARGET_DEV_START };
  return { type: 'none' };
}
