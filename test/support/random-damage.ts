// Small filesystems in memory that are damaged at random and repaired as `fsck -y` does it, and how that ends. A seed makes the same damage
// and the same end again.

import {
  type BlockDevice,
  CorruptError,
  checkInvariants,
  correctedSizes,
  DamageTarget,
  DeviceError,
  damageRecipe,
  FileEdit,
  type Filesystem,
  FilesystemWriter,
  findMasterKey,
  IncompatibleError,
  type MemoryDevice,
  NoSpaceError,
  openMember,
  Reporter,
  recover,
  seededRandom,
  soundJournals,
  soundSections,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { writerOn } from './commits.ts';
import { openOn } from './cut-states.ts';
import { formattedImage, type MemoryImage, MIB, PASSPHRASE, testImage } from './memory-images.ts';
import { cpuMs } from './patience.ts';
import { smallTree } from './recovered.ts';

const NOW = 1_800_000_000n;
const text = new TextEncoder();

/** Files in btrees of two levels: its nodes are as small as they can be. */
function deepTree(): MemoryImage {
  const image = formattedImage({ sizeBytes: 16 * MIB, options: { btree_node_size: '8192' } });
  const { writer, options } = writerOn(image.devices, image.key, 1);
  const edit = new FileEdit(writer, options);
  for (let nr = 0; nr < 400; nr++) {
    const ref = edit.files.create(edit.files.root(), text.encode(`file ${nr}`), { mode: 0o100644 });
    edit.content.write(ref, 0, text.encode(`file ${nr} `.repeat(100)));
  }
  edit.commit();
  return image;
}

const makers = {
  small: (): MemoryImage => ({ devices: smallTree({ hasSubvolumes: true }), key: undefined }),
  deep: deepTree,
  basic: () => testImage('basic'),
  multi: () => testImage('multi'),
  encrypted: () => testImage('encrypted'),
  unclean: () => testImage('unclean'),
};

export type DamageBaseName = keyof typeof makers;
export const damageBases = Object.keys(makers) as DamageBaseName[];

const made = new Map<DamageBaseName, MemoryImage>();

/** What is damaged; it is never written to itself. */
export function damageBase(name: DamageBaseName): MemoryImage {
  const known = made.get(name) ?? makers[name]();
  made.set(name, known);
  return known;
}

/** A base with one to three hits anywhere. */
export interface Damaged {
  readonly devices: readonly MemoryDevice[];
  readonly key: Uint8Array | undefined;
  /** What was hit, and what could not be hit. */
  readonly hits: readonly string[];
}

export function randomlyDamaged(name: DamageBaseName, seed: number): Damaged {
  const { devices: from, key } = damageBase(name);
  const devices = from.map(device => device.clone());
  const target = new DamageTarget(devices, { key, random: seededRandom(`${name} ${seed}`), now: () => NOW });
  const hits: string[] = [];
  for (let nr = 0; nr < 1 + (seed % 3); nr++) {
    try {
      hits.push(damageRecipe('random').run(target));
    } catch (thrown) {
      // There is nothing of that kind, or the hits before it have left nothing that could be read.
      if (!isTyped(thrown)) throw thrown;
      hits.push(`not hit: ${thrown.message}`);
    }
  }
  return { devices, key, hits };
}

/** Errors that a command reports in a line. */
export const isTyped = (thrown: unknown): thrown is Error =>
  [CorruptError, IncompatibleError, NoSpaceError, UsageError, DeviceError].some(kind => thrown instanceof kind);

/**
 * Devices as a repair opens them. The key of an encrypted filesystem only says that it is one: as in a program, it has to come from the superblock.
 * @throws what a program reports in a line, see isTyped
 */
export function openedForRepair(devices: readonly BlockDevice[], key?: Uint8Array) {
  const sections = soundSections(devices.map(openMember));
  if (key !== undefined && findMasterKey(sections.set, text.encode(PASSPHRASE)) === undefined)
    throw new UsageError('wrong passphrase');
  const sound = soundJournals(sections, key);
  const { set, findings } = correctedSizes(sound.set, key);
  return { set, corrected: [...sound.findings, ...findings] };
}

/** `fsck -y` on devices. @returns the names and counts of what was found, and of what is left by every rule of the checker */
export function repair(devices: readonly BlockDevice[], key?: Uint8Array) {
  const reporter = new Reporter({ policy: { kind: 'yes' } });
  const { set, corrected } = openedForRepair(devices, key);
  // As a program does: nodes of a repair that was cut off may be live, and no other one may have their numbers.
  const random = seededRandom(`repair ${set.newest.sb.seq}`);
  const writer = new FilesystemWriter(set, { random, now: () => NOW, key, isRepair: true });
  const { seq, remaining } = recover(writer, { reporter, corrected });
  return {
    found: reporter.groups().map(({ error, found }) => `${error} ×${found}`),
    left: [...(seq === undefined ? remainingOn(devices, key) : remaining)].map(([error, nr]) => `${error} ×${nr}`),
    leftCount: reporter.leftCount,
    hasCommitted: seq !== undefined,
  };
}

/** Without a commit the repair has not looked itself. */
function remainingOn(devices: readonly BlockDevice[], key: Uint8Array | undefined): ReadonlyMap<string, number> {
  const filesystem: Filesystem = openOn(devices, key);
  return checkInvariants(filesystem).counts;
}

/** `refused` says why in a line, and has changed nothing that counts. */
export type RepairOutcome = 'repaired' | 'refused' | 'left' | 'untyped' | 'slow';

export interface RepairEnd {
  readonly how: RepairOutcome;
  /** A line for a person. */
  readonly text: string;
  /** What was found, what is left, or the message of the refusal. */
  readonly detail: string;
  readonly cpuMs: number;
}

/** Nothing may keep a processor for longer. */
const CPU_MS_MAX = 60_000;
/** Only superblocks stop a repair that cannot be written, or read. */
const SUPERBLOCKS = /superblocks (of|at) /;

/** What was refused has changed nothing that counts: it is refused for the same reason again. */
function isStillRefused({ devices, key }: Damaged, { message }: Error): boolean {
  try {
    repair(devices, key);
    return false;
  } catch (thrown) {
    return thrown instanceof Error && thrown.message === message;
  }
}

/** Repairs, checks and repairs again. The devices are those of `damaged`. */
export function repairEnd(name: DamageBaseName, seed: number, damaged: Damaged): RepairEnd {
  const { devices, key, hits } = damaged;
  const start = cpuMs();
  const end = (how: RepairOutcome, detail: string): RepairEnd => {
    const text = `${name} ${seed}: ${how}: ${detail} | ${hits.join(' | ')}`;
    return { how, detail, cpuMs: cpuMs() - start, text: text.slice(0, 1500) };
  };
  try {
    const first = repair(devices, key);
    const again = repair(devices, key);
    const took = cpuMs() - start;
    if (took > CPU_MS_MAX) return end('slow', `${took} ms of processor time`);
    const left = [...first.left, ...again.found.map(one => `again ${one}`), ...again.left.map(one => `still ${one}`)];
    if (left.length > 0) return end('left', left.join(', '));
    return first.leftCount > 0
      ? end('left', `${first.leftCount} without a repair`)
      : end('repaired', first.found.join(', '));
  } catch (thrown) {
    if (!isTyped(thrown)) return end('untyped', thrown instanceof Error ? String(thrown.stack) : String(thrown));
    if (!isStillRefused(damaged, thrown)) return end('left', `refused after a part was written: ${thrown.message}`);
    return end(hits.some(hit => SUPERBLOCKS.test(hit)) ? 'refused' : 'left', thrown.message);
  }
}
