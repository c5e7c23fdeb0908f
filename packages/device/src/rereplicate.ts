// data rereplicate: copies that are missing are made. What is planned is said first, with the numbers by kind.

import { allowMissingOption, bytesText, defineCommand, EXIT, runSteps } from '@bcachefs-ts/command';
import {
  type CopyWork,
  type FilesystemWriter,
  type LeftCopies,
  planRereplicate,
  type RereplicatePlan,
  type RereplicateReport,
  rereplicateSteps,
  type WhyLeft,
  writtenBytesOf,
} from '@bcachefs-ts/core/engine';
import { commitsText, keysText } from './evacuate.ts';
import { filesOfKeys } from './files-of-keys.ts';
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

export interface Unfinished extends Planned {
  readonly leftCount: number;
}

export const dataRereplicateCommand = defineCommand({
  name: 'rereplicate',
  summary: 'Make the copies that data and btree nodes lack',
  description:
    'After a member has died or was removed by force, or when more copies are wanted than before. Copies on members that are missing ' +
    'or have failed count as none; how many are wanted is what the file says, else the filesystem. Each new copy is made of one that ' +
    'was read and compared with its checksum, and goes to a member that has none: one of the target, else any. Pointers to copies that ' +
    'do not count go when all copies are there. Data with erasure coding is left as it is.\n\n' +
    'Whether there is room is known before anything is written. It can be stopped at any time: running it again goes on. What could ' +
    'not get its copies is listed by its path; the exit code is then 1.',
  examples: [
    { command: 'bcachefs data rereplicate -n a.img:b.img', does: 'Says what would be read and written' },
    {
      command: 'bcachefs data rereplicate --allow_missing -y /dev/sda:/dev/sdc',
      does: 'Does it without a disk that is dead',
    },
  ],
  positionals: reshapedPositional,
  options: { ...allowMissingOption, ...planOptions },
  async run(context, args): Promise<Unfinished> {
    return await withWriter(context, args, async writer => {
      const plan = planRereplicate(writer.filesystem);
      let leftCount = plan.stuck.noMember + plan.stuck.noCopy;
      const planned = await carryOut(context, args, planOf(writer, plan), async () => {
        const total = writtenBytesOf(plan);
        const task = context.progress.start({ what: 'making copies', total, unit: 'bytes' });
        const report = await runSteps(rereplicateSteps(writer), step => {
          if (step !== undefined) task.at(Math.min(total, step.writtenBytes));
        });
        task.end();
        leftCount = report.leftCount;
        return outcomeOf(writer, report);
      });
      return { ...planned, leftCount };
    });
  },
  text: printPlanned,
  json: plannedJson,
  exitCode: ({ leftCount, action }) => (leftCount > 0 && action !== 'dry run' ? EXIT.failed : EXIT.ok),
});

function planOf(writer: FilesystemWriter, plan: RereplicatePlan): Plan {
  const { sb, set } = writer.filesystem;
  const { extents, indirect, nodes, stuck, erasureCodedBytes } = plan;
  const written = writtenBytesOf(plan);
  const lines = [
    ...workLines('data', extents, 'extent'),
    ...workLines('shared data', indirect, 'extent'),
    ...workLines('metadata', nodes, 'btree node'),
  ];
  if (lines.length > 0)
    lines.push(`${bytesText(written)} will be written; the members have room for ${bytesText(plan.availableBytes)}`);
  if (stuck.noMember > 0)
    lines.push(`${keysText(stuck.noMember)} will have fewer copies than wanted: no member is left for another one`);
  if (stuck.noCopy > 0) lines.push(`${keysText(stuck.noCopy)} cannot be read: no member at hand has a copy`);
  if (erasureCodedBytes > 0) lines.push(`${bytesText(erasureCodedBytes)} with erasure coding is left as it is`);
  const isWork = extents.count + indirect.count + nodes.count > 0;
  const isStuck = stuck.noMember + stuck.noCopy > 0;
  if (!isWork && !isStuck) lines.push('everything has the copies that it is to have');
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines,
    question: isWork ? 'Make these copies?' : 'List what lacks copies?',
    isDone: !isWork && !isStuck,
    json: {
      extents: workJson(extents),
      indirect_extents: workJson(indirect),
      btree: workJson(nodes),
      available: plan.availableBytes,
      no_member: stuck.noMember,
      no_copy: stuck.noCopy,
      erasure_coded: erasureCodedBytes,
    },
  };
}

export function workLines(what: string, { count, readBytes, writtenBytes }: CopyWork, noun: string): readonly string[] {
  if (count === 0) return [];
  const keys = `${count} ${noun}${count === 1 ? '' : 's'}`;
  return [`${what}: ${keys} lack copies: ${bytesText(readBytes)} to read, ${bytesText(writtenBytes)} to write`];
}

export const workJson = ({ count, readBytes, writtenBytes }: CopyWork): object => ({
  count,
  read: readBytes,
  written: writtenBytes,
});

const WHY_TEXT: Readonly<Record<WhyLeft, string>> = {
  'no member': 'no member is left for another copy',
  'no good copy': 'no good copy could be read',
  'no room': 'the members that may have another copy are full',
};

/** What is left, by why, with the paths of its files. */
export function leftLines(
  { filesystem }: FilesystemWriter,
  left: readonly LeftCopies[],
  leftCount: number,
): readonly string[] {
  if (leftCount === 0) return [];
  const lines = [`${keysText(leftCount)} could not be completed:`];
  for (const why of Object.keys(WHY_TEXT) as WhyLeft[]) {
    const files = filesOfKeys(
      filesystem,
      left.filter(key => key.why === why),
    );
    if (files.length > 0) lines.push(`${WHY_TEXT[why]}:`, ...files.map(file => `  ${file}`));
  }
  if (leftCount > left.length) lines.push('and others');
  return lines;
}

export const leftJson = ({ filesystem }: FilesystemWriter, left: readonly LeftCopies[], leftCount: number) => ({
  left_keys: leftCount,
  left: (Object.keys(WHY_TEXT) as WhyLeft[]).flatMap(why => {
    const paths = filesOfKeys(
      filesystem,
      left.filter(key => key.why === why),
    );
    return paths.length === 0 ? [] : [{ why: why.replaceAll(' ', '_'), paths }];
  }),
});

function outcomeOf(writer: FilesystemWriter, report: RereplicateReport): Outcome {
  const { writtenBytes, droppedBytes, commits, left, leftCount } = report;
  const lines = [`wrote ${bytesText(writtenBytes)} of copies in ${commitsText(commits)}`];
  if (droppedBytes > 0) lines.push(`dropped pointers to ${bytesText(droppedBytes)} of copies that do not count`);
  return {
    lines: [...lines, ...leftLines(writer, left, leftCount)],
    json: { written: writtenBytes, dropped: droppedBytes, commits, ...leftJson(writer, left, leftCount) },
  };
}
