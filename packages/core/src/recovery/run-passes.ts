// Runs the passes of the table in order, over and over until a round repairs nothing: what one repair uncovers, the next round sees. Each
// pass reads what those before it have repaired: between passes the transaction is staged (ADR 17), so that the devices do not change
// before the commit of the whole run, and memory is that of one pass's repairs.

import { beginChange, beginLook, type Change, type ChangeParts } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { CorruptError } from '../ondisk/errors.ts';
import { type PassName, passes } from '../ondisk/passes.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Reporter } from '../report/reporter.ts';
import type { Pass, PassContext } from './pass.ts';
import { recoveryPasses } from './passes/index.ts';

/** Repairs uncover others, but not without end. */
const ROUNDS_MAX = 8;
/** Of a part: see ADR 17. */
const CHANGES_MAX = 20_000;

export interface PassesOptions {
  readonly reporter: Reporter;
  /** Which of them run; all when left out. */
  readonly isWanted?: (pass: PassName) => boolean;
  readonly onPass?: (pass: PassName, round: number) => void;
  readonly drop: PassContext['drop'];
  readonly lostData: ReadonlySet<BtreeName>;
  readonly unreadable: ReadonlySet<BtreeName>;
  /** Called when what is on disk contradicts a repair's consequences: the counters and lists are made anew afterwards. */
  readonly onDamage: (damage: CorruptError) => void;
}

/**
 * @yields after each pass
 * @returns how many rounds repaired something
 * @throws NoSpaceError, DeviceError, CorruptError as staging does: what was staged is to be dropped then
 */
export function* runPasses(writer: FilesystemWriter, options: PassesOptions): Generator<void, number, void> {
  const { reporter, isWanted } = options;
  const order = inOrder(pass => isWanted?.(pass) ?? true);
  let untouched: Change | undefined;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const before = reporter.repairCount;
    reporter.isRepeated ||= round > 0;
    for (const pass of order) {
      reporter.pass = pass.name;
      options.onPass?.(pass.name, round);
      const context = new RunningPass(writer, options, untouched);
      pass.run(context);
      untouched = context.finish();
      yield;
    }
    reporter.pass = undefined;
    if (reporter.repairCount === before || reporter.stopped !== undefined) return round;
  }
  return ROUNDS_MAX;
}

/** As the table of passes has them, but never before what a pass needs. */
function inOrder(isWanted: (pass: PassName) => boolean): readonly Pass[] {
  const order: Pass[] = [];
  const seen = new Set<PassName>();
  const add = (name: PassName) => {
    const pass = recoveryPasses[name];
    if (pass === null || seen.has(name)) return;
    seen.add(name);
    for (const need of pass.needs) add(need);
    if (isWanted(name)) order.push(pass);
  };
  for (const { name } of passes.rows) add(name);
  return order;
}

class RunningPass implements PassContext {
  readonly #writer: FilesystemWriter;
  readonly #options: PassesOptions;
  #change: Change;
  #keyVersion = 0n;
  /** Repairs before the pass: what it found and staged in parts is all of it. */
  readonly #repairsBefore: number;
  #sizeBefore: number;

  /** @param untouched what the pass before this one began, and had nothing to put into: beginning anew takes a look at all buckets */
  constructor(writer: FilesystemWriter, options: PassesOptions, untouched: Change | undefined) {
    this.#writer = writer;
    this.#options = options;
    this.#repairsBefore = options.reporter.repairCount;
    this.#change = untouched ?? this.#begin(undefined);
    this.#sizeBefore = this.#change.tx.size;
  }

  get state(): Filesystem {
    return this.#writer.filesystem;
  }

  get change(): Change {
    return this.#change;
  }

  get reporter(): Reporter {
    return this.#options.reporter;
  }

  get lostData(): ReadonlySet<BtreeName> {
    return this.#options.lostData;
  }

  get unreadable(): ReadonlySet<BtreeName> {
    return this.#options.unreadable;
  }

  drop(btree: number, key: Key, reason: string): void {
    this.#options.drop(btree, key, reason);
  }

  raiseKeyVersion(version: bigint): void {
    if (version > this.#keyVersion) this.#keyVersion = version;
  }

  checkpoint(): void {
    if (this.#change.tx.size < CHANGES_MAX || !this.#isChanged) return;
    this.#change.stage();
    this.#change = this.#begin(this.#change);
    this.#sizeBefore = this.#change.tx.size;
  }

  /** The pass is at its end. @returns its change, where nothing was put into it */
  finish(): Change | undefined {
    const { clocks } = this.state.replay;
    if (this.#keyVersion > clocks.keyVersion)
      this.#change.stage({ clocks: { ...clocks, keyVersion: this.#keyVersion } });
    else if (this.#isChanged) this.#change.stage();
    else if (this.reporter.repairCount === this.#repairsBefore && this.#change.tx.size === this.#sizeBefore)
      return this.#change;
    return undefined;
  }

  get #isChanged(): boolean {
    return this.reporter.repairCount > this.#repairsBefore && this.#change.tx.size > 0;
  }

  #begin(after: ChangeParts | undefined): Change {
    const { onDamage, reporter } = this.#options;
    if (reporter.stopped === 'unknown') return beginLook(this.#writer.filesystem);
    return beginChange(this.#writer, { after: after ?? 'staged', usesReserve: true, onDamage });
  }
}
