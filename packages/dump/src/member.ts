// Which member of a filesystem a command line means.

import { basename } from 'node:path';
import { type MemberSet, UsageError } from '@bcachefs-ts/core/engine';

/**
 * The index of the member that is meant.
 * @param word a number or a path; undefined where there is only one
 * @throws UsageError when it is not among those that were given
 */
export function chosenMember({ members }: MemberSet, word: string | undefined): number {
  const names = members.map(({ sb, device }) => `${sb.dev_idx} (${device.name})`).join(', ');
  if (word === undefined) {
    const [only] = members;
    if (only !== undefined && members.length === 1) return only.sb.dev_idx;
    throw new UsageError(`the filesystem has several members here, say which one is meant: ${names}`, '--device');
  }
  const found = members.find(({ sb, device }) => {
    return String(sb.dev_idx) === word || device.name === word || basename(device.name) === word;
  });
  if (found === undefined) throw new UsageError(`found ${JSON.stringify(word)}, expected one of ${names}`, '--device');
  return found.sb.dev_idx;
}
