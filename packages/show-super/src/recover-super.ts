// recover-super: writes a lost or damaged superblock back, from a copy on the device itself or from another member.

import { CommandFailed, defineCommand, undoFileOption, undoWrap, withDevice } from '@bcachefs-ts/command';
import {
  type BlockDevice,
  type CopyState,
  planRecovery,
  planRecoveryFromMember,
  type RecoveryPlan,
  readSuperblock,
  recoverSuperblock,
  SCAN_BYTES_DEFAULT,
  superblockJson,
  superblockText,
  UsageError,
} from '@bcachefs-ts/core/engine';

const SECTOR_BYTES = 512;

export const recoverSuperCommand = defineCommand({
  name: 'recover-super',
  summary: 'Restore a damaged superblock from one of its copies',
  description:
    'Looks for sound copies of the superblock at the start and at the end of the device, shows the newest one and what is ' +
    'wrong with the places where copies belong, asks, and writes it to all of them. A copy that has lost only its magic, as after ' +
    'wipefs, is found too: its checksum proves it. With --src_device the superblock of ' +
    "another member is taken instead; the device then has no journal of its own until the kernel's fsck gives it one.\n\n" +
    'Nothing is written when every place has a sound copy already.',
  examples: [
    { command: 'bcachefs recover-super disk.img', does: 'Shows what it found, asks, and repairs it' },
    { command: 'bcachefs recover-super --dry_run disk.img', does: 'Shows what it would do' },
    {
      command: 'bcachefs recover-super --src_device=/dev/sda --dev_idx=1 /dev/sdb',
      does: 'Takes the superblock from another member',
    },
  ],
  positionals: { device: { count: 'one', file: true, help: 'the device or image to repair' } },
  options: {
    dev_size: {
      type: 'size',
      alias: 'd',
      help: 'size of the filesystem on the device, where it is not all of it: the last superblock is before its end',
    },
    offset: {
      type: 'size',
      alias: 'o',
      conflictsWith: ['src_device'],
      help: 'take the copy at this byte offset, a multiple of 512',
    },
    scan_len: {
      type: 'size',
      alias: 'l',
      default: SCAN_BYTES_DEFAULT,
      help: 'how much of the start and of the end of the device to search; at least the bucket size',
    },
    src_device: {
      type: 'string',
      alias: 's',
      value: 'DEVICE',
      file: true,
      needs: ['dev_idx'],
      help: 'take the superblock from this member',
    },
    dev_idx: {
      type: 'number',
      alias: 'i',
      min: 0,
      max: 255,
      needs: ['src_device'],
      help: 'which member the repaired device is',
    },
    yes: { type: 'flag', alias: 'y', help: 'write without asking' },
    dry_run: {
      type: 'flag',
      alias: 'n',
      conflictsWith: ['yes'],
      help: 'show what would be written, and write nothing',
    },
    verbose: { type: 'flag', alias: 'v', help: 'list every copy that was found' },
    ...undoFileOption,
  },
  async run(context, args) {
    if (args.offset !== undefined && args.offset % SECTOR_BYTES !== 0) {
      throw new UsageError(`${args.offset} is not a multiple of ${SECTOR_BYTES}`, '--offset');
    }
    const search = {
      scanBytes: args.scan_len,
      sizeBytes: args.dev_size,
      ...(args.offset === undefined ? {} : { sector: args.offset / SECTOR_BYTES }),
    };
    const plan = withDevice(args.device, false, device =>
      args.src_device !== undefined && args.dev_idx !== undefined
        ? fromMember(device, args.src_device, args.dev_idx, args.dev_size)
        : planRecovery(device, search),
    );
    const result = { device: args.device, plan, verbose: args.verbose };
    if (plan.isIntact) return { ...result, action: 'none needed' as const };
    if (args.dry_run) return { ...result, action: 'dry run' as const };
    if (!args.yes) {
      for (const line of findings(plan)) context.warn(line);
      const agreed = await context.prompt.confirm(
        `Write this superblock to ${args.device}?`,
        { flag: '--yes' },
        superblockText(plan.sb),
      );
      if (!agreed) throw new CommandFailed('nothing was written');
    }
    withDevice(args.device, true, device => recoverSuperblock(device, plan), undoWrap(context, args));
    return { ...result, action: 'written' as const };
  },
  text({ device, plan, action, verbose }, out) {
    for (const line of findings(plan)) out.line(line);
    if (verbose) {
      for (const { sector, sb } of plan.candidates)
        out.line(`found a superblock at sector ${sector}, sequence number ${sb.seq}`);
    }
    if (action === 'dry run') out.write(superblockText(plan.sb, { layout: true }));
    const from = sourceText(plan.source);
    const sectors = plan.places.map(place => place.sector).join(', ');
    const actions = {
      'none needed': `${device}: all superblocks are sound, nothing was written`,
      'dry run': `${device}: would write ${from} to sectors ${sectors}`,
      written: `${device}: wrote ${from} to sectors ${sectors}`,
    };
    out.line(actions[action]);
    if (action === 'written' && 'device' in plan.source)
      out.line('The device has no journal now; run fsck before it is used.');
  },
  json({ device, plan, action }) {
    return {
      device,
      action,
      source: sourceJson(plan.source),
      layout_is_sound: plan.isLayoutSound,
      places: plan.places.map(place => ({ sector: place.sector, ...placeState(place, plan) })),
      candidates: plan.candidates.map(({ sector, sb, isWiped }) => ({
        sector,
        uuid: sb.uuid,
        seq: sb.seq,
        ...(isWiped ? { magic_wiped: true } : {}),
      })),
      superblock: superblockJson(plan.sb),
    };
  },
});

function sourceText(source: RecoveryPlan['source']): string {
  if (!('sector' in source)) return source.device;
  return `the copy at sector ${source.sector}${source.isWiped ? ', whose magic was wiped,' : ''}`;
}

function sourceJson(source: RecoveryPlan['source']): object {
  if (!('sector' in source)) return source;
  return { sector: source.sector, ...(source.isWiped ? { magic_wiped: true } : {}) };
}

function fromMember(device: BlockDevice, source: string, index: number, sizeBytes: number | undefined): RecoveryPlan {
  const sb = withDevice(source, false, other => readSuperblock(other).sb);
  return planRecoveryFromMember(device, { device: source, sb }, index, sizeBytes ?? device.sizeBytes);
}

/** What is at each place where a copy belongs, a line each; only what is not as it should be. */
function findings(plan: RecoveryPlan): string[] {
  const layout = plan.isLayoutSound ? [] : ['sector 7: the layout block is missing, damaged or another one'];
  const copies = plan.places.flatMap(place => {
    const { state, detail } = placeState(place, plan);
    return state === 'sound' ? [] : [`sector ${place.sector}: ${detail}`];
  });
  return [...layout, ...copies];
}

function placeState(place: CopyState, { sb }: RecoveryPlan): { state: string; detail: string } {
  if ('failure' in place) return { state: 'damaged', detail: place.failure.message };
  if (place.copy.sb.uuid !== sb.uuid)
    return { state: 'foreign', detail: `a superblock of filesystem ${place.copy.sb.user_uuid}` };
  if (place.copy.sb.seq !== sb.seq) {
    return { state: 'stale', detail: `sequence number ${place.copy.sb.seq}, the newest is ${sb.seq}` };
  }
  return { state: 'sound', detail: 'sound' };
}
