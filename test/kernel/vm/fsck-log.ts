// Reading the kernel's verdict out of its log. The list below is of what a kernel says when nothing is wrong; every other
// line is a complaint, so that a complaint nobody has met yet counts too.

export interface Complaint {
  /** All lines of it, without the `bcachefs (vda): ` in front. */
  readonly text: string;
  /** The kernel repaired it (with `fixErrors` on the disk, otherwise in memory). */
  readonly fixed: boolean;
  /** The pass that was running, such as `check_dirents`. */
  readonly pass?: string;
}

export interface FsckReport {
  readonly mounted: boolean;
  /** errno of the mount, as a number, where it failed. */
  readonly errno?: number;
  /** bcachefs' own name for why the mount failed, such as `ENOENT_bkey_type_mismatch`. */
  readonly error?: string;
  /** Recovery passes that ran to their end, in order. */
  readonly passes: readonly string[];
  readonly complaints: readonly Complaint[];
  /** Mounted, and the kernel had nothing to say against it. */
  readonly clean: boolean;
  readonly log: readonly string[];
}

const PREFIX = /^bcachefs(?: \([^)]*\))?: /;
const PASS = /^([a-z_]+)\.\.\.(?: ?done)?$/;
const PASS_DONE = /^([a-z_]+)\.\.\. ?done$/;

/** What a kernel says of a filesystem that is as it should be. */
const BENIGN: readonly RegExp[] = [
  /^starting version \d+\.\d+: \w+( opts=\S*)?$/,
  /^recovering from clean shutdown, journal seq \d+$/,
  /^recovering from unclean shutdown$/,
  /^starting journal read$/,
  /^journal read done on device \S+, ret 0$/,
  /^Journal keys: \d+ read, \d+ after sorting and compacting$/,
  /^journal read done, replaying entries \d+-\d+$/,
  /^dropped unflushed entries \d+-\d+$/,
  /^Doing (in)?compatible version upgrade from .+$/,
  /^ +running recovery passes: [a-z_,]+$/,
  /^initializing new filesystem$/,
  /^marking superblocks$/,
  /^initializing freespace$/,
  /^reading quotas$/,
  /^quotas done$/,
  /^going read-(write|only)$/,
  /^finished waiting for writes to stop$/,
  /^flushing journal and stopping allocators( complete)?, journal seq \d+$/,
  /^(un)?shutdown complete, journal seq \d+$/, // "un": journal and superblock may stay dirty, as for nochanges
  /^marking filesystem clean$/,
  /^done starting filesystem$/,
  /^shutting down$/,
  /^shutdown complete$/,
  // Said about the machine, not about the filesystem: emulation is slow.
  /^hrtimer: interrupt took \d+ ns$/,
];

/** @param allow further lines (without the prefix) that are no complaints where they are expected */
export function readFsckLog(
  log: readonly string[],
  mount: { readonly mounted: boolean; readonly errno?: number | undefined },
  allow: readonly RegExp[] = [],
): FsckReport {
  const { passes, complaints } = sortLines(log, [...BENIGN, ...allow]);
  const error = log.map(line => /bch2_fs_get_tree\(\) error: (\S+)/.exec(line)?.[1]).findLast(Boolean);
  return {
    mounted: mount.mounted,
    ...(mount.errno === undefined ? {} : { errno: mount.errno }),
    ...(error === undefined ? {} : { error }),
    passes,
    complaints,
    clean: mount.mounted && complaints.length === 0,
    log,
  };
}

/** Lines of a kernel log that are not on the list of harmless ones, as complaints. Empty is good news. */
export function complaintsIn(log: readonly string[], allow: readonly RegExp[] = []): readonly Complaint[] {
  return sortLines(log, [...BENIGN, ...allow]).complaints;
}

function sortLines(log: readonly string[], benign: readonly RegExp[]) {
  const passes: string[] = [];
  const complaints: Complaint[] = [];
  let pass: string | undefined;
  let open: string[] = [];
  const close = (fixed = false) => {
    if (open.length > 0) complaints.push({ text: open.join('\n'), fixed, ...(pass ? { pass } : {}) });
    open = [];
  };
  const endPass = () => {
    if (pass) passes.push(pass);
    pass = undefined;
  };
  for (const line of log) {
    const hasPrefix = PREFIX.test(line);
    const text = line.replace(PREFIX, '').trimEnd();
    if (text === '') continue;
    if (hasPrefix || text.trim() === 'done') close();
    const running = hasPrefix ? PASS.exec(text)?.[1] : undefined;
    if (running) {
      pass = running;
      if (PASS_DONE.test(text)) endPass();
    } else if (text.trim() === 'done') {
      endPass();
    } else if (open.length > 0 || !benign.some(pattern => pattern.test(text))) {
      // A complaint goes on until the kernel says what it does about it, or speaks of something else.
      open.push(text);
      if (/, (not )?fixing$/.test(text)) close(!text.endsWith(', not fixing'));
    }
  }
  close();
  return { passes, complaints };
}
