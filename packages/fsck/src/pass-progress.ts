// How far a check is: a line on the terminal for each pass, and the lines `PASS DONE OF DEVICE` that fsck(8) reads from the descriptor that
// it gives with -C. It knows the five passes of e2fsck: here the btrees are the first, buckets the second, snapshots the third, files and
// names the fourth, and what is looked at once more the fifth.

import { fstatSync, writeSync } from 'node:fs';
import { CommandLineError, type Progress, type Task } from '@bcachefs-ts/command';
import { type PassName, passes } from '@bcachefs-ts/core/engine';
import type { Session } from './session.ts';

const order: ReadonlyMap<string, number> = new Map(passes.rows.map(({ name }, index) => [name, index]));
const FIRST_OF_FILES = 'check_inodes';

/** Where lines for fsck(8) go: undefined for 0, which is the terminal, and for numbers below it. @throws CommandLineError */
export function progressDescriptor(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d{1,9}$/.test(text)) throw new CommandLineError(`is '${text}', expected a file descriptor`, '-C');
  const fd = Number(text);
  if (fd <= 0) return undefined;
  try {
    fstatSync(fd);
  } catch (thrown) {
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EBADF')) throw thrown;
    throw new CommandLineError(`is ${fd}, which is not an open file descriptor`, '-C');
  }
  return fd;
}

export class PassProgress {
  readonly #session: Session;
  readonly #progress: Progress;
  #fd: number | undefined;
  #task: Task | undefined;
  #bytesBefore = 0;
  #isRecounted = false;

  constructor(session: Session, progress: Progress, fd: number | undefined) {
    this.#session = session;
    this.#progress = progress;
    this.#fd = fd;
    session.onRead = () => this.#task?.at(session.bytesRead - this.#bytesBefore);
  }

  /** A pass begins. */
  pass(name: PassName, round: number): void {
    const total = name === 'scan_for_btree_nodes' ? { total: this.#session.sizeBytes } : {};
    const again = round > 0 ? ` (round ${round + 1})` : '';
    this.#bytesBefore = this.#session.bytesRead;
    this.#task = this.#progress.start({ what: `${this.#session.names[0]}: ${name}${again}`, unit: 'bytes', ...total });
    const stage = this.#stage(name, round);
    this.#line(stage, (order.get(name) ?? 0) + 1, passes.rows.length);
  }

  end(): void {
    this.#task?.end();
    this.#task = undefined;
    this.#line(5, 1, 1);
  }

  #stage(name: PassName, round: number): number {
    if (round > 0) return 5;
    if (name === 'check_topology' || name === 'scan_for_btree_nodes') return 1;
    if (name === 'check_allocations') {
      const stage = this.#isRecounted ? 5 : 2;
      this.#isRecounted = true;
      return stage;
    }
    return order.get(name)! < order.get(FIRST_OF_FILES)! ? 3 : 4;
  }

  #line(stage: number, done: number, of: number): void {
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, `${stage} ${done} ${of} ${this.#session.names[0]}\n`);
    } catch (thrown) {
      // It is not read any more, and the repair goes on.
      if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EPIPE')) throw thrown;
      this.#fd = undefined;
    }
  }
}
