// device remove: a member leaves for good. What is on it is moved first, or given up when that is asked for or the member is missing; then what
// would be lost is listed by its path before anybody is asked.

import { allowMissingOption, bytesText, defineCommand, EXIT, runSteps } from '@bcachefs-ts/command';
import {
  type FilesystemWriter,
  planRemove,
  type RemovePlan,
  type RemoveReport,
  removeSteps,
} from '@bcachefs-ts/core/engine';
import { commitsText, contentsJson, contentsText, keysText, memberName } from './evacuate.ts';
import { filesOfKeys } from './files-of-keys.ts';
import { type LostFiles, lostNames, NOTHING_LOST } from './lost-paths.ts';
import { memberNamed, memberPositional } from './member-named.ts';
import {
  carryOut,
  type Outcome,
  type Plan,
  type Planned,
  plannedJson,
  planOptions,
  printPlanned,
  reshapedPositional,
} from './plan.ts';
import { withWriter } from './with-writer.ts';

interface Removed extends Planned {
  readonly isRemoved: boolean;
}

export const deviceRemoveCommand = defineCommand({
  name: 'remove',
  summary: 'Take a member out of a filesystem',
  description:
    'Everything on the member is moved to the others, as `device evacuate` does; then it leaves the filesystem, and the superblocks on it ' +
    'are wiped. Its data is not: a disk that is given away has to be erased. Of erasure-coded data, what the other blocks of its stripes give is kept.\n\n' +
    'A member that is missing is named by its index or UUID, with --allow_missing. Pointers to it are dropped, and what has no other copy is ' +
    'lost; that is listed by path before you are asked. If only it has some btree node, it cannot be removed. --force gives up the ' +
    'data of a member that is there in the same way, for a disk that fails; its btree nodes are still moved.\n\n' +
    'Targets of the filesystem that name the member (`foreground_target` and the like) become none. Those of single files stay, and mean ' +
    'nothing any more: data goes to any member.\n\n' +
    'If it is stopped, the filesystem has all its files but those that were given up, with the member or without it; running it again ' +
    'finishes it.',
  examples: [
    { command: 'bcachefs device remove -n a.img:b.img b.img', does: 'Says what would be moved' },
    { command: 'bcachefs device remove -y a.img:b.img b.img', does: 'Takes one member out' },
    { command: 'bcachefs device remove --allow_missing -y /dev/sda:/dev/sdc 1', does: 'Drops a disk that is dead' },
  ],
  positionals: { ...reshapedPositional, ...memberPositional },
  options: {
    force: { type: 'flag', alias: 'f', help: 'move no data: what has no other copy is lost' },
    ...allowMissingOption,
    ...planOptions,
  },
  async run(context, args): Promise<Removed> {
    return await withWriter(context, args, async writer => {
      const { index: dev } = memberNamed(writer.filesystem.set, args.member);
      const plan = planRemove(writer.filesystem, dev, { isForced: args.force });
      const files =
        plan.lostBytes === 0 ? NOTHING_LOST : lostNames(writer.filesystem, dev, message => context.warn(message));
      let isRemoved = true;
      const planned = await carryOut(context, args, planOf(writer, dev, plan, files), async () => {
        const name = memberName(writer, dev);
        const total = plan.evacuation?.movedBytes ?? 0;
        const task = context.progress.start({ what: 'moving', total, unit: 'bytes' });
        const report = await runSteps(removeSteps(writer, dev, { isForced: args.force }), step => {
          if (step !== undefined) task.at(Math.min(total, step.movedBytes));
        });
        task.end();
        isRemoved = report.isRemoved;
        return outcomeOf(writer, name, report);
      });
      return { ...planned, isRemoved };
    });
  },
  text: printPlanned,
  json: plannedJson,
  exitCode: ({ isRemoved }) => (isRemoved ? EXIT.ok : EXIT.failed),
});

function planOf(writer: FilesystemWriter, dev: number, plan: RemovePlan, files: LostFiles): Plan {
  const { sb, set } = writer.filesystem;
  const name = memberName(writer, dev);
  const { contents, isMissing, evacuation, lostBytes, fewerCopiesBytes, targets } = plan;
  const lines = [`${name}${isMissing ? ', which is missing,' : ''} has ${contentsText(contents)}`];
  if (evacuation !== undefined) {
    const { movedBytes, availableBytes } = evacuation;
    lines.push(
      `about ${bytesText(movedBytes)} will be moved to the other members, which have room for ${bytesText(availableBytes)}`,
    );
  }
  if (fewerCopiesBytes > 0) lines.push(`${bytesText(fewerCopiesBytes)} will have one copy fewer`);
  if (lostBytes > 0) {
    lines.push(`${bytesText(lostBytes)} will be lost: no other copy exists of some or all of these files:`);
    for (const file of files.names) lines.push(`  ${file}`);
    if (!files.isAll) lines.push('  and others: `device list --paths` lists all');
  }
  for (const option of targets.cleared) lines.push(`${option} names this member, and will be none`);
  for (const option of targets.emptied)
    lines.push(`${option} keeps its label, which no other member has: data then goes to any of them`);
  if (!isMissing) lines.push(`the superblocks on ${name} will be wiped`);
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines,
    question: lostBytes > 0 ? `Remove ${name}, and lose data?` : `Remove ${name}?`,
    json: {
      member: contentsJson(contents),
      missing: isMissing,
      moved: evacuation?.movedBytes ?? 0,
      available: evacuation?.availableBytes ?? null,
      fewer_copies: fewerCopiesBytes,
      lost: lostBytes,
      lost_files: files.names,
      lost_files_complete: files.isAll,
      targets_cleared: targets.cleared,
      targets_emptied: targets.emptied,
    },
  };
}

function outcomeOf(writer: FilesystemWriter, name: string, report: RemoveReport): Outcome {
  const { evacuation, isRemoved, lostKeys: lostCount, commits } = report;
  const moved = evacuation === undefined ? '' : `moved ${bytesText(evacuation.movedBytes)}, `;
  const left = isRemoved ? [] : filesOfKeys(writer.filesystem, evacuation?.left ?? []);
  const lines = isRemoved
    ? [`${moved}removed ${name} in ${commitsText(commits)}`]
    : [
        `${moved}but ${name} stays: ${keysText(evacuation?.leftCount ?? 0)} could not be moved:`,
        ...left.map(file => `  ${file}`),
      ];
  if (lostCount > 0)
    lines.push(
      lostCount === 1 ? '1 extent is lost: reading it fails' : `${lostCount} extents are lost: reading them fails`,
    );
  return {
    lines,
    json: { removed: isRemoved, moved: evacuation?.movedBytes ?? 0, commits, lost_extents: lostCount, left },
  };
}
