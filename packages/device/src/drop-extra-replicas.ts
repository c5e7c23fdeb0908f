// data drop_extra_replicas: copies beyond what is wanted go. What is planned is said first, with the numbers by kind.

import { allowMissingOption, bytesText, defineCommand, EXIT, runSteps } from '@bcachefs-ts/command';
import {
  type DropExtraPlan,
  type DropExtraReport,
  dropExtraSteps,
  type ExtraCopies,
  type FilesystemWriter,
  planDropExtra,
} from '@bcachefs-ts/core/engine';
import { commitsText } from './evacuate.ts';
import {
  carryOut,
  type Outcome,
  type Plan,
  plannedJson,
  planOptions,
  printPlanned,
  reshapedPositional,
} from './plan.ts';
import { leftJson, leftLines, type Unfinished } from './rereplicate.ts';
import { withWriter } from './with-writer.ts';

export const dataDropExtraReplicasCommand = defineCommand({
  name: 'drop_extra_replicas',
  summary: 'Drop copies of data and btree nodes beyond those wanted',
  description:
    'After fewer copies are wanted than before, or when a disk that was given up has turned up again. How many are wanted is what the ' +
    'file says, else the filesystem; copies on members that are missing or have failed count as none. Before a copy is dropped, one ' +
    'that stays is read and compared with its checksum; copies outside of the target go first. Data with erasure coding is left as ' +
    'it is.\n\n' +
    'It can be stopped at any time: running it again goes on. What keeps all its copies, since none of them is good, is listed by its ' +
    'path; the exit code is then 1.',
  examples: [
    { command: 'bcachefs data drop_extra_replicas -n a.img:b.img', does: 'Says what would be dropped' },
    { command: 'bcachefs data drop_extra_replicas -y a.img:b.img', does: 'Drops it' },
  ],
  positionals: reshapedPositional,
  options: { ...allowMissingOption, ...planOptions },
  async run(context, args): Promise<Unfinished> {
    return await withWriter(context, args, async writer => {
      const plan = planDropExtra(writer.filesystem);
      let leftCount = 0;
      const planned = await carryOut(context, args, planOf(writer, plan), async () => {
        const total = plan.extents.droppedBytes + plan.indirect.droppedBytes;
        const task = context.progress.start({ what: 'dropping copies', total, unit: 'bytes' });
        const report = await runSteps(dropExtraSteps(writer), step => {
          if (step !== undefined) task.at(Math.min(total, step.droppedBytes));
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

function planOf(writer: FilesystemWriter, { extents, indirect, nodes, writtenBytes }: DropExtraPlan): Plan {
  const { sb, set } = writer.filesystem;
  const lines = [...extraLines('data', extents, 'extent'), ...extraLines('shared data', indirect, 'extent')];
  if (nodes.count > 0) {
    const { count, readBytes } = nodes;
    lines.push(
      `metadata: ${count} btree node${count === 1 ? '' : 's'} with too many copies: ${bytesText(readBytes)} to read, ` +
        `${bytesText(writtenBytes)} to write`,
    );
  }
  const isDone = lines.length === 0;
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines: isDone ? ['nothing has more copies than it is to have'] : lines,
    question: 'Drop these copies?',
    isDone,
    json: {
      extents: extraJson(extents),
      indirect_extents: extraJson(indirect),
      btree: { ...extraJson(nodes), written: writtenBytes },
    },
  };
}

function extraLines(what: string, { count, readBytes, droppedBytes }: ExtraCopies, noun: string): readonly string[] {
  if (count === 0) return [];
  const keys = `${count} ${noun}${count === 1 ? '' : 's'}`;
  return [`${what}: ${keys} with too many copies: ${bytesText(readBytes)} to read, ${bytesText(droppedBytes)} to drop`];
}

const extraJson = ({ count, readBytes, droppedBytes }: ExtraCopies): object => ({
  count,
  read: readBytes,
  dropped: droppedBytes,
});

function outcomeOf(
  writer: FilesystemWriter,
  { droppedBytes, nodes, commits, left, leftCount }: DropExtraReport,
): Outcome {
  const lines = [
    `dropped ${bytesText(droppedBytes)} of copies in ${commitsText(commits)}`,
    ...(nodes > 0 ? [`wrote ${nodes} btree node${nodes === 1 ? '' : 's'} anew`] : []),
    ...leftLines(writer, left, leftCount),
  ];
  return { lines, json: { dropped: droppedBytes, nodes, commits, ...leftJson(writer, left, leftCount) } };
}
