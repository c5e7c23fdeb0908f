// device evacuate: members are emptied, the others take what is on them. What is planned is said first, with the numbers.

import { allowMissingOption, bytesText, defineCommand, EXIT, runSteps } from '@bcachefs-ts/command';
import {
  contentsOf,
  type EvacuatePlan,
  type EvacuateReport,
  evacuateSteps,
  type FilesystemWriter,
  type MemberContents,
  planEvacuate,
  printable,
} from '@bcachefs-ts/core/engine';
import { filesOfKeys } from './files-of-keys.ts';
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

const TYPES = ['all', 'user', 'btree'] as const;

interface Evacuated extends Planned {
  readonly leftCount: number;
}

export const deviceEvacuateCommand = defineCommand({
  name: 'evacuate',
  summary: 'Move everything off a member',
  description:
    'The member is set to ro, so that nothing new goes there. Then its data and btree nodes are moved to the other members: to those of the ' +
    'targets first, never two copies to one member. Cached copies are dropped; the superblock and the journal stay. ' +
    'Erasure-coded data in stripes with a block on the member becomes plain data, with as many copies as it shall have.\n\n' +
    'Whether there is room is known before anything is written. Data keeps as many copies as it had; where too few members are left for ' +
    'that it gets fewer, which is reported first. It can be stopped at any time: running it again goes on, and `device set-state rw` ' +
    'cancels it. What could not be moved is listed by its path; the exit code is then 1.',
  examples: [
    { command: 'bcachefs device evacuate -n a.img:b.img b.img', does: 'Says what would be moved' },
    { command: 'bcachefs device evacuate -y a.img:b.img b.img', does: 'Empties one member' },
    {
      command: 'bcachefs device evacuate --data=btree -y /dev/sda:/dev/sdb:/dev/sdc 1',
      does: 'Moves only btree nodes',
    },
  ],
  positionals: { ...reshapedPositional, member: { ...memberPositional.member, count: 'some' } },
  options: {
    data: { type: 'choice', choices: TYPES, default: 'all', help: 'what is moved: all, user or btree' },
    ...allowMissingOption,
    ...planOptions,
  },
  async run(context, args): Promise<Evacuated> {
    return await withWriter(context, args, async writer => {
      const devs = [...new Set(args.member.map(word => memberNamed(writer.filesystem.set, word).index))];
      const types = args.data === 'user' || args.data === 'btree' ? ([args.data] as const) : undefined;
      const plan = planEvacuate(writer.filesystem, devs, { types });
      let leftCount = 0;
      const planned = await carryOut(context, args, planOf(writer, plan, args.data), async () => {
        const task = context.progress.start({ what: 'moving', total: plan.movedBytes, unit: 'bytes' });
        const report = await runSteps(evacuateSteps(writer, devs, { types }), step => {
          if (step !== undefined) task.at(Math.min(plan.movedBytes, step.movedBytes));
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
  exitCode: ({ leftCount }) => (leftCount > 0 ? EXIT.failed : EXIT.ok),
});

/** As messages call it: its path, or its number. */
export function memberName({ filesystem }: FilesystemWriter, dev: number): string {
  const member = filesystem.set.members.find(({ sb }) => sb.dev_idx === dev);
  return member === undefined ? `member ${dev}` : printable(member.device.name);
}

export const keysText = (count: number): string => (count === 1 ? '1 key' : `${count} keys`);
export const commitsText = (count: number): string => (count === 1 ? '1 commit' : `${count} commits`);

export function contentsText({ userBytes, btreeBytes, cachedBytes }: MemberContents): string {
  const cached = cachedBytes === 0 ? '' : `, and ${bytesText(cachedBytes)} of cached copies`;
  return `${bytesText(userBytes)} of data, ${bytesText(btreeBytes)} of btree nodes${cached}`;
}

function planOf(writer: FilesystemWriter, plan: EvacuatePlan, data: string): Plan {
  const { sb, set } = writer.filesystem;
  const names = plan.contents.map(({ dev }) => memberName(writer, dev));
  const lines = plan.contents.map(contents => `${memberName(writer, contents.dev)} has ${contentsText(contents)}`);
  lines.push(
    `about ${bytesText(plan.movedBytes)} will be moved to the other members, which have room for ${bytesText(plan.availableBytes)}`,
  );
  if (plan.fewerCopiesBytes > 0) {
    lines.push(
      `${bytesText(plan.fewerCopiesBytes)} will have one copy fewer: there are fewer members left than copies wanted`,
    );
  }
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines,
    question: `Move everything off ${names.join(' and ')}?`,
    json: {
      data,
      members: plan.contents.map(contentsJson),
      moved: plan.movedBytes,
      available: plan.availableBytes,
      fewer_copies: plan.fewerCopiesBytes,
    },
  };
}

export const contentsJson = ({ dev, userBytes, btreeBytes, cachedBytes }: MemberContents): object => ({
  member: dev,
  user: userBytes,
  btree: btreeBytes,
  cached: cachedBytes,
});

function outcomeOf(writer: FilesystemWriter, report: EvacuateReport): Outcome {
  const { filesystem } = writer;
  const files = report.leftCount === 0 ? [] : filesOfKeys(filesystem, report.left);
  const lines = [`moved ${bytesText(report.movedBytes)} in ${commitsText(report.commits)}`];
  if (report.droppedBytes > 0) lines.push(`dropped ${bytesText(report.droppedBytes)} of surplus copies`);
  if (report.fewerCopiesBytes > 0) lines.push(`${bytesText(report.fewerCopiesBytes)} has one copy fewer now`);
  if (report.leftCount > 0) {
    lines.push(
      `${keysText(report.leftCount)} could not be moved: no other member can take the data, or the only good copy is there:`,
    );
    for (const file of files) lines.push(`  ${file}`);
  }
  return {
    lines,
    json: {
      moved: report.movedBytes,
      dropped: report.droppedBytes,
      fewer_copies: report.fewerCopiesBytes,
      commits: report.commits,
      left_keys: report.leftCount,
      left: files,
      members: [...new Set(report.left.map(({ dev }) => dev))].map(dev => contentsJson(contentsOf(filesystem, dev))),
    },
  };
}
