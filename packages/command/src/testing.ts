// Runs a command line in this process and collects what it prints: what golden tests and examples use.

import type { Command } from './command.ts';
import { type Host, type Input, PipeClosed, type Sink } from './host.ts';
import type { Program, SingleCommandProgram } from './program.ts';
import { runProgram } from './run.ts';

export interface RunOptions {
  /** What is typed or piped in. On a terminal it arrives line by line. */
  readonly stdin?: string | Uint8Array;
  /** The whole environment; empty when absent. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether all three streams are a terminal, or which ones are. */
  readonly isTerminal?: boolean | { readonly stdin?: boolean; readonly stdout?: boolean; readonly stderr?: boolean };
  readonly columns?: number;
  /** Milliseconds; a fixed clock at 0 when absent. */
  readonly now?: () => number;
  /** 2024-01-01 UTC when absent. */
  readonly date?: () => Date;
  /** Signals: nothing sends any when absent. */
  readonly onSignal?: Host['onSignal'];
  /** The reader of stdout goes away after so many characters, or bytes. */
  readonly closeAfterCharacters?: number;
}

export interface Collected {
  readonly exitCode: number;
  readonly stdout: string;
  /** What was written to stdout as bytes (files, archives), if anything was. It is not in `stdout`. */
  readonly stdoutBytes?: Uint8Array;
  readonly stderr: string;
}

/** @param program a program, or a single command, which then runs under its own name */
export async function runCli(
  program: Program | SingleCommandProgram | Command,
  words: readonly string[],
  options: RunOptions = {},
): Promise<Collected> {
  const terminal = (name: 'stdin' | 'stdout' | 'stderr') =>
    typeof options.isTerminal === 'object' ? (options.isTerminal[name] ?? false) : (options.isTerminal ?? false);
  const stdout = new Collector(terminal('stdout'), options.columns ?? 80, options.closeAfterCharacters);
  const stderr = new Collector(terminal('stderr'), options.columns ?? 80);
  const host: Host = {
    env: options.env ?? {},
    stdin: new TypedInput(terminal('stdin'), options.stdin ?? ''),
    stdout,
    stderr,
    now: options.now ?? (() => 0),
    date: options.date ?? (() => new Date(Date.UTC(2024, 0, 1))),
    onSignal: options.onSignal ?? (() => () => {}),
    exit: () => {},
  };
  const exitCode = await runProgram(asProgram(program), words, host);
  const bytes = stdout.bytes;
  const text = { exitCode, stdout: stdout.text, stderr: stderr.text };
  return bytes.length === 0 ? text : { ...text, stdoutBytes: bytes };
}

function asProgram(program: Program | SingleCommandProgram | Command): Program | SingleCommandProgram {
  if (!('perform' in program)) return program;
  return { name: program.name, version: '0.0.0', summary: program.summary, load: async () => program };
}

class Collector implements Sink {
  readonly isTerminal: boolean;
  readonly columns: number;
  readonly #limit: number;
  readonly #pieces: Uint8Array[] = [];
  #byteCount = 0;
  text = '';

  constructor(isTerminal: boolean, columns: number, limit = Infinity) {
    this.isTerminal = isTerminal;
    this.columns = columns;
    this.#limit = limit;
  }

  write(text: string): void {
    this.text += text;
    if (this.text.length > this.#limit) {
      this.text = this.text.slice(0, this.#limit);
      throw new PipeClosed('the reader has gone');
    }
  }

  writeBytes(bytes: Uint8Array): void {
    const room = this.#limit - this.#byteCount;
    const piece = bytes.slice(0, Math.min(bytes.length, room));
    this.#pieces.push(piece);
    this.#byteCount += piece.length;
    if (bytes.length > room) throw new PipeClosed('the reader has gone');
  }

  get bytes(): Uint8Array {
    const all = new Uint8Array(this.#byteCount);
    let at = 0;
    for (const piece of this.#pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
}

class TypedInput implements Input {
  readonly isTerminal: boolean;
  readonly #bytes: Uint8Array;
  readonly #lines: string[];
  #at = 0;

  constructor(isTerminal: boolean, typed: string | Uint8Array) {
    this.isTerminal = isTerminal;
    this.#bytes = typeof typed === 'string' ? new TextEncoder().encode(typed) : typed;
    this.#lines = new TextDecoder().decode(this.#bytes).match(/[^\n]*\n|[^\n]+$/g) ?? [];
  }

  setRaw(): void {}

  async read(): Promise<string | undefined> {
    return this.#lines.shift();
  }

  readLine(): Uint8Array | undefined {
    if (this.#at >= this.#bytes.length) return undefined;
    const end = this.#bytes.indexOf(0x0a, this.#at);
    const line = this.#bytes.subarray(this.#at, end < 0 ? undefined : end);
    this.#at = end < 0 ? this.#bytes.length : end + 1;
    return line;
  }

  async readAll(): Promise<Uint8Array> {
    return this.#bytes;
  }

  async *typedLines(): AsyncGenerator<string> {
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) yield line.replace(/\n$/, '');
  }
}
