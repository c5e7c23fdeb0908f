// Members as the text of keys needs them.

import { getBits } from '../bits.ts';
import { CorruptError } from '../errors.ts';
import type { ExtentTextContext } from '../extent-entries.ts';
import { memberBits } from '../member-bits.ts';
import { memberStates } from '../member-states.ts';
import { diskGroups, labelText } from './disk-groups.ts';
import type { SbTextContext } from './kind.ts';
import { type Member, memberAlive, members } from './members.ts';

const EVACUATING = memberStates.idOf('evacuating');

/** DURABILITY is stored plus one; 0 stands for the default of 1. */
export function memberDurability(member: Member): number {
  const stored = getBits([member.flags], memberBits.DURABILITY);
  return stored === 0 ? 1 : stored - 1;
}

/** What printing pointers needs to know about the members; none are known where their section is damaged. */
export function textDevices(context: SbTextContext): ExtentTextContext {
  const known = membersOrNone(context);
  const groups = diskGroups(context.sb);
  return {
    device(index) {
      const member = known[index];
      if (member === undefined || !memberAlive(member)) return undefined;
      const path = context.memberName(index);
      return {
        // As the reference calls them when it has opened only some members: a bare file name, or the number.
        name: path === undefined ? `dev-${index}` : path.slice(path.lastIndexOf('/') + 1),
        isOnline: path !== undefined,
        bucketSizeSectors: member.bucket_size,
        durability: memberDurability(member),
        isEvacuating: getBits([member.flags], memberBits.STATE) === EVACUATING,
      };
    },
    label: group => labelText(groups, group),
  };
}

/** Their own section says what is wrong with it; here they are only looked up. */
function membersOrNone({ sb }: SbTextContext): readonly Member[] {
  try {
    return members(sb);
  } catch (thrown) {
    if (thrown instanceof CorruptError) return [];
    throw thrown;
  }
}
