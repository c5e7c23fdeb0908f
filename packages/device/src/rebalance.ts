// data rebalance: data goes where it is to rest, compressed as it is to be there. What is planned is said first, with the numbers.

import { bytesText, defineCommand, EXIT, runSteps } from '@bcachefs-ts/command';
import {
  type FilesystemWriter,
  loadCompression,
  loadCompressors,
  planRebalance,
  type RebalancePlan,
  type RebalanceReport,
  rebalanceSteps,
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

export const dataRebalanceCommand = defineCommand({
  name: 'rebalance',
  summary: 'Move and compress data as its options say it is to rest',
  description:
    'What a running kernel does in the background, done at once: data that is not on its background_target is moved there, and what is ' +
    'to be compressed otherwise (background_compression, else compression) is written anew. Files can have options of their own. What ' +
    'is only moved is compared with its checksum first. The list of what waits, and its counter, are exact afterwards. Data with ' +
    'erasure coding is left as it is.\n\n' +
    'It can be stopped at any time: running it again goes on. What could not go where it is to rest is listed by its path; the exit ' +
    'code is then 1.',
  examples: [
    { command: 'bcachefs data rebalance -n a.img:b.img', does: 'Says what would be moved and compressed' },
    { command: 'bcachefs data rebalance -y a.img:b.img', does: 'Does it' },
  ],
  positionals: reshapedPositional,
  options: planOptions,
  async run(context, args): Promise<Unfinished> {
    await loadCompression();
    await loadCompressors();
    return await withWriter(context, args, async writer => {
      const plan = planRebalance(writer.filesystem);
      let leftCount = 0;
      const planned = await carryOut(context, args, planOf(writer, plan), async () => {
        const total = plan.move.bytes + plan.compress.bytes;
        const task = context.progress.start({ what: 'rebalancing', total, unit: 'bytes' });
        const report = await runSteps(rebalanceSteps(writer), step => {
          if (step !== undefined) task.at(Math.min(total, step.doneBytes));
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

function planOf(writer: FilesystemWriter, plan: RebalancePlan): Plan {
  const { sb, set } = writer.filesystem;
  const { move, compress, settled, isCountWrong, erasureCodedBytes } = plan;
  const lines: string[] = [];
  if (move.count > 0) lines.push(`${extentsText(move.count)} to move: ${bytesText(move.bytes)} to read and write`);
  if (compress.count > 0)
    lines.push(
      `${extentsText(compress.count)} to compress otherwise: ${bytesText(compress.bytes)} at the most to write`,
    );
  if (settled > 0) lines.push(`${extentsText(settled)} with a request that no file has any more, which goes`);
  if (isCountWrong && lines.length === 0) lines.push('the list of what waits, or its counter, is to be corrected');
  const isDone = lines.length === 0;
  if (isDone) lines.push('all data is where it is to rest');
  if (erasureCodedBytes > 0) lines.push(`${bytesText(erasureCodedBytes)} with erasure coding is left as it is`);
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines,
    question: 'Do this?',
    isDone,
    json: {
      move,
      compress,
      settled,
      waiting_wrong: isCountWrong,
      erasure_coded: erasureCodedBytes,
    },
  };
}

const extentsText = (count: number): string => (count === 1 ? '1 extent' : `${count} extents`);

function outcomeOf(writer: FilesystemWriter, report: RebalanceReport): Outcome {
  const { movedBytes, compressedBytes, settled, commits, left, leftCount, waitingBytes } = report;
  const lines = [
    `moved ${bytesText(movedBytes)}, and wrote ${bytesText(compressedBytes)} anew, in ${commitsText(commits)}`,
    ...leftLines(writer, left, leftCount),
  ];
  if (waitingBytes > 0) lines.push(`${bytesText(waitingBytes)} still waits`);
  return {
    lines,
    json: {
      moved: movedBytes,
      compressed: compressedBytes,
      settled,
      commits,
      waiting: waitingBytes,
      ...leftJson(writer, left, leftCount),
    },
  };
}
