// journal_rewind_info: which earlier states of a filesystem its journal still reaches, for --at of the commands that read.

import {
  type Context,
  defineCommand,
  devicesPositional,
  filesystemOptions,
  openForReading,
} from '@bcachefs-ts/command';
import { dateTimeText, loadChecksums, type RewindPoint, type RewindReach, rewindReach } from '@bcachefs-ts/core/engine';

interface Reach extends RewindReach {
  readonly uuid: string;
  readonly nr: number;
  readonly all: boolean;
}

export const journalRewindInfoCommand = defineCommand({
  name: 'journal_rewind_info',
  summary: 'List the earlier states that the journal still reaches',
  description:
    'Kernels write into the journal what each change overwrites. As long as that is there, files can be read as they were after an earlier ' +
    'entry: with --at of ls, tree, stat, cat, get, restore, tar, list, du and get-file-option, and with FS@at:SEQ of diff. This lists the entries that were flushed, newest last, with the times ' +
    'that they were written; with --all the others too.\n\n' +
    'It ends at the first entry that is missing or does not say what it overwrote, as commits of this program do not. Data whose buckets ' +
    'were used anew since are lost, and reported where they are read. Where newer kernels say since when they keep such buckets, ' +
    'that is printed. Nothing is written.',
  examples: [
    { command: 'bcachefs journal_rewind_info disk.img', does: 'Lists what --at can go back to' },
    { command: "bcachefs journal_rewind_info --json disk.img | jq '.points[0].seq'", does: 'Prints the oldest' },
  ],
  positionals: devicesPositional,
  options: {
    nr: { type: 'number', alias: 'n', value: 'N', min: 0, default: 0, help: 'list the newest N only; 0 for all' },
    all: { type: 'flag', alias: 'a', help: 'list entries that were not flushed too' },
    ...filesystemOptions,
  },
  async run(context: Context, { nr, all, ...args }): Promise<Reach> {
    await loadChecksums();
    const filesystem = await openForReading(context, args);
    try {
      const { set, replay, key, sb } = filesystem;
      return { uuid: sb.user_uuid, nr, all, ...rewindReach(set, replay, key) };
    } finally {
      filesystem.close();
    }
  },
  text(reach, out) {
    const { points, limit, keptSince } = reach;
    if (keptSince !== undefined) out.line(`buckets are kept since entry ${keptSince}`);
    for (const { seq, seconds } of listed(reach)) {
      out.line(`${`${seq}`.padStart(12)}  ${seconds === undefined ? '(no time)' : dateTimeText(seconds)}`);
    }
    const count = points.length === 1 ? 'only the present state' : `${points.length} states`;
    out.line(
      points.length === 0
        ? `nothing is reached: ${limit}`
        : `${count} ${points.length === 1 ? 'is' : 'are'} reached: ${limit}`,
    );
  },
  json: reach => ({
    filesystem: reach.uuid,
    points: listed(reach).map(({ seq, seconds, isFlush }) => ({ seq, seconds: seconds ?? null, flush: isFlush })),
    reached: reach.points.length,
    limit: reach.limit,
    kept_since: reach.keptSince ?? null,
  }),
});

function listed({ points, nr, all }: Reach): readonly RewindPoint[] {
  const shown = points.filter(({ isFlush }) => all || isFlush);
  return nr === 0 ? shown : shown.slice(-nr);
}
