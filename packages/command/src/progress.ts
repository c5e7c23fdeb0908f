// Progress on stderr: a line that is redrawn on a terminal, or JSON events one a line, or nothing. A task that takes less
// than a second never shows on a terminal.

import { printable } from '@bcachefs-ts/core/engine';
import type { Sink } from './host.ts';
import { jsonLine } from './json.ts';

const QUIET_MS = 1000;
const REDRAW_MS = 100;
const EVENT_MS = 1000;
const CLEAR_LINE = '\r\u001b[K';

export type ProgressMode = 'terminal' | 'json' | 'none';

export interface TaskSpec {
  /** What is being done: `scanning disk.img`. */
  readonly what: string;
  /** How many units there are, where that is known. */
  readonly total?: number;
  /** `bytes` are shown as KiB, MiB, …; anything else by its name: `keys`. */
  readonly unit: string;
}

export interface Task {
  /** So many units more are done. */
  advance(units: number): void;
  /** So many units are done altogether. */
  at(units: number): void;
  end(): void;
}

export class Progress {
  readonly #sink: Sink;
  readonly #mode: ProgressMode;
  readonly #now: () => number;
  #current: RunningTask | undefined;
  #drawn = false;

  constructor(sink: Sink, mode: ProgressMode, now: () => number) {
    this.#sink = sink;
    this.#mode = mode;
    this.#now = now;
  }

  /** Starts the one task that is shown; it takes the place of an earlier one. */
  start(spec: TaskSpec): Task {
    this.end();
    const task = new RunningTask(spec, this.#now(), this.#mode === 'terminal' ? QUIET_MS : EVENT_MS);
    this.#current = task;
    if (this.#mode === 'json') this.#writeEvent(task, 'start');
    const show = () => this.#show(task);
    return {
      advance: units => {
        task.done += units;
        show();
      },
      at: units => {
        task.done = units;
        show();
      },
      end: () => {
        if (this.#current === task) this.end();
      },
    };
  }

  /** Ends the running task, if there is one. */
  end(): void {
    const task = this.#current;
    this.#current = undefined;
    this.clear();
    if (task !== undefined && this.#mode === 'json') this.#writeEvent(task, 'end');
  }

  /** Takes the line off the terminal, before something else is written there. */
  clear(): void {
    if (this.#drawn) this.#sink.write(CLEAR_LINE);
    this.#drawn = false;
  }

  #show(task: RunningTask): void {
    if (this.#mode === 'none' || task !== this.#current) return;
    const now = this.#now();
    if (now < task.nextShowMs) return;
    if (this.#mode === 'json') {
      task.nextShowMs = now + EVENT_MS;
      this.#writeEvent(task, 'progress');
      return;
    }
    task.nextShowMs = now + REDRAW_MS;
    const line = progressText(task.spec, task.done, now - task.startedMs);
    this.#sink.write(CLEAR_LINE + line.slice(0, Math.max(1, this.#sink.columns - 1)));
    this.#drawn = true;
  }

  #writeEvent(task: RunningTask, event: 'start' | 'progress' | 'end'): void {
    const { what, total, unit } = task.spec;
    const elapsedMs = Math.round(this.#now() - task.startedMs);
    this.#sink.write(jsonLine({ event, what, done: task.done, total: total ?? null, unit, elapsed_ms: elapsedMs }));
  }
}

class RunningTask {
  readonly spec: TaskSpec;
  readonly startedMs: number;
  nextShowMs: number;
  done = 0;

  constructor(spec: TaskSpec, startedMs: number, delayMs: number) {
    this.spec = spec;
    this.startedMs = startedMs;
    this.nextShowMs = startedMs + delayMs;
  }
}

/** `scanning disk.img: 45%, 1.2 GiB of 2.6 GiB, 120 MiB/s, 12 s left` */
export function progressText(spec: TaskSpec, done: number, elapsedMs: number): string {
  const amount = (units: number) => (spec.unit === 'bytes' ? bytesText(units) : `${Math.round(units)} ${spec.unit}`);
  const perSecond = elapsedMs > 0 ? (done * 1000) / elapsedMs : 0;
  const parts: string[] = [];
  if (spec.total === undefined) parts.push(amount(done));
  else {
    const percent = spec.total > 0 ? Math.floor((Math.min(done, spec.total) * 100) / spec.total) : 100;
    const total = amount(spec.total);
    parts.push(`${percent}%`, spec.unit === 'bytes' ? `${bytesText(done)} of ${total}` : `${done} of ${total}`);
  }
  if (perSecond > 0) parts.push(`${amount(perSecond)}/s`);
  if (perSecond > 0 && spec.total !== undefined && done < spec.total) {
    parts.push(`${durationText((spec.total - done) / perSecond)} left`);
  }
  return `${printable(spec.what)}: ${parts.join(', ')}`;
}

/** `1.2 GiB`: powers of 1024, rounded. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : Number(value.toPrecision(value >= 10 ? 3 : 2))} ${units[unit]}`;
}

/** `12 s`, `3 min 5 s`, `2 h 10 min` */
export function durationText(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
