// device resync: members that missed some mounts come back: which ones they missed is said, and their superblocks become those of the others, as
// a mount does it. Split brains are explained, and refused.

import { allowMissingOption, defineCommand } from '@bcachefs-ts/command';
import {
  type FilesystemWriter,
  findMembers,
  leadingMember,
  type MemberStanding,
  memberStandings,
  printable,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { memberNamed, memberPositional } from './member-named.ts';
import {
  carryOut,
  type Plan,
  type Planned,
  plannedJson,
  planOptions,
  printPlanned,
  reshapedPositional,
} from './plan.ts';
import { standingText } from './standing-text.ts';
import { withWriter } from './with-writer.ts';

export const deviceResyncCommand = defineCommand({
  name: 'resync',
  summary: 'Bring members back that missed some mounts',
  description:
    'A member that was away while the filesystem was mounted has an older superblock, and what was written meanwhile has no copy on it. Which ' +
    'mounts it missed is reported first. Then its superblock becomes that of the others, as at a mount. Nothing else on it is out of date: keys only lead to copies that are what was ' +
    'written. `data rereplicate` makes the copies of what was written meanwhile.\n\n' +
    'A member that was changed without the others (split brain) is explained, and refused: each side has changes that the other lacks. ' +
    'Leave out one side, look at both with the commands that read, and decide: the side that is given up can be removed with `device remove ' +
    '--allow_missing`, wiped, and added again.',
  examples: [
    { command: 'bcachefs device resync -n a.img:b.img b.img', does: 'Says what it missed' },
    { command: 'bcachefs device resync -y /dev/sda:/dev/sdb 1', does: 'Brings member 1 back' },
  ],
  positionals: { ...reshapedPositional, member: { ...memberPositional.member, count: 'some' } },
  options: { ...allowMissingOption, ...planOptions },
  async run(context, args): Promise<Planned> {
    refuseSides(args);
    return await withWriter(context, args, async writer => {
      const { set } = writer.filesystem;
      const indexes = new Set(args.member.map(word => memberNamed(set, word).index));
      const standings = memberStandings(set).filter(({ index }) => indexes.has(index));
      for (const { index, member } of standings)
        if (member === undefined)
          throw new UsageError(`member ${index} is missing: only one that is here can come back`);
      return await carryOut(context, args, planOf(writer, standings), () => {
        writer.editSuperblocks(sb => sb);
        return { lines: ['brought back'], json: { seq: writer.filesystem.sb.seq } };
      });
    });
  },
  text: printPlanned,
  json: plannedJson,
});

/** @throws UsageError with the whole story of a member that was changed without the others, or is not one any more */
function refuseSides({ filesystem, uuid }: { readonly filesystem: string; readonly uuid: string | undefined }): void {
  const set = findMembers([filesystem], { uuid });
  for (const { device } of set.members) device.close();
  const { sb } = leadingMember(set);
  for (const each of memberStandings(set)) {
    const text = each.standing === 'split_brain' || each.standing === 'removed' ? standingText(each, sb) : undefined;
    if (text !== undefined) throw new UsageError(text);
  }
}

function planOf(writer: FilesystemWriter, standings: readonly MemberStanding[]): Plan {
  const { filesystem } = writer;
  const { sb } = leadingMember(filesystem.set);
  const stale = standings.filter(({ standing }) => standing === 'stale');
  const lines = standings.map(each => {
    const name = printable(each.member?.device.name ?? `${each.index}`);
    return each.standing === 'stale' ? (standingText(each, sb) ?? name) : `${name} missed nothing`;
  });
  return {
    uuid: filesystem.sb.user_uuid,
    members: filesystem.set.members.map(({ device }) => device.name),
    lines,
    question: `Bring ${standings.map(({ member, index }) => printable(member?.device.name ?? `${index}`)).join(' and ')} back?`,
    isDone: stale.length === 0,
    json: {
      members: standings.map(({ index, standing, member, believedSeq }) => ({
        member: index,
        standing,
        seq: member?.sb.seq ?? null,
        believed_seq: believedSeq,
      })),
      seq: sb.seq,
    },
  };
}
