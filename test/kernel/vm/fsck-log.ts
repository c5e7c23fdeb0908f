// Reading the kernel's verdict out of its log. Who says a line comes first: bcachefs puts its name in front, or nothing at all (findings of
// a check, and the lines they go on with); the rest of the kernel puts one word and a colon in front, as no finding of bcachefs begins
// (none of the 235 formats of v1.13.0). What others say is not a complaint, wherever it comes between; a broken kernel always is one.
//
// Of what bcachefs says, the list below is what it says when nothing is wrong; every other line is a complaint, so that a complaint that
// was never met before counts too.

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
  // A background job that an unmount stopped: before it began to write, or when it was about to commit.
  /^bch2_\w+\(\): error .*\berofs_(no_writes|trans_commit)$/,
  /^starting version \d+\.\d+: \w+( opts=\S*)?$/,
  /^recovering from clean shutdown, journal seq \d+$/,
  /^recovering from unclean shutdown$/,
  /^starting journal read$/,
  /^journal read done on device \S+, ret 0$/,
  /^Journal keys: \d+ read, \d+ after sorting and compacting$/,
  /^journal read done, replaying entries \d+-\d+$/,
  /^dropped unflushed entries \d+-\d+$/,
  // Ranges of numbers that no entry on the devices can have any more are forgotten.
  /^nr blacklist entries was \d+, now \d+$/,
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
  // Linux 6.16, of every filesystem that it starts.
  /^ +allowing incompatible features above \d+\.\d+: .+$/,
  /^ +features: [a-z0-9_,]+$/,
  /^ +with devices [a-z0-9 ]+$/,
  /^Using encoding defined by superblock: utf8-12\.1\.0$/,
  /^(un|clean )?shutdown complete, journal seq \d+$/, // "un": journal and superblock may stay dirty, as for nochanges
  /^marking filesystem clean$/,
  /^done starting filesystem$/,
  /^shutting down$/,
  /^shutdown complete$/,
];

/** One word, a colon, and what another part of the kernel has to say. */
const OTHERS = /^[a-z][\w./-]*: /;
/** bcachefs' own functions, named where messages of theirs were left out. */
const LEFT_OUT = /: \d+ callbacks suppressed$/;
/** Lines that a finding goes on with can look so too ("old: …"); between them, these count as others. */
const TALKATIVE =
  /^(clocksource|hrtimer|rcu|sched|sched_clock|perf|watchdog|tsc|workqueue|kthread|random|virtio[\w-]*|vd[a-z]+): /;
/** The few that do without a name in front. */
const NAMELESS_OTHERS =
  /^(TSC found unstable after boot|INFO: NMI handler |NMI watchdog: |\S+ \(\d+\): drop_caches: \d$)/;
/** The machine was held up, which prints where it stood, as a broken kernel does. An endless loop runs into the time limit of its step. */
const HELD_UP = /^(rcu|watchdog): /;
const TRACE =
  /^( ?<\/?\w+>$|\s+(\? )?[\w.]+\+0x|\s*\? |(Modules linked in|CPU|Hardware name|Workqueue|Tainted|Call Trace|Code|RIP|EFLAGS|[A-Z][A-Z0-9]{1,2}|DR[0-7]|PKRU)\b.*:|Call Trace:|Sending NMI |NMI backtrace |task:|irq event stamp|(hard|soft)irqs last )/;
/** A kernel that is broken, or does not come to an end. */
const TROUBLE =
  /^(-+\[ cut here \]-+|BUG\b|WARNING: |Oops|kernel BUG at |Kernel panic|INFO: task .* blocked for more than|UBSAN: |KASAN: |general protection fault|.*\[#\d+\])/;
const CUT = /^-+\[ cut here \]-+$/;
const TRACE_END = /^---\[ end /;
/** Ten seconds of wall time in one transaction, which an emulated machine takes for the read of a node when its processor is shared. */
const SLOW = /^btree trans held srcu lock \(delaying memory reclaim\) for \d+ seconds$/;
/** More lines than any such trace has: without an end it is not one. */
const TRACE_LINES_MAX = 100;

/** The log without what only says that the machine is slow, with the traces that go with it. */
function withoutSlowness(log: readonly string[]): readonly string[] {
  const kept: string[] = [];
  for (let at = 0; at < log.length; at++) {
    const isSlow = CUT.test(log[at]!) && SLOW.test((log[at + 1] ?? '').replace(PREFIX, '').trimEnd());
    const end = isSlow ? log.slice(at, at + TRACE_LINES_MAX).findIndex(line => TRACE_END.test(line)) : -1;
    if (end < 0) kept.push(log[at]!);
    else at += end;
  }
  return kept;
}

/** @param allow further lines (without the prefix) that are not complaints where they are expected */
export function readFsckLog(
  log: readonly string[],
  mount: { readonly mounted: boolean; readonly errno?: number | undefined },
  allow: readonly RegExp[] = [],
): FsckReport {
  const { passes, complaints: all } = sortLines(log, [...BENIGN, ...allow]);
  const complaints = withoutDiscards(all);
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

/**
 * A mount that checks goes read-write in memory and discards buckets meanwhile. The alloc key of such a bucket changes in the key cache, its
 * keys in need_discard and freespace in their btrees, and check_alloc_info of 6.12 compares the btrees only: it then finds what a free
 * bucket has beside an alloc key that still says need_discard. Seen on filesystems that a kernel alone has made and filled, and in images
 * of which our own checker, which judges the same, has just said that nothing is wrong. It was one bucket each time: more than one counts.
 */
const BEING_DISCARDED =
  /^incorrect key in (need_discard btree \(got deleted should be set\)|freespace btree \(got set should be deleted\))\n[\s\S]*\bdata_type need_discard\n/;
/** Follows any complaint. */
const NOT_CLEAN = 'done going read-only, filesystem not clean';

function withoutDiscards(complaints: readonly Complaint[]): readonly Complaint[] {
  const discarded = complaints.filter(({ text }) => BEING_DISCARDED.test(text));
  const buckets = new Set(discarded.map(({ text }) => / alloc_v4 (\S+) /.exec(text)?.[1]));
  if (buckets.size !== 1) return complaints;
  // A real complaint still counts; what follows from it says nothing more. A test may expect others, and would be left with that.
  return complaints.filter(complaint => !discarded.includes(complaint) && complaint.text !== NOT_CLEAN);
}

/** Lines of a kernel log that are not on the list of harmless ones, as complaints. Empty is good news. */
export function complaintsIn(log: readonly string[], allow: readonly RegExp[] = []): readonly Complaint[] {
  return withoutDiscards(sortLines(log, [...BENIGN, ...allow]).complaints);
}

/** Lines of a kernel log that report a broken kernel: failed assertions, oopses, tasks that hang. */
export function troubleIn(log: readonly string[]): readonly string[] {
  return withoutSlowness(log).filter(line => TROUBLE.test(line));
}

/** @param isOpen in the middle of a complaint */
function isOfOthers(line: string, isOpen: boolean): boolean {
  if (NAMELESS_OTHERS.test(line)) return true;
  return (isOpen ? TALKATIVE : OTHERS).test(line) && !LEFT_OUT.test(line);
}

function sortLines(lines: readonly string[], benign: readonly RegExp[]) {
  const log = withoutSlowness(lines);
  const passes: string[] = [];
  const complaints: Complaint[] = [];
  let pass: string | undefined;
  let open: string[] = [];
  let isHeldUp = false;
  let isTrouble = false;
  const close = (fixed = false) => {
    if (open.length > 0) complaints.push({ text: open.join('\n'), fixed, ...(pass ? { pass } : {}) });
    open = [];
    isTrouble = false;
  };
  const endPass = () => {
    if (pass) passes.push(pass);
    pass = undefined;
  };
  for (const line of log) {
    const hasPrefix = PREFIX.test(line);
    const text = line.replace(PREFIX, '').trimEnd();
    if (text === '') continue;
    if (!hasPrefix) {
      const isBroken = TROUBLE.test(line);
      if (isBroken && !isTrouble) close();
      isTrouble ||= isBroken;
      if (!isBroken && isOfOthers(line, open.length > 0)) {
        isHeldUp ||= HELD_UP.test(line);
        continue;
      }
      if (isHeldUp && !isTrouble && TRACE.test(line)) continue;
    }
    isHeldUp = false;
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
      if (TRACE_END.test(text)) close();
    }
  }
  close();
  return { passes, complaints };
}
