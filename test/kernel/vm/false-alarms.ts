// What the check of Linux 6.12 complains of although nothing is wrong, by name. Our own checker judges the same things.

import type { Complaint } from './fsck-log.ts';

/**
 * check_nlinks of 6.12 counts a name that is new in a snapshot for the version of the inode above it too, where the one in the snapshot has
 * just one link: after `ln f g`, a snapshot, `mv f F; rm g` it says "wrong i_nlink (2, should be 3)" of what the kernel alone has made. Our
 * own checker judges link counts; what is random may run into it.
 */
const LINK_COUNT = / has wrong i_nlink \(\d+, should be \d+\)/;
/** Follows any complaint. */
const NOT_CLEAN = 'done going read-only, filesystem not clean';

/**
 * What 6.12 leaves wrong by itself, now and then: it deletes a snapshot while it goes on changing the root directory that the snapshot shares
 * with a subvolume that lives, and the root keeps the flag. The same operations on the same image, which its check had found clean, left
 * it in 10 of 56 repetitions.
 */
const CHILD_FLAG = /^inode has_child_snapshots flag wrong \(should be 0\)/;

/** Those that count of what a kernel alone has changed, deletions of subvolumes among it. Of what we have written, all count. */
export function withoutOwnRaces(complaints: readonly Complaint[]): readonly Complaint[] {
  const others = complaints.filter(({ text }) => !CHILD_FLAG.test(text));
  return withoutFalseAlarms(
    others.length < complaints.length ? others.filter(({ text }) => text !== NOT_CLEAN) : complaints,
  );
}

/** The complaints that count. */
export function withoutFalseAlarms(complaints: readonly Complaint[]): readonly Complaint[] {
  if (!complaints.some(({ text }) => LINK_COUNT.test(text))) return complaints;
  return complaints.filter(({ text }) => !LINK_COUNT.test(text) && text !== NOT_CLEAN);
}
