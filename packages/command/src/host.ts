// What a command runs on: the streams, the environment, the clock, the signals. `node-host.ts` is the real process,
// `testing.ts` collects in memory; nothing else in the project touches `process`.

export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Input;
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Milliseconds from a fixed point, never going back. */
  now(): number;
  /** Wall-clock time, for what is written to disk. */
  date(): Date;
  /**
   * Calls `handle` instead of dying. A handler runs only between turns: synchronous work delays it.
   * @returns ends that: from then on a signal ends the process at once
   */
  onSignal(handle: (signal: StopSignal) => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** What takes bytes: see Sink. */
export type ByteSink = Pick<Sink, 'isTerminal' | 'writeBytes'>;

export interface Sink {
  readonly isTerminal: boolean;
  /** Width of the terminal; 80 where there is none. */
  readonly columns: number;
  /**
   * Returns when all of it is written.
   * @throws PipeClosed when the reader has gone
   */
  write(text: string): void;
  /** Bytes as they are. Returns when all of them are written; throws as `write` does. */
  writeBytes(bytes: Uint8Array): void;
}

export interface Input {
  readonly isTerminal: boolean;
  /** Raw: keys arrive one by one, unechoed. */
  setRaw(raw: boolean): void;
  /** The next piece of input (a line from a terminal, or keys when raw); undefined at the end. */
  read(): Promise<string | undefined>;
  /** The next line that is not from a terminal, without its end, and not a byte beyond it; undefined at the end. */
  readLine(): Uint8Array | undefined;
  /** Everything up to the end. */
  readAll(): Promise<Uint8Array>;
  /** Lines typed at a terminal, with a history, and completed by the tab key; they end with Ctrl-D. */
  typedLines(question: string, complete: Completer): AsyncIterable<string>;
}

/** What the last word of a line may become, in which a backslash keeps a blank. @returns whole words, as they are typed */
export type Completer = (line: string) => readonly string[];

/** The reader of a pipe went away (`| head`): not an error, the rest of the output is simply unwanted. */
export class PipeClosed extends Error {
  override readonly name = 'PipeClosed';
}

/** The user pressed Ctrl-C at a prompt. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}
