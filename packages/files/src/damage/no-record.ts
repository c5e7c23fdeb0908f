// Filesystems that record nothing of the kind.

import { btrees, type Filesystem, isKnownTo, releaseForWriting, versionNumber } from '@bcachefs-ts/core/engine';

/** What is said instead of looking; undefined where there may be a record. */
export function noRecordText({ sb }: Pick<Filesystem, 'sb'>): string | undefined {
  const btree = btrees.byName('damage')!;
  if (isKnownTo(releaseForWriting(sb.version), btree)) return undefined;
  return `nothing is recorded: filesystems of metadata version ${versionNumber(sb.version)} keep no record of damage`;
}
