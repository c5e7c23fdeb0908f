// A filesystem being changed: an image, a transaction over it with all triggers, and the checker's view of what it would be.

import {
  beginTrial,
  type ChangeParts,
  checkInvariants,
  type Filesystem,
  type FilesystemState,
  findingText,
  openFilesystem,
  type ReplayState,
  SnapshotTable,
  type Superblock,
} from '@bcachefs-ts/core/engine';
import { fixture, fixtureNames } from './fixtures.ts';
import { sampleOf } from './long.ts';

export function openFixture(name: string): Filesystem {
  const { images, json } = fixture(name);
  const passphrase = json.passphrase === null ? {} : { passphrase: new TextEncoder().encode(json.passphrase) };
  return openFilesystem(images, passphrase);
}

/** They stand for the others where time is short: of each kind one. */
const FEW = ['basic', 'compress-zstd', 'encrypted', 'geom-bs512', 'multi3-r2', 'reflink', 'snapshots', 'unclean-busy'];

/** Undamaged filesystems of the version that is written, small enough to be checked many times. */
export function writableFixtures(): string[] {
  const all = fixtureNames().filter(name => {
    if (/^(dmg|sb)-|-noinit$|-enc$|-stale$|-orphan$/.test(name)) return false;
    const version = fixture(name).json.on_disk_version;
    return typeof version === 'string' && /^1\.13\b/.test(version);
  });
  return sampleOf(
    'filesystems that a kernel made',
    all.map(name => ({ name })),
    FEW,
  ).map(({ name }) => name);
}

export interface Change extends ChangeParts {
  readonly table: SnapshotTable;
  /** The number of the journal entry that would commit it. */
  readonly seq: number;
}

export function trialOf(filesystem: Filesystem): Change {
  const seq = filesystem.replay.lastSeq + 1;
  return { ...beginTrial(filesystem, seq), table: SnapshotTable.read(filesystem), seq };
}

/** What the checker sees of a transaction, as if it were on disk. */
export function sourceOf(filesystem: Filesystem, { tx, triggers, seq }: Change): FilesystemState {
  tx.settle();
  const sb: Superblock = triggers.needs.applyTo(filesystem.sb);
  const replay: ReplayState = { ...filesystem.replay, lastSeq: seq };
  return {
    sb,
    replay,
    set: filesystem.set,
    key: filesystem.key,
    btree: which => tx.btree(which),
    device: index => filesystem.device(index),
  };
}

export const findingsIn = (source: FilesystemState, ignored: readonly string[] = []): string[] =>
  checkInvariants(source)
    .findings.filter(({ error }) => !ignored.includes(error))
    .map(findingText);

/** What is wrong with a transaction, a line each. @param ignored names of rules that the change breaks on purpose */
export function findingsOf(filesystem: Filesystem, change: Change, ignored: readonly string[] = []): string[] {
  return findingsIn(sourceOf(filesystem, change), ignored);
}
