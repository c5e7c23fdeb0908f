// The devices of a check, open from its beginning to its end, so that nothing changes between what was looked at and what is repaired.
// A run that is dry goes over devices whose writes stay in memory.

import {
  CommandFailed,
  type Context,
  type Interruption,
  passphraseFor,
  secondsOf,
  Turns,
  undoWrap,
} from '@bcachefs-ts/command';
import {
  type BlockDevice,
  copiesWithOtherKeys,
  correctedSizes,
  DeviceWrapper,
  declaredCompressionTypes,
  encryptionOf,
  Filesystem,
  FilesystemWriter,
  type Finding,
  type FoundKey,
  findMasterKey,
  getBits,
  isCheckPending,
  type Key,
  keyToWriteWith,
  loadChecksums,
  loadCompression,
  loadMacs,
  type MemberSet,
  memberPaths,
  missingText,
  type OpenMember,
  OverlayDevice,
  openDevice,
  openMember,
  openMembers,
  type PassName,
  type RecoverReport,
  type Reporter,
  readReplayState,
  recoverSteps,
  refuseSplitBrain,
  type SoundMembers,
  type Superblock,
  sbBits,
  sectionPayload,
  soundJournals,
  soundSections,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { FSCK } from './exit-codes.ts';

export interface SessionOptions {
  /** Repairs may follow. */
  readonly write: boolean;
  readonly passphraseFile: string | undefined;
  /** Members may be missing. */
  readonly allowMissing?: boolean;
  /** What writes overwrite is saved there first. */
  readonly undoFile: string | undefined;
}

export interface RunOptions {
  /** Nothing of it reaches the devices. */
  readonly isDry: boolean;
  readonly reporter: Reporter;
  readonly interruption: Interruption;
  readonly reconstructAlloc: boolean;
  readonly giveUpMissing: boolean;
  readonly isWanted: ((pass: PassName) => boolean) | undefined;
  readonly onPass: (pass: PassName, round: number) => void;
  readonly onDropped: (btree: number, key: Key, reason: string) => void;
  readonly onDroppedBytes: (btree: number, bytes: Uint8Array, reason: string) => void;
  /** What it throws gives the repair up. */
  readonly onCommit: (writer: FilesystemWriter) => void;
}

export class Session {
  readonly #context: Context;
  readonly #devices: readonly BlockDevice[];
  readonly #passphraseFile: string | undefined;
  readonly #allowMissing: boolean;
  #key: { readonly found: FoundKey | undefined; readonly passphrase: Uint8Array | undefined } | undefined;
  /** Bytes that were read from the devices since the beginning. */
  bytesRead = 0;
  onRead: (() => void) | undefined;

  private constructor(
    context: Context,
    devices: readonly BlockDevice[],
    { passphraseFile, allowMissing = false }: Pick<SessionOptions, 'passphraseFile' | 'allowMissing'>,
  ) {
    this.#context = context;
    this.#passphraseFile = passphraseFile;
    this.#allowMissing = allowMissing;
    this.#devices = devices.map(device => new CountingDevice(device, bytes => this.#count(bytes)));
  }

  /** @throws DeviceError for a device that is missing, mounted or otherwise in use */
  static async open(
    context: Context,
    words: readonly string[],
    { write, undoFile, ...options }: SessionOptions,
  ): Promise<Session> {
    await loadChecksums();
    const opened: BlockDevice[] = [];
    const undoable = write ? undoWrap(context, { undo_file: undoFile }) : (device: BlockDevice) => device;
    try {
      for (const path of memberPaths(words)) opened.push(undoable(openDevice(path, { write, exclusive: true })));
    } catch (thrown) {
      for (const device of opened) device.close();
      throw thrown;
    }
    return new Session(context, opened, options);
  }

  get names(): readonly string[] {
    return this.#devices.map(({ name }) => name);
  }

  get sizeBytes(): number {
    return this.#devices.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** The newest superblock. */
  get superblock(): Superblock {
    return soundSections(this.#devices.map(openMember)).set.newest.sb;
  }

  /**
   * It was unmounted, nothing has noted errors since, and its superblocks are such that it can be mounted.
   * @throws UsageError for a split brain, which a mount does not take
   */
  get isClean(): boolean {
    const opened = this.#devices.map(openMember);
    const { set, findings } = soundSections(opened);
    refuseSplitBrain(set);
    const isWrong = ({ reading }: OpenMember) => reading.problems.length > 0 || reading.failures.length > 0;
    if (findings.length > 0 || opened.some(isWrong)) return false;
    const { sb } = set.newest;
    const isUnmounted = getBits(sb.flags, sbBits.CLEAN) === 1 && sectionPayload(sb, 'clean') !== undefined;
    return isUnmounted && !isCheckPending(sb);
  }

  /** What is said of members that are missing; undefined when all are there. @throws UsageError when they may not be missing */
  get missingText(): string | undefined {
    const set = soundSections(this.#devices.map(openMember)).set;
    if (set.missing.length === 0) return undefined;
    const text = missingText(set);
    if (this.#allowMissing) return text;
    const hint =
      '--allow_missing checks what is there, --give_up_missing lists what is lost without them and repairs the rest';
    throw new UsageError(`${text}: ${hint}`, undefined, 'member_missing');
  }

  /** A writer whose changes are kept in memory, or not. */
  async writer(isDry: boolean): Promise<FilesystemWriter> {
    return (await this.#open(isDry)).writer;
  }

  /** The same, and what had to be corrected for it. */
  async #open(isDry: boolean): Promise<{ readonly writer: FilesystemWriter; readonly corrected: readonly Finding[] }> {
    const devices = isDry ? this.#devices.map(device => new OverlayDevice(device)) : this.#devices;
    const sound = soundSections(devices.map(openMember));
    const found = await this.#masterKey(sound.set);
    const key = found?.key;
    const readable = soundJournals(found === undefined ? sound : withKeyFound(sound, found), key);
    const { set, findings } = correctedSizes(readable.set, key);
    const corrected = [...readable.findings, ...findings];
    const now = this.now();
    const allowMissing = this.#allowMissing;
    const writer = new FilesystemWriter(set, {
      random: systemRandom,
      now: () => now,
      key,
      isRepair: true,
      allowMissing,
    });
    return { writer, corrected };
  }

  /** For reading: its master key is known from here on. @throws UsageError when members are missing, unless that is allowed */
  async filesystem({ allowMissing = false }: { readonly allowMissing?: boolean } = {}): Promise<Filesystem> {
    const set = openMembers(this.#devices);
    if (set.missing.length > 0 && !allowMissing)
      throw new UsageError(`${missingText(set)}; --allow_missing reads the others`, undefined, 'member_missing');
    const found = await this.#masterKey(set);
    if (found === undefined) return new Filesystem(set, readReplayState(set), undefined);
    for (const one of found.findings) this.#context.warn(one.text());
    return new Filesystem(found.set, readReplayState(found.set, found.key), found.key);
  }

  /** A writer as any other command has it: what keys say is not repaired with it. @throws as FilesystemWriter does */
  changer(): FilesystemWriter {
    const set = openMembers(this.#devices);
    const now = this.now();
    const found = this.#key?.found;
    const key = found === undefined ? undefined : keyToWriteWith(found);
    return new FilesystemWriter(set, { random: systemRandom, now: () => now, key });
  }

  /** Seconds since 1970. */
  now(): bigint {
    return secondsOf(this.#context.date());
  }

  /** @throws Interrupted when the process was asked to stop: nothing has changed then that counts */
  async run({ isDry, onCommit, interruption, ...options }: RunOptions): Promise<RecoverReport> {
    const { writer, corrected } = await this.#open(isDry);
    const now = this.now();
    const steps = recoverSteps(writer, { ...options, corrected, now, onCommit: () => onCommit(writer) });
    const turns = new Turns();
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
      await turns.turn(interruption);
    }
  }

  close(): void {
    for (const device of this.#devices) device.close();
  }

  /** Asked for once, and kept until the end. */
  async #masterKey(set: MemberSet): Promise<FoundKey | undefined> {
    if (this.#key === undefined) {
      const { sb } = set.newest;
      await loadCompression(declaredCompressionTypes(sb));
      const encryption = encryptionOf(sb);
      const isSealed = encryption === 'passphrase';
      const passphrase = isSealed ? await passphraseFor(this.#context, this.#passphraseFile) : undefined;
      const found = encryption === 'none' ? undefined : findMasterKey(set, passphrase);
      if (encryption !== 'none' && found === undefined)
        throw new CommandFailed('wrong passphrase', { exitCode: FSCK.operational, code: 'wrong_passphrase' });
      if (found !== undefined) await loadMacs();
      this.#key = { found, passphrase };
      return found;
    }
    const { found, passphrase } = this.#key;
    if (found === undefined) return undefined;
    return found.findings.length === 0 ? { ...found, set } : findMasterKey(set, passphrase);
  }

  #count(bytes: number): void {
    this.bytesRead += bytes;
    this.onRead?.();
  }
}

/** The same members, with their master key. */
function withKeyFound({ findings, journalless }: SoundMembers, { set, findings: ofKey }: FoundKey): SoundMembers {
  const indexes = new Set(journalless.map(({ sb }) => sb.dev_idx));
  return {
    set,
    findings: [...findings, ...ofKey, ...(ofKey.length === 0 ? copiesWithOtherKeys(set) : [])],
    journalless: set.members.filter(({ sb }) => indexes.has(sb.dev_idx)),
  };
}

class CountingDevice extends DeviceWrapper {
  readonly #onRead: (bytes: number) => void;

  constructor(inner: BlockDevice, onRead: (bytes: number) => void) {
    super(inner);
    this.#onRead = onRead;
  }

  override read(offset: number, into: Uint8Array): void {
    super.read(offset, into);
    this.#onRead(into.length);
  }
}
