// device resize-journal: the journal of a member gets longer or shorter. A running kernel can only make it longer.

import { bytesText, defineCommand, parseSize, runSteps } from '@bcachefs-ts/command';
import { journalSize, printable, resizeJournalSteps, UsageError } from '@bcachefs-ts/core/engine';
import { memberNamed, memberPositional } from './member-named.ts';
import { carryOut, plannedJson, planOptions, printPlanned, reshapedPositional } from './plan.ts';
import { withWriter } from './with-writer.ts';

export const deviceResizeJournalCommand = defineCommand({
  name: 'resize-journal',
  summary: 'Make the journal of a member longer or shorter',
  description:
    'The journal is a ring of buckets: the size is rounded down to whole ones, of which there are at least 8. In a longer one, more changes ' +
    'can wait before they have to be written to the btrees; a shorter one gives room back. The journal of a filesystem that was not ' +
    'unmounted is replayed first.\n\n' +
    'If it is stopped, the journal is the old one or the new one; some buckets may stay unused until it is run again.',
  examples: [
    { command: 'bcachefs device resize-journal -y disk.img disk.img 8M', does: 'Makes the journal 8 MiB long' },
    { command: 'bcachefs device resize-journal -n a.img:b.img 1 2M', does: 'Says how long it is, and can be' },
  ],
  positionals: {
    ...reshapedPositional,
    ...memberPositional,
    size: { count: 'one', help: 'its new size, such as 64M' },
  },
  options: planOptions,
  async run(context, args) {
    const wanted = parseSize(args.size);
    return await withWriter(context, args, async writer => {
      const { set, sb } = writer.filesystem;
      const { index, member } = memberNamed(set, args.member);
      if (member === undefined)
        throw new UsageError(`member ${index} is missing: only the journal of one that is here can be resized`);
      const name = printable(member.device.name);
      const { bucketCount: before, bucketBytes, least, most, unusedCount } = journalSize(writer.filesystem, index);
      const count = Math.floor(wanted / bucketBytes);
      const size = (buckets: number) => `${bytesText(buckets * bucketBytes)} (${buckets} buckets)`;
      if (count < least || count > most) {
        throw new UsageError(
          `the journal of ${name} can have ${size(least)} to ${size(most)}, found ${size(count)}`,
          'SIZE',
        );
      }
      const plan = {
        uuid: sb.user_uuid,
        members: set.members.map(({ device }) => device.name),
        lines: [
          ...(unusedCount === 0 ? [] : [`${size(unusedCount)} that an earlier change has left unused are given back`]),
          count === before
            ? `the journal of ${name} has ${size(before)} already; it can have ${size(least)} to ${size(most)}`
            : `the journal of ${name}: from ${size(before)} to ${size(count)}; it can have ${size(least)} to ${size(most)}`,
        ],
        question:
          count === before
            ? `Give back what the journal of ${name} does not use?`
            : `Make the journal of ${name} ${count < before ? 'shorter' : 'longer'}?`,
        isDone: count === before && unusedCount === 0,
        json: {
          member: index,
          bucket_size: bucketBytes,
          buckets_before: before,
          buckets: count,
          smallest_buckets: least,
          largest_buckets: most,
        },
      };
      return await carryOut(context, args, plan, async () => {
        const { steps } = await runSteps(resizeJournalSteps(writer, index, count), () => {});
        return { lines: [`the journal of ${name} has ${size(count)} now`], json: { steps } };
      });
    });
  },
  text: printPlanned,
  json: plannedJson,
});
