// scrub: reads every copy of everything, and replaces bad ones by good ones. The devices are open exclusively from the beginning to the end.

import {
  type Context,
  defineStreamCommand,
  filesystemOptions,
  Interrupted,
  Turns,
  undoFileOption,
} from '@bcachefs-ts/command';
import { type ScrubFinding, scrubbedMembers, scrubSteps } from '@bcachefs-ts/core/engine';
import { FSCK, fsckExitCodeOf } from './exit-codes.ts';
import {
  type ScrubSummary,
  scrubFindingJson,
  scrubFindingLines,
  scrubSummaryJson,
  scrubSummaryLines,
} from './scrub-text.ts';
import { Session } from './session.ts';

interface FoundItem {
  readonly kind: 'finding';
  readonly finding: ScrubFinding;
}

interface StartItem {
  readonly kind: 'start';
  readonly members: readonly string[];
}

type Item = StartItem | FoundItem | ScrubSummary;

/** Bad copies of one error, where not all are asked for. Files that have lost something are all listed. */
const SHOWN_PER_ERROR = 10;

export const scrubCommand = defineStreamCommand({
  name: 'scrub',
  summary: 'Verify all checksums, and repair bad copies from good ones',
  description:
    'Reads every copy of data and metadata of an unmounted filesystem: superblocks, all replicas of btree nodes and extents, cached copies ' +
    'and parity. What has a checksum, or a MAC where it is encrypted, is compared with it; what has none only has to be readable.\n\n' +
    'A bad copy is replaced where another one is good: the good one is copied to free room, and the pointer to the bad one is dropped. What ' +
    'has no good copy is left as it is, and the files that it belongs to are listed. Bad parity is computed from the data. While a btree node ' +
    'has no good copy, nothing is repaired: run fsck first.',
  examples: [
    { command: 'bcachefs scrub a.img b.img', does: 'Verifies everything, and repairs what can be repaired' },
    { command: 'bcachefs scrub -n disk.img', does: 'Says what is bad, and changes nothing' },
    { command: 'bcachefs scrub -m disk.img', does: 'Reads superblocks and btree nodes only' },
  ],
  positionals: {
    devices: {
      count: 'some',
      file: true,
      help: 'the members, in any order: devices, images, several joined by colons, or a directory of images',
    },
  },
  options: {
    dry_run: { type: 'flag', alias: 'n', help: 'repair nothing: the devices are opened for reading' },
    metadata: { type: 'flag', alias: 'm', help: 'leave out the data of files' },
    verbose: { type: 'flag', alias: 'v', help: 'show each bad copy, however many there are of a kind' },
    allow_missing: {
      type: 'flag',
      help: 'read what is there when members are missing, and repair nothing',
    },
    passphrase_file: filesystemOptions.passphrase_file,
    ...undoFileOption,
  },
  exitCodes: [
    { code: FSCK.clean, means: 'every copy is good' },
    { code: FSCK.corrected, means: 'bad copies were replaced by good ones' },
    { code: FSCK.uncorrected, means: 'something is bad and was left as it is: with --dry_run all that is found' },
    { code: FSCK.operational, means: 'it could not be read, or not be repaired: a device, a version' },
    { code: FSCK.usage, means: 'the command line is wrong, or a member is missing' },
    { code: FSCK.cancelled, means: 'stopped by the user' },
    { code: FSCK.bug, means: 'a bug in bcachefs-ts; the stack trace is on stderr' },
  ],
  exitCodeOf: fsckExitCodeOf,
  async *run(context: Context, args): AsyncGenerator<Item> {
    const { devices, dry_run, allow_missing, metadata: isMetadataOnly, passphrase_file, undo_file } = args;
    const session = await Session.open(context, devices, {
      write: !dry_run,
      passphraseFile: passphrase_file,
      undoFile: undo_file,
    });
    const interruption = context.untilInterrupt();
    try {
      const filesystem = await session.filesystem({ allowMissing: allow_missing });
      const { sb, set } = filesystem;
      yield { kind: 'start', members: session.names };
      const isRepairing = !dry_run && set.missing.length === 0;
      const found = new Found(args.verbose || context.json);
      const totalBytes = scrubbedMembers(filesystem, isMetadataOnly).reduce(
        (sum, { name, totalBytes: bytes }) => sum + (name === undefined ? 0 : bytes),
        0,
      );
      const task = context.progress.start({ what: 'scrubbing', unit: 'bytes', total: totalBytes });
      const steps = scrubSteps(filesystem, {
        isMetadataOnly,
        onFinding: finding => found.add(finding),
        ...(isRepairing ? { repair: { writer: () => session.changer(), now: () => session.now() } } : {}),
      });
      const turns = new Turns();
      for (;;) {
        const { done, value } = steps.next();
        yield* found.take();
        if (!done) {
          task.advance(value);
          await turns.turn(interruption);
          continue;
        }
        task.end();
        const { corrected, correctable, uncorrected, lost } = value;
        const isLeft = correctable + uncorrected + lost > 0;
        yield {
          kind: 'summary',
          uuid: sb.user_uuid,
          members: session.names,
          isDry: !isRepairing,
          isMetadataOnly,
          notShown: found.notShown,
          report: value,
          exitCode: (corrected > 0 ? FSCK.corrected : 0) | (isLeft ? FSCK.uncorrected : 0),
        };
        return;
      }
    } catch (thrown) {
      if (thrown instanceof Interrupted)
        context.warn('stopped: what was repaired until then stays repaired, and nothing else was changed');
      throw thrown;
    } finally {
      interruption.end();
      session.close();
    }
  },
  async text(item, out) {
    if (item.kind === 'start') out.line(`Starting scrub on ${item.members.length} devices:  ${item.members.join(' ')}`);
    else if (item.kind === 'finding') for (const line of scrubFindingLines(item.finding)) out.line(line);
    else for (const line of scrubSummaryLines(item)) out.line(line);
  },
  json(item) {
    if (item.kind === 'start') return { start: { members: item.members } };
    return item.kind === 'finding' ? { finding: scrubFindingJson(item.finding) } : { summary: scrubSummaryJson(item) };
  },
  exitCode: item => (item.kind === 'summary' ? item.exitCode : FSCK.clean),
});

/** What was found and not shown yet. */
class Found {
  readonly #isVerbose: boolean;
  #waiting: FoundItem[] = [];
  readonly #shown = new Map<string, number>();
  /** Bad copies, by error. */
  readonly notShown = new Map<string, number>();

  constructor(isVerbose: boolean) {
    this.#isVerbose = isVerbose;
  }

  add(finding: ScrubFinding): void {
    const { error } = finding.damage;
    const shown = this.#shown.get(error) ?? 0;
    if (finding.kind === 'copy' && !this.#isVerbose && shown >= SHOWN_PER_ERROR) {
      this.notShown.set(error, (this.notShown.get(error) ?? 0) + 1);
      return;
    }
    if (finding.kind === 'copy') this.#shown.set(error, shown + 1);
    this.#waiting.push({ kind: 'finding', finding });
  }

  take(): FoundItem[] {
    if (this.#waiting.length === 0) return [];
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }
}
