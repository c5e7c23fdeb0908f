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

/** The complaints that count. */
export function withoutFalseAlarms(complaints: readonly Complaint[]): readonly Complaint[] {
  if (!complaints.some(({ text }) => LINK_COUNT.test(text))) return complaints;
  return complaints.filter(({ text }) => !LINK_COUNT.test(text) && text !== NOT_CLEAN);
}
