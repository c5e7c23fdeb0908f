// strip-alloc: takes the allocation info out of an unmounted filesystem that is only to be read from now on.

import {
  CommandFailed,
  defineCommand,
  devicesPositional,
  filesystemOptions,
  secondsOf,
  undoFileOption,
  withMembers,
} from '@bcachefs-ts/command';
import {
  checkWritable,
  editSuperblock,
  getBits,
  isAllocInfoStripped,
  type MemberSet,
  members,
  sbBits,
  sectionPayload,
  sectorsToBytes,
  withoutAllocInfo,
} from '@bcachefs-ts/core/engine';

/** What the reference takes for the most that is rebuilt in reasonable time and memory. */
const CAPACITY_BYTES_MAX = 2 ** 40;

export const stripAllocCommand = defineCommand({
  name: 'strip-alloc',
  summary: 'Drop the allocation info of a filesystem that is only read',
  description:
    'Drops the btrees that say what is in which bucket (alloc, freespace, need_discard, backpointers). They are not needed to read, ' +
    'and can be rebuilt from the rest. The filesystem has to be clean, of metadata version 1.13, and of 1 TiB at most. Every member is ' +
    'named, and none is mounted.\n\n' +
    'Everything that reads goes on as before, here and in a kernel: mounted with -o ro,nochanges nothing is written. Any other mount by ' +
    'Linux 6.12 rebuilds what was dropped, also one with -o ro alone, which takes a read of all metadata. Until then commands that change ' +
    'files are refused here.\n\n' +
    'Unlike newer versions of bcachefs, 6.12 cannot mount without journal and replicas entries, nor rebuild the generations of buckets: ' +
    'these stay.',
  examples: [{ command: 'bcachefs strip-alloc disk.img', does: 'Drops the allocation info of an image' }],
  positionals: devicesPositional,
  options: { uuid: filesystemOptions.uuid, ...undoFileOption },
  run(context, args) {
    return withMembers(context, args, { write: true }, set => {
      const names = set.members.map(({ device }) => device.name);
      const { sb } = set.newest;
      const found = { uuid: sb.user_uuid, members: names };
      refuseUnfit(set);
      if (isAllocInfoStripped(sb)) return { ...found, action: 'none needed' as const };
      editSuperblock(set, withoutAllocInfo, { now: secondsOf(context.date()) });
      return { ...found, action: 'stripped' as const };
    });
  },
  text({ members: names, action }, out) {
    const where = names.join(', ');
    out.line(
      action === 'stripped'
        ? `${where}: allocation info dropped; the next mount for writing rebuilds it`
        : `${where}: there is no allocation info any more, nothing was written`,
    );
  },
});

/** @throws CommandFailed, IncompatibleError */
function refuseUnfit({ newest }: MemberSet): void {
  const { sb, device } = newest;
  checkWritable(sb);
  if (getBits(sb.flags, sbBits.INITIALIZED) === 0) {
    throw new CommandFailed(`${device.name}: nothing was ever allocated: it was not mounted since it was formatted`);
  }
  if (getBits(sb.flags, sbBits.CLEAN) === 0 || sectionPayload(sb, 'clean') === undefined) {
    throw new CommandFailed(`${device.name}: the filesystem is not clean; mount and unmount it first`);
  }
  const capacity = members(sb).reduce((sum, member) => sum + member.nbuckets * sectorsToBytes(member.bucket_size), 0);
  if (capacity > CAPACITY_BYTES_MAX) {
    throw new CommandFailed(
      `${device.name}: ${capacity} bytes, at most ${CAPACITY_BYTES_MAX} are possible: rebuilding it would take too much memory`,
    );
  }
}
