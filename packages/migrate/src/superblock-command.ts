// migrate-superblock, as the reference's: for filesystems that the reference's migrate has made. Ours end with migrate finish.

import { defineCommand, masterKeyOf, passphraseOption, runSteps, secondsOf, undoWrap } from '@bcachefs-ts/command';
import {
  declaredCompressionTypes,
  loadCompression,
  openMembers,
  printable,
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { askOptions, carryOut, type Planned, plannedOutput, withOpen } from './manners.ts';
import { findBySector, usualPlacesSteps } from './usual-places.ts';

const { dry_run, undo_file } = askOptions;

export const migrateSuperblockCommand = defineCommand({
  name: 'migrate-superblock',
  summary: 'Give a filesystem that bcachefs-tools has migrated its superblocks at the usual places',
  description:
    'bcachefs-tools migrate leaves the superblock inside of a file of the old filesystem, and says at which sector. What lies where superblocks ' +
    'belong is moved, superblocks are written there, and the magic of the old filesystem is erased. Each step leaves a filesystem that mounts, with ' +
    '-o sb=OFFSET at first; if it is stopped, the same again completes it. There is no way back to the old filesystem but an undo file.\n\n' +
    'For what migrate of this program has made there is migrate finish.',
  examples: [
    {
      command: 'bcachefs migrate-superblock -n -d theirs.img -o 8192',
      does: 'Says what would be done',
    },
    { command: 'bcachefs migrate-superblock -d theirs.img -o 8192', does: 'Makes the superblock at sector 8' },
  ],
  positionals: {},
  options: {
    device: { type: 'string', alias: 'd', value: 'DEVICE', file: true, required: true, help: 'the device or image' },
    offset: {
      type: 'number',
      alias: 'o',
      value: 'OFFSET',
      min: 9,
      required: true,
      help: 'the sector of its superblock, in 512 bytes',
    },
    dry_run: { ...dry_run, conflictsWith: [] },
    undo_file,
    ...passphraseOption,
  },
  async run(context, args): Promise<Planned> {
    return await withOpen(args.device, !args.dry_run, undoWrap(context, args), async device => {
      const found = findBySector(device, args.offset);
      const name = printable(device.name);
      const set = openMembers([found.device]);
      const key = await masterKeyOf(context, set, args);
      const asked = {
        device: args.device,
        lines: [
          `${name}: the superblocks of ${found.sb.user_uuid} go from sector ${args.offset} to the start of the device, and what is there is moved`,
        ],
        planJson: { offset: args.offset, uuid: found.sb.user_uuid },
        question: '',
      };
      return await carryOut(context, { ...args, yes: true }, asked, async () => {
        await loadCompression(declaredCompressionTypes(found.sb));
        const now = secondsOf(context.date());
        const task = context.progress.start({ what: 'moving what is in the way', unit: 'commits' });
        const steps = usualPlacesSteps(found, args.offset, { random: systemRandom, now: () => now, key });
        const { movedSectors, commits } = await runSteps(steps, () => task.advance(1));
        task.end();
        return {
          results: [`${name} has its superblock at the usual place`],
          resultJson: { moved: movedSectors * 512, commits },
        };
      });
    });
  },
  ...plannedOutput,
});
