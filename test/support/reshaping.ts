// Arrays that are reshaped at random: files change, members join, are emptied, leave, get larger and smaller, change their state, are lost for
// a while or for good. After each step every rule of the checker holds and the files are what a plain model says. A step that is refused has
// changed nothing.

import {
  addMembers,
  allocDevices,
  beginChange,
  checkInvariants,
  type DeviceRequest,
  decodeExtentEntries,
  type ExtentEntry,
  encodeExtentEntries,
  evacuateSteps,
  FileEdit,
  Filesystem,
  type FilesystemWriter,
  findingText,
  getBits,
  growMember,
  joinedBefore,
  journalSize,
  lossesOf,
  MemoryDevice,
  makeKey,
  memberAlive,
  memberBits,
  members,
  NoSpaceError,
  openMember,
  openMembers,
  planAdd,
  planRemove,
  planReplace,
  planReplaceMissing,
  readBytes,
  readReplayState,
  readUsage,
  removeSteps,
  replaceMissingSteps,
  replaceSteps,
  rereplicateSteps,
  resizeJournalSteps,
  type Superblock,
  sectorsToBytes,
  shrinkSteps,
  smallestBucketCount,
  type TargetOption,
  UsageError,
  type WriterOptions,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { entryBytesOf, spacePointers } from '../../packages/core/src/alloc/extent-pointers.ts';
import { editWritableSteps } from '../../packages/core/src/members/waiting-data.ts';
import { writerOn } from './commits.ts';
import { FileModel, SHARING_OPERATIONS, treeText } from './file-model.ts';
import { formattedImage, MIB } from './memory-images.ts';
import { type Random, randomFrom } from './random.ts';

const text = new TextEncoder();
export const RESHAPED_TOP = 'a model';
const MEMBERS_MAX = 8;
const STATE = { rw: 0, ro: 1, failed: 2, spare: 3 } as const;
const ALL_DATA = 0b11100;

type Outcome = 'done' | 'refused' | 'nothing';

/** One step; another kind is one more row of WEIGHTED. */
type Operation = (run: Reshaping) => Outcome;

export class Reshaping {
  readonly random: Random;
  readonly seed: number;
  /** By index: those that are here, and those that are lost but may come back. */
  readonly present = new Map<number, MemoryDevice>();
  readonly away = new Map<number, MemoryDevice>();
  readonly key: Uint8Array | undefined;
  readonly isEncrypted: boolean;
  readonly made: string;
  model: FileModel;
  /** What happened, a word or a few for each step. */
  readonly log: string[] = [];
  readonly counts: Record<string, number> = {};
  #steps = 0;
  /** Of this step: whether what every commit leaves is looked at. */
  #isWatched = false;

  constructor(seed: number) {
    this.seed = seed;
    const random = randomFrom(seed);
    this.random = random;
    const count = 1 + random.below(5);
    const replicas = () => `${1 + random.below(Math.min(3, count))}`;
    const isTiered = count > 1 && random.below(3) === 0;
    const options: Record<string, string> = { metadata_replicas: replicas(), data_replicas: replicas() };
    const compression = random.pick(['none', 'none', 'lz4', 'zstd', 'gzip']);
    if (compression !== 'none') options.compression = compression;
    if (random.below(4) === 0) options.background_compression = 'zstd';
    if (random.below(4) === 0) options.data_checksum = random.pick(['none', 'crc64', 'xxhash']);
    this.isEncrypted = random.below(4) === 0;
    const targets: Partial<Record<TargetOption, string>> = isTiered
      ? {
          foreground_target: 'ssd',
          background_target: 'hdd',
          ...(random.below(2) === 0 ? { promote_target: 'ssd' } : {}),
        }
      : {};
    const sizes = Array.from({ length: count }, () => MIB * random.pick([24, 32, 32, 48]));
    const image = formattedImage({
      members: count,
      options,
      targets,
      isEncrypted: this.isEncrypted,
      each: (nr): Partial<DeviceRequest> => ({
        sizeBytes: sizes[nr]!,
        ...(isTiered ? { label: `${nr % 2 === 0 ? 'hdd' : 'ssd'}.${nr}` } : {}),
      }),
    });
    for (const [nr, device] of image.devices.entries()) this.present.set(nr, device);
    this.key = image.key;
    this.made = `${count} members, ${Object.entries(options)
      .map(pair => pair.join('='))
      .join(' ')}${isTiered ? ' tiered' : ''}${this.isEncrypted ? ' encrypted' : ''}`;
    this.model = new FileModel(random);
  }

  get devices(): readonly MemoryDevice[] {
    return [...this.present.values()];
  }

  get filesystem() {
    const set = openMembers(this.devices);
    return new Filesystem(set, readReplayState(set, this.key), this.key);
  }

  writer(devices = this.devices): ReturnType<typeof writerOn> {
    return writerOn(devices, this.key, this.seed * 1000 + this.#steps, { allowMissing: this.away.size > 0 });
  }

  /** For what opens the filesystem again. */
  more({ random, now }: ReturnType<typeof writerOn>['options']): WriterOptions {
    return { key: this.key, random, now: () => now() / 10n ** 9n, allowMissing: this.away.size > 0 };
  }

  /** A random step, and what has to be so after it. @throws an error with the whole history */
  step(): void {
    this.#steps++;
    const [name, operation] = this.random.pick(WEIGHTED);
    this.#isWatched = this.random.below(4) === 0;
    this.log.push(name);
    const before = new Map([...this.present].map(([dev, device]) => [dev, device.clone()]));
    try {
      const outcome = this.#outcomeOf(operation, before);
      this.counts[`${name} ${outcome}`] = (this.counts[`${name} ${outcome}`] ?? 0) + 1;
      this.log[this.log.length - 1] += ` ${outcome}`;
      if (outcome !== 'nothing') this.check();
    } catch (thrown) {
      throw new Error(`${this.text()}\n${thrown instanceof Error ? thrown.stack : thrown}`, { cause: thrown });
    }
  }

  #outcomeOf(operation: Operation, before: ReadonlyMap<number, MemoryDevice>): Outcome {
    try {
      return operation(this);
    } catch (thrown) {
      if (!(thrown instanceof UsageError || thrown instanceof NoSpaceError)) throw thrown;
      this.note(`(${thrown.message})`);
      if (thrown instanceof UsageError) for (const [dev, device] of before) expectSame(this.present.get(dev), device);
      return 'refused';
    }
  }

  /** What each commit leaves, for some of the steps. */
  watch(writer: FilesystemWriter): void {
    if (!this.#isWatched) return;
    const found = checkInvariants(writer.filesystem).findings.map(findingText);
    if (found.length > 0) throw new Error(`between commits: ${found.slice(0, 10).join('\n')}`);
  }

  check(): void {
    const { filesystem } = this;
    const found = checkInvariants(filesystem).findings.map(findingText);
    if (found.length > 0) throw new Error(found.slice(0, 20).join('\n'));
    const [is, expected] = [treeText(filesystem, RESHAPED_TOP), this.model.text()];
    const wrong = [...is.filter(line => !expected.includes(line)), ...expected.filter(line => !is.includes(line))];
    if (wrong.length > 0) throw new Error(`files differ:\n${wrong.slice(0, 10).join('\n')}`);
  }

  note(words: string): void {
    this.log[this.log.length - 1] += ` ${words}`;
  }

  text(): string {
    return `TEST_SEED=${this.seed}: ${this.made}\n${this.log.map((line, nr) => `${nr}: ${line}`).join('\n')}`;
  }

  /** A member that is here, and not the last. */
  pickPresent(): number | undefined {
    return this.present.size < 2 ? undefined : this.random.pick([...this.present.keys()]);
  }

  stateOf(dev: number): number {
    return getBits([members(this.filesystem.sb)[dev]!.flags], memberBits.STATE);
  }

  /** Whether something has no other copy, on members that a mount would read. */
  isAnyLostWithout(dev: number): boolean {
    const { filesystem } = this;
    const usage = readUsage(filesystem, damage => {
      throw damage;
    });
    const unread = members(filesystem.sb).flatMap((member, at) =>
      memberAlive(member) && getBits([member.flags], memberBits.STATE) >= STATE.failed ? [at] : [],
    );
    const gone = [...new Set([...this.away.keys(), ...unread])].filter(other => other !== dev);
    return lossesOf(usage, filesystem.sb, [dev], gone).isAnyLost;
  }

  /** As `device set-state`: what waits for a target is brought in line. */
  setState(dev: number, state: number): void {
    const edit = (sb: Superblock) =>
      withMember(sb, dev, member => ({ ...member, flags: withBits([member.flags], memberBits.STATE, state)[0]! }));
    for (const _ of editWritableSteps(this.writer().writer, edit));
  }

  /** Changes of files in one commit; where there is no room for them they did not happen. */
  change(steps: number, among?: Parameters<FileModel['step']>[2], makesRoom = false): Outcome {
    const kept = this.model.copy();
    try {
      const { writer, options } = this.writer();
      const edit = new FileEdit(writer, { ...options, makesRoom });
      const root = edit.files.root();
      const known = edit.files.lookup(root, text.encode(RESHAPED_TOP));
      const top = known ?? edit.files.create(root, text.encode(RESHAPED_TOP), { mode: 0o040755 });
      for (let i = 0; i < steps; i++) this.model.step(edit, top, among);
      edit.commit();
      return 'done';
    } catch (thrown) {
      this.model = kept;
      throw thrown;
    }
  }
}

function expectSame(device: MemoryDevice | undefined, before: MemoryDevice): void {
  if (device === undefined || device.sizeBytes !== before.sizeBytes) throw new Error('refused, and another device');
  for (const { offset, length } of device.writtenRanges()) {
    const [is, was] = [readBytes(device, offset, length), readBytes(before, offset, length)];
    if (!Buffer.from(is).equals(was))
      throw new Error(`refused, and something is written within ${length} bytes from ${offset} of ${device.name}`);
  }
}

function add(run: Reshaping): Outcome {
  const { random } = run;
  const count = Math.min(MEMBERS_MAX - run.present.size - run.away.size, 1 + random.below(2));
  if (count <= 0) return 'nothing';
  const labels = [undefined, undefined, 'ssd.new', 'hdd.new', 'other'];
  const bucketBytes = random.pick([undefined, undefined, 256 * 1024]);
  const sizes = bucketBytes === undefined ? [24, 32, 48, 64] : [128, 160];
  const devices = Array.from({ length: count }, () => new MemoryDevice(MIB * random.pick(sizes), { name: 'new' }));
  const wanted = devices.map(device => ({
    device,
    label: random.pick(labels),
    durability: random.pick([1, 1, 1, 1, 0, 2]),
    discard: random.below(2) === 0,
    dataAllowed: random.pick([ALL_DATA, ALL_DATA, ALL_DATA, 0b10000, 0b10100, 0b01100]),
    bucketBytes,
    signatures: [],
  }));
  const { writer, options } = run.writer();
  const now = () => options.now() / 10n ** 9n;
  const plan = planAdd(writer.filesystem, wanted, { random: options.random, nowSeconds: now() });
  addMembers(writer, plan, { key: run.key, random: options.random, now, allowMissing: run.away.size > 0 });
  for (const { dev, device } of plan.added) run.present.set(dev, device as MemoryDevice);
  run.note(plan.added.map(({ dev }) => dev).join());
  return 'done';
}

function evacuate(run: Reshaping): Outcome {
  const dev = run.pickPresent();
  if (dev === undefined) return 'nothing';
  const types = run.random.pick([undefined, undefined, ['user'], ['btree']] as const);
  run.note(`${dev} ${types ?? ''}`);
  const { writer } = run.writer();
  for (const steps = evacuateSteps(writer, [dev], { types, keysPerCommit: run.random.pick([50, 400, 50_000]) }); ; ) {
    const { done, value } = steps.next();
    run.watch(writer);
    if (!done) continue;
    run.note(`left ${value.leftCount}, fewer ${value.fewerCopiesBytes}`);
    return 'done';
  }
}

function leave(run: Reshaping, dev: number, isForced: boolean): Outcome {
  run.note(`${dev}${isForced ? ' --force' : ''}`);
  const { writer } = run.writer();
  for (const steps = removeSteps(writer, dev, { isForced, keysPerCommit: run.random.pick([50, 400, 50_000]) }); ; ) {
    const { done, value } = steps.next();
    run.watch(writer);
    if (!done) continue;
    if (!value.isRemoved) {
      run.note(`left ${value.evacuation?.leftCount}`);
      return 'done';
    }
    if (value.lostKeys > 0) throw new Error(`${value.lostKeys} keys lost`);
    run.present.delete(dev);
    run.away.delete(dev);
    return 'done';
  }
}

function remove(run: Reshaping): Outcome {
  const dev = run.pickPresent();
  if (dev === undefined) return 'nothing';
  return leave(run, dev, false);
}

/** Nothing may be lost by it. */
function removeByForce(run: Reshaping): Outcome {
  const dev = run.pickPresent();
  if (dev === undefined) return 'nothing';
  if (planRemove(run.filesystem, dev, { isForced: true }).lostBytes > 0 || run.isAnyLostWithout(dev)) return 'nothing';
  return leave(run, dev, true);
}

function removeMissing(run: Reshaping): Outcome {
  const [dev] = run.away.keys();
  return dev === undefined ? 'nothing' : leave(run, dev, run.random.below(2) === 0);
}

/** A new device in the place of one that is here: the same size, a little larger, or a lot. */
function replace(run: Reshaping): Outcome {
  const { random } = run;
  const dev = random.pick([...run.present.keys()]);
  const { writer, options } = run.writer();
  const sizeBytes = run.present.get(dev)!.sizeBytes + random.pick([0, 0, 5000 * 512, 16 * MIB]);
  run.note(`${dev}, ${sizeBytes}`);
  const fresh = new MemoryDevice(sizeBytes, { name: 'new' });
  const plan = planReplace(writer.filesystem, dev, fresh);
  for (const _ of replaceSteps(writer, plan, fresh, { ...run.more(options), signatures: [] }));
  run.present.set(dev, fresh);
  return 'done';
}

/** A new device instead of one that is away. */
function replaceMissing(run: Reshaping): Outcome {
  const { random } = run;
  const [dev] = run.away.keys();
  if (dev === undefined || run.present.size + run.away.size >= MEMBERS_MAX) return 'nothing';
  const { writer, options } = run.writer();
  const fresh = new MemoryDevice(MIB * random.pick([24, 32, 48, 64]), { name: 'new' });
  const keysPerCommit = random.pick([50, 400, 50_000]);
  const more = { ...run.more(options), keysPerCommit };
  const plan = planReplaceMissing(writer, dev, { device: fresh, signatures: [] }, more);
  run.note(`${dev} by ${plan.newDev}`);
  try {
    for (const steps = replaceMissingSteps(writer, plan, more); ; ) {
      const { done, value } = steps.next();
      if (!done) continue;
      const { copies, removal } = value;
      run.note(`left ${copies.leftCount}`);
      if (removal === undefined) throw new Error(`${copies.leftBy['no good copy']} copies are bad`);
      if (removal.lostKeys > 0) throw new Error(`${removal.lostKeys} keys lost`);
      run.away.delete(dev);
      return 'done';
    }
  } finally {
    if (isMember(run.devices, fresh)) run.present.set(plan.newDev, fresh);
  }
}

function isMember(others: readonly MemoryDevice[], device: MemoryDevice): boolean {
  if (device.writtenRanges().length === 0) return false;
  return joinedBefore(others.map(openMember), openMember(device)) === 'member';
}

function rereplicate(run: Reshaping): Outcome {
  const { writer } = run.writer();
  for (const steps = rereplicateSteps(writer, { keysPerCommit: run.random.pick([50, 400, 50_000]) }); ; ) {
    const { done, value } = steps.next();
    run.watch(writer);
    if (!done) continue;
    run.note(`left ${value.leftCount}`);
    if (value.leftBy['no good copy'] > 0) throw new Error(`${value.leftBy['no good copy']} without a good copy`);
    return 'done';
  }
}

/** One is not there any more, within what the copies allow. */
function lose(run: Reshaping): Outcome {
  const dev = run.pickPresent();
  if (dev === undefined || run.isAnyLostWithout(dev)) return 'nothing';
  run.note(`${dev}`);
  run.away.set(dev, run.present.get(dev)!);
  run.present.delete(dev);
  return 'done';
}

/** It turns up again, and takes part from then on. */
function comeBack(run: Reshaping): Outcome {
  const [dev] = run.away.keys();
  if (dev === undefined) return 'nothing';
  run.note(`${dev}`);
  run.present.set(dev, run.away.get(dev)!);
  run.away.delete(dev);
  run.check();
  return run.change(3);
}

function setState(run: Reshaping): Outcome {
  const { random } = run;
  const dev = random.pick([...run.present.keys(), ...run.away.keys()]);
  const state = random.pick([STATE.rw, STATE.rw, STATE.rw, STATE.ro, STATE.failed, STATE.spare]);
  run.note(`${dev} ${state}`);
  const others = [...run.present.keys()].filter(other => other !== dev && run.stateOf(other) === STATE.rw);
  if (state !== STATE.rw && others.length === 0) return 'nothing';
  if (state >= STATE.failed && run.isAnyLostWithout(dev)) return 'nothing';
  run.setState(dev, state);
  return 'done';
}

/** All that are here are written to again, so that a sequence goes on. */
function allWritable(run: Reshaping): Outcome {
  for (const dev of run.present.keys()) if (run.stateOf(dev) !== STATE.rw) run.setState(dev, STATE.rw);
  return 'done';
}

function grow(run: Reshaping): Outcome {
  const { random } = run;
  const dev = random.pick([...run.present.keys()]);
  const device = run.present.get(dev)!;
  const { writer } = run.writer();
  const { bucketSizeSectors, bucketEnd } = allocDevices(writer.filesystem.sb)[dev]!;
  const count = bucketEnd + 1 + random.below(random.pick([4, 100, 300]));
  run.note(`${dev} ${bucketEnd} to ${count}`);
  const bytes = count * sectorsToBytes(bucketSizeSectors) + random.pick([0, 512, 5000 * 512]);
  if (device.sizeBytes < bytes) device.setSize(bytes);
  growMember(writer, dev, count);
  return 'done';
}

function shrink(run: Reshaping): Outcome {
  const { random } = run;
  const dev = random.pick([...run.present.keys()]);
  const { writer } = run.writer();
  const { bucketEnd } = allocDevices(writer.filesystem.sb)[dev]!;
  const least = smallestBucketCount(writer.filesystem, dev);
  const count = random.pick(['min', least + random.below(bucketEnd - least + 1)] as const);
  run.note(`${dev} ${bucketEnd} to ${count} (${least})`);
  for (const steps = shrinkSteps(writer, dev, count, { keysPerCommit: random.pick([50, 50_000]) }); ; ) {
    const { done, value } = steps.next();
    if (!done) continue;
    run.present.get(dev)!.setSize(value.sizeBytes);
    return 'done';
  }
}

function resizeJournal(run: Reshaping): Outcome {
  const { random } = run;
  const dev = random.pick([...run.present.keys()]);
  const { writer } = run.writer();
  const { least, most, bucketCount } = journalSize(writer.filesystem, dev);
  const count = least + random.below(Math.min(most, 2 * bucketCount + 10) - least + 1);
  run.note(`${dev} ${bucketCount} to ${count}`);
  for (const steps = resizeJournalSteps(writer, dev, count); ; ) {
    if (steps.next().done) return 'done';
  }
}

/** Cached copies, as a promotion makes them. */
function cache(run: Reshaping): Outcome {
  const { random } = run;
  const change = beginChange(run.writer().writer);
  const { tx } = change;
  let count = 0;
  for (const btree of ['extents', 'reflink'] as const) {
    for (const key of [...tx.btree(btree).keys()]) {
      if (random.below(4) !== 0) continue;
      const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
      const source = pointers.at(-1);
      if (source === undefined || source.cached || source.unwritten || tx.device(source.dev) === undefined) continue;
      const without = new Set(pointers.map(({ dev }) => dev));
      const to = change.allocator.allocateMoved({ sectors: source.compressedSize, target: 0, without });
      if (to === undefined) continue;
      const bytes = readBytes(
        tx.device(source.dev)!,
        sectorsToBytes(source.offset),
        sectorsToBytes(source.compressedSize),
      );
      tx.device(to.dev)!.write(sectorsToBytes(to.offset), bytes);
      const head = key.value.length - entryBytesOf(key).length;
      const entries: ExtentEntry[] = [...decodeExtentEntries(key.value.subarray(head))];
      const at = entries.findLastIndex(entry => entry.type === 'ptr');
      entries.splice(at + 1, 0, { ...to, cached: true });
      const encoded = encodeExtentEntries(entries as Parameters<typeof encodeExtentEntries>[0]);
      const value = new Uint8Array(head + encoded.length);
      value.set(key.value.subarray(0, head));
      value.set(encoded, head);
      tx.update(btree, makeKey(key.k.type, key.k.p, value, key.k));
      count++;
    }
  }
  run.note(`${count}`);
  change.commit();
  return count === 0 ? 'nothing' : 'done';
}

const WEIGHTED: readonly (readonly [string, Operation])[] = (
  [
    ['fill', 6, run => run.change(4 + run.random.below(25), SHARING_OPERATIONS)],
    ['delete', 2, run => run.change(10, ['remove', 'dropSubvolume'], true)],
    ['cache', 2, cache],
    ['add', 4, add],
    ['evacuate', 5, evacuate],
    ['remove', 4, remove],
    ['remove --force', 2, removeByForce],
    ['lose', 3, lose],
    ['come back', 2, comeBack],
    ['remove missing', 3, removeMissing],
    ['replace', 3, replace],
    ['replace missing', 5, replaceMissing],
    ['rereplicate', 3, rereplicate],
    ['set-state', 4, setState],
    ['all rw', 3, allWritable],
    ['grow', 3, grow],
    ['shrink', 3, shrink],
    ['resize-journal', 2, resizeJournal],
  ] as readonly (readonly [string, number, Operation])[]
).flatMap(([name, weight, operation]) => Array.from({ length: weight }, () => [name, operation] as const));
