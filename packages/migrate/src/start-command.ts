// migrate start, which is also `migrate DEVICE`: an ext2, ext3 or ext4 filesystem becomes bcachefs where it is.

import {
  bytesText,
  CommandFailed,
  type Context,
  defineCommand,
  durationText,
  parseUuid,
  runSteps,
  tableOptions,
  tableOptionValues,
  undoWrap,
} from '@bcachefs-ts/command';
import {
  type BlockDevice,
  compressionTypeOf,
  formatOptions,
  loadCompression,
  loadCompressors,
  newFilesystemDefault,
  type OptionName,
  type OptionNumber,
  printable,
  RULES_WRITTEN,
  superblockJson,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { type Ext4, openExt4 } from '@bcachefs-ts/ext4';
import { IMAGE_PATH } from './build.ts';
import { finishSteps } from './finish.ts';
import { lookAtTree } from './look.ts';
import { askOptions, carryOut, devicePositional, type Planned, plannedOutput, withOpen } from './manners.ts';
import { type Migrated, migrateSteps, NotEqualError } from './migrate.ts';
import { expectedSeconds, inodesOf, type MigrationPlan, planMigration } from './plan.ts';
import { migrationState } from './state.ts';

const RELEASE = RULES_WRITTEN.release;

/** Those of format that mean something for one device on which the data lies already. */
const OFFERED: ReadonlySet<OptionName> = new Set<OptionName>([
  'metadata_checksum',
  'data_checksum',
  'compression',
  'str_hash',
  'btree_node_size',
  'encoded_extent_max',
  'gc_reserve_percent',
  'inodes_32bit',
  'shard_inode_numbers',
  'acl',
  'usrquota',
  'grpquota',
  'prjquota',
  'errors',
]);
const rows = formatOptions(RELEASE, 'fs').filter(({ name }) => OFFERED.has(name));

export const migrateStartCommand = defineCommand({
  name: 'start',
  summary: 'Turn an ext4 filesystem into bcachefs, in place',
  description:
    'The filesystem is ext2, ext3 or ext4, not mounted, and clean (e2fsck -f). Its files become files of a bcachefs; their data stays where it is. ' +
    'All that is new is written into blocks that ext4 has free, read back and compared; then one sector makes it a bcachefs. Until that sector is ' +
    'written ext4 is untouched, and afterwards migrate rollback brings it back.\n\n' +
    'Afterwards the device mounts as bcachefs, and ext4 is closed: no kernel mounts it any more. What ext4 used besides the data of files is in ' +
    `/${IMAGE_PATH}, which must stay until migrate finish has been run. Change fstab and the initramfs, and then finish.\n\n` +
    'Compression and the like count for what is written later. Data gets checksums, for which all of it is read once; --data_checksum=none is faster. ' +
    'docs/migrate.md has the whole story.',
  examples: [
    { command: 'bcachefs migrate -n disk.ext4', does: 'Says what it would do, and whether there is room' },
    {
      command: 'bcachefs migrate -y --verify=data disk.ext4',
      does: 'Migrates, and compares every byte before it counts',
    },
    { command: 'bcachefs migrate -y --finish other.ext4', does: 'Migrates and finishes: ext4 is gone' },
  ],
  positionals: devicePositional,
  options: {
    ...askOptions,
    verify: {
      type: 'string',
      value: 'WHAT',
      choices: ['extents', 'data'],
      help: 'extents: every node is read back, and where the data of every file lies (default); data: all data too',
    },
    finish: { type: 'flag', help: 'finish at once: there is no way back then' },
    ignore_casefold: { type: 'flag', help: 'directories that ignore case become ones that do not' },
    ignore_verity: { type: 'flag', help: 'files lose their fs-verity protection' },
    drop_large_xattrs: { type: 'flag', help: 'leave out extended attributes that are too large for bcachefs' },
    bucket_size: { type: 'size', help: 'size of the unit of allocation (default what leaves most room, 128k to 2M)' },
    superblock_size: { type: 'size', help: 'room for each copy of the superblock, a power of two' },
    fs_label: {
      type: 'string',
      alias: 'L',
      value: 'NAME',
      help: 'name of the filesystem (default the name that ext4 has)',
    },
    uuid: { type: 'string', alias: 'U', value: 'UUID', parse: parseUuid, help: 'external UUID (default random)' },
    label: { type: 'string', alias: 'l', value: 'PATH', help: 'disk label of the device, such as ssd.ssd1' },
    ...tableOptions(rows, { release: RELEASE, heading: 'Filesystem options', defaultOf: newFilesystemDefault }),
  },
  async run(context, args): Promise<Planned> {
    const { dry_run, device: path } = args;
    const options = new Map<OptionName, OptionNumber>();
    for (const [name, value] of tableOptionValues(rows, args)) if (typeof value !== 'string') options.set(name, value);
    const types = [compressionTypeOf(Number(options.get('compression') ?? 0))];
    await Promise.all([loadCompression(types), loadCompressors(types)]);
    return await withOpen(path, !dry_run, undoWrap(context, args), async device => {
      refuseState(device);
      const ext4 = openExt4(device);
      const nowNs = BigInt(context.date().getTime()) * 1_000_000n;
      const usage = await withProgress(context, 'looking at ext4', ext4);
      const looking = context.progress.start({ what: 'looking at its files', unit: 'files', total: inodesOf(usage) });
      await runSteps(lookAtTree(ext4), () => looking.advance(1));
      looking.end();
      const plan = planMigration(device, ext4, usage, {
        options,
        bucketBytes: args.bucket_size,
        superblockBytes: args.superblock_size,
        label: args.label,
        fsLabel: args.fs_label,
        uuid: args.uuid,
        nowNs,
        random: systemRandom,
        accepts: { casefold: args.ignore_casefold, verity: args.ignore_verity, largeXattrs: args.drop_large_xattrs },
      });
      const lines = planLines(device, ext4, plan, args.finish);
      const asked = {
        device: path,
        lines,
        planJson: planJson(ext4, plan),
        question: `Turn ${printable(path)} into bcachefs?`,
      };
      return await carryOut(context, args, asked, async () => {
        const migrated = await build(context, device, ext4, plan, {
          nowNs,
          verifiesData: args.verify === 'data',
          dropsLargeXattrs: args.drop_large_xattrs,
        });
        if (args.finish) {
          const steps = finishSteps(device, { random: systemRandom, now: () => nowNs / 1_000_000_000n });
          await runSteps(steps, () => {});
        }
        return { results: resultLines(path, migrated, args.finish), resultJson: resultJson(migrated, args.finish) };
      });
    });
  },
  ...plannedOutput,
});

/** @throws UsageError for what is not an ext4 on which no migration has begun */
function refuseState(device: BlockDevice): void {
  const state = migrationState(device);
  if (state.kind === 'ext4') return;
  const why = {
    migrated: 'it is migrated already: bcachefs migrate status says what can be done',
    interrupted:
      'an earlier migration or rollback was cut off, and ext4 is still marked: bcachefs migrate rollback takes the mark away',
    bcachefs: 'it is a bcachefs already',
    elsewhere: 'it is a bcachefs already, whose superblock is not at its usual place',
    none: 'there is no ext2, ext3 or ext4 on it',
  }[state.kind];
  throw new UsageError(`${device.name}: ${why}`);
}

async function withProgress(context: Context, what: string, ext4: Ext4) {
  const task = context.progress.start({ what, unit: '%', total: 100 });
  const usage = await runSteps(ext4.usageSteps(), share => task.at(Math.floor(100 * share)));
  task.end();
  return usage;
}

async function build(
  context: Context,
  device: BlockDevice,
  ext4: Ext4,
  plan: MigrationPlan,
  request: Omit<Parameters<typeof migrateSteps>[3], 'random'>,
): Promise<Migrated> {
  let task = context.progress.start({
    what: 'building bcachefs',
    unit: 'bytes',
    total: plan.usage.dataBlocks * ext4.facts.blockBytes,
  });
  let isVerifying = false;
  const steps = migrateSteps(device, ext4, plan, {
    ...request,
    random: systemRandom,
    onAdopted: bytes => task.advance(bytes),
  });
  try {
    return await runSteps(steps, phase => {
      if (phase === 'build') return;
      if (!isVerifying)
        task = context.progress.start({ what: 'comparing', unit: 'files', total: inodesOf(plan.usage) });
      isVerifying = true;
      task.advance(1);
    });
  } catch (thrown) {
    if (!(thrown instanceof NotEqualError)) throw thrown;
    for (const problem of thrown.problems) context.warn(problem);
    throw new CommandFailed(`${thrown.message} (this is a bug: please report it)`);
  } finally {
    task.end();
  }
}

function planLines(device: BlockDevice, { facts }: Ext4, plan: MigrationPlan, isFinished: boolean): readonly string[] {
  const { usage, room, copiedBytes, metadataBytes, freeBytes, losses, warnings, hasChecksums, readBytes } = plan;
  const { inodes } = usage;
  const others = inodes.chr + inodes.blk + inodes.fifo + inodes.sock;
  const lines = [
    `${printable(device.name)}: ext4 of ${bytesText(facts.blocks * facts.blockBytes)}, ${bytesText(plan.usedBytes)} in use, blocks of ${bytesText(facts.blockBytes)}`,
    `${inodes.file} files, ${inodes.dir} directories, ${inodes.symlink} symbolic links, ${others} others; ${usage.extents} extents`,
    `${bytesText(usage.dataBlocks * facts.blockBytes)} of data stay where they are, at most ${bytesText(copiedBytes)} of it are copied`,
    `buckets of ${bytesText(room.bucketBytes)}, of which ${room.freeBuckets} of ${room.bucketCount} are wholly free (${bytesText(freeBytes)}): ${triedText(plan)}`,
    `new metadata takes about ${bytesText(metadataBytes)}`,
    hasChecksums ? `${bytesText(readBytes)} are read once for their checksums` : 'data gets no checksums',
    `it takes about ${durationText(expectedSeconds(plan))}`,
  ];
  for (const loss of losses) lines.push(`lost: ${loss}`);
  for (const warning of warnings) lines.push(`note: ${warning}`);
  lines.push(
    isFinished
      ? 'it is finished at once: there is no way back to ext4'
      : 'ext4 stays as it is until it is finished; migrate rollback goes back to it',
  );
  return lines;
}

const triedText = ({ room: { tried } }: MigrationPlan): string =>
  tried.map(({ bucketBytes, freeBytes }) => `${bytesText(bucketBytes)} would leave ${bytesText(freeBytes)}`).join(', ');

const planJson = ({ facts }: Ext4, plan: MigrationPlan): object => ({
  ext4: {
    uuid: facts.uuid,
    block_size: facts.blockBytes,
    size: facts.blocks * facts.blockBytes,
    features: facts.features,
  },
  inodes: plan.usage.inodes,
  extents: plan.usage.extents,
  used: plan.usedBytes,
  data: plan.usage.dataBlocks * facts.blockBytes,
  copied_at_most: plan.copiedBytes,
  metadata: plan.metadataBytes,
  bucket_size: plan.room.bucketBytes,
  buckets: plan.room.bucketCount,
  free_buckets: plan.room.freeBuckets,
  bucket_sizes_compared: plan.room.tried.map(({ bucketBytes, freeBytes }) => ({
    bucket_size: bucketBytes,
    free: freeBytes,
  })),
  block_size: plan.blockBytes,
  btree_node_size: plan.format.geometry.btreeNodeBytes,
  expected_seconds: expectedSeconds(plan),
  losses: plan.losses,
  notes: plan.warnings,
});

function resultLines(path: string, { counts, sb }: Migrated, isFinished: boolean): readonly string[] {
  const name = printable(path);
  const lines = [
    `${name} is a bcachefs now, UUID ${sb.user_uuid}: ${bytesText(counts.adoptedBytes)} stayed where they were, ${bytesText(counts.copiedBytes)} were copied`,
  ];
  if (isFinished) {
    lines.push(
      `/${IMAGE_PATH} holds what ext4 used besides the data of files: it can be deleted (chattr -i first), which frees ${bytesText(counts.imageBytes)}`,
    );
    return lines;
  }
  lines.push(
    `try it: mount -t bcachefs ${name} /mnt`,
    'then change its lines in /etc/fstab to bcachefs and the new UUID, make the initramfs anew with bcachefs in it, and make sure that the boot loader does not need this filesystem',
    `then bcachefs migrate finish ${name}; until then keep /${IMAGE_PATH}, and do not run fstrim or e2fsck on it as ext4`,
    `or go back: bcachefs migrate rollback ${name}`,
  );
  return lines;
}

const resultJson = ({ counts, sb }: Migrated, isFinished: boolean): object => ({
  uuid: sb.user_uuid,
  is_finished: isFinished,
  files: counts.files,
  directories: counts.directories,
  symlinks: counts.symlinks,
  others: counts.others,
  links: counts.links,
  adopted: counts.adoptedBytes,
  copied: counts.copiedBytes,
  image: counts.imageBytes,
  dropped_xattrs: counts.droppedXattrs,
  superblock: superblockJson(sb),
});
