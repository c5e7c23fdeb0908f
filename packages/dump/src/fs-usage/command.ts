// fs usage: how the space of filesystems is used. Reads only, and of filesystems that are not mounted, unlike the reference.

import { defineCommand, devicesPositional, EXIT, filesystemOptions, openEachForReading } from '@bcachefs-ts/command';
import { type FsUsage, loadChecksums, readUsage, UsageError } from '@bcachefs-ts/core/engine';
import { printBars } from './bars.ts';
import { usageJson } from './json.ts';
import { type UsageField, usageFields, usageText } from './text.ts';

export const fsUsageCommand = defineCommand({
  name: 'usage',
  summary: 'Print how the space of a filesystem is used',
  description:
    'Prints sizes by durability, and with --fields by replicas, compression, btree and data type of each device, from the counters that ' +
    'the filesystem keeps, and for one that was not unmounted with what its journal adds. Nothing is written.\n\n' +
    'Size and used are what a mount of the given members would say. What a running filesystem has reserved in memory is not on disk: ' +
    '"Online reserved" is 0. Devices of several filesystems may be given; each filesystem is printed.',
  examples: [
    { command: 'bcachefs fs usage --human-readable disk.img', does: 'Prints how full it is' },
    { command: 'bcachefs fs usage -h --all sda.img:sdb.img', does: 'Prints everything that is counted' },
    { command: 'bcachefs fs usage --fields=compression disk.img', does: 'Prints what compression saves' },
    { command: 'bcachefs fs usage --bars sda.img:sdb.img', does: 'Draws how full it and its members are' },
    { command: "bcachefs fs usage --json disk.img | jq '.filesystems[0].used'", does: 'Prints the bytes in use' },
  ],
  positionals: devicesPositional,
  options: {
    human_readable: { type: 'flag', alias: 'h', help: 'print sizes as 1.50M rather than in bytes' },
    fields: {
      type: 'string',
      alias: 'f',
      value: 'FIELDS',
      parse: parseFields,
      hints: usageFields,
      help: `what to print, joined by commas: ${usageFields.join(', ')}; rebalance_work when it is not given`,
    },
    all: { type: 'flag', alias: 'a', help: 'print all fields' },
    bars: { type: 'flag', conflictsWith: ['fields', 'all', 'human_readable'], help: 'draw bars instead' },
    ...filesystemOptions,
  },
  async run(context, args) {
    await loadChecksums();
    const usages: FsUsage[] = [];
    let losses = 0;
    for await (const filesystem of openEachForReading(context, args)) {
      const usage = readUsage(filesystem, damage => {
        losses++;
        context.warn(damage.message);
      });
      if (usage.from === 'nothing yet') {
        context.warn(`${usage.uuid} was never mounted: a kernel begins to count at the first mount`);
      }
      usages.push(usage);
    }
    const fields = new Set<UsageField>(args.all ? usageFields : (args.fields ?? ['rebalance_work']));
    if (losses > 0) context.warn('not all counters could be read: sums are wrong by what the lost ones say');
    return { usages, fields, human: args.human_readable, isBars: args.bars, losses };
  },
  text({ usages, fields, human, isBars }, out) {
    for (const [nr, usage] of usages.entries()) {
      if (nr > 0 && isBars) out.line();
      if (isBars) printBars(usage, out);
      else out.write(usageText(usage, { fields, human }));
    }
  },
  json({ usages }) {
    return { filesystems: usages.map(usageJson) };
  },
  exitCode: ({ losses }) => (losses > 0 ? EXIT.failed : EXIT.ok),
});

function parseFields(text: string): readonly UsageField[] {
  return text.split(',').map(name => {
    const field = usageFields.find(known => known === name);
    if (field === undefined) {
      throw new UsageError(`found ${JSON.stringify(name)}, expected some of ${usageFields.join(', ')}`);
    }
    return field;
  });
}
