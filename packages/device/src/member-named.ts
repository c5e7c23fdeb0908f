// Which member of a filesystem a word of a command line means: its path, its index, or its own UUID. A missing one has no path.

import { basename } from 'node:path';
import {
  type MemberSet,
  memberAlive,
  members,
  memberText,
  type OpenMember,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { realPath } from './members-at.ts';

export interface NamedMember {
  readonly index: number;
  /** Undefined when it is missing. */
  readonly member: OpenMember | undefined;
}

/** The word that names one member. */
export const memberPositional = {
  member: { count: 'one', file: true, help: 'a member: its path, its index, or its UUID as `device list` prints it' },
} as const;

/**
 * A word of digits is an index; a file with such a name is `./1`.
 * @throws UsageError when the filesystem has no such member, or when several have the name
 */
export function memberNamed(set: MemberSet, word: string): NamedMember {
  const { sb } = set.newest;
  const found = indexesNamed(set, word);
  const [index] = found;
  if (index === undefined)
    throw new UsageError(`${JSON.stringify(word)} is not a member; expected one of ${namesOf(set)}`);
  if (found.length > 1) {
    throw new UsageError(
      `${JSON.stringify(word)} means several members: ${found.map(at => memberText(sb, at)).join(', ')}`,
    );
  }
  return { index, member: set.members.find(member => member.sb.dev_idx === index) };
}

/** Of all that have the name: none when no member has it. */
export function indexesNamed({ newest, members: opened }: MemberSet, word: string): readonly number[] {
  const alive = members(newest.sb).flatMap((member, index) => (memberAlive(member) ? [{ ...member, index }] : []));
  if (/^\d+$/.test(word)) return alive.filter(({ index }) => index === Number(word)).map(({ index }) => index);
  const byUuid = alive.filter(({ uuid }) => uuid === word.toLowerCase());
  if (byUuid.length > 0) return byUuid.map(({ index }) => index);
  const isAlive = ({ sb }: OpenMember) => alive.some(({ index }) => index === sb.dev_idx);
  const exact = opened.filter(one => isAlive(one) && realPath(one.device.name) === realPath(word));
  const named = exact.length > 0 ? exact : opened.filter(one => isAlive(one) && basename(one.device.name) === word);
  return named.map(({ sb }) => sb.dev_idx);
}

function namesOf({ newest, members: opened, missing }: MemberSet): string {
  const here = opened.map(({ sb, device }) => `${sb.dev_idx} (${device.name})`);
  return [...here, ...missing.map(index => `${index} (missing, uuid ${members(newest.sb)[index]?.uuid})`)].join(', ');
}
