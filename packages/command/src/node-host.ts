// The real process: the only file of the project that uses its streams, signals and exit. They are touched lazily, since
// `process.stdin` and its like take milliseconds to come to life, and output is written synchronously to the file descriptors, so that
// ending the process cuts nothing off.

import { fstatSync, readSync, writeSync } from 'node:fs';
import type { Interface } from 'node:readline';
import { DeviceError } from '@bcachefs-ts/core/engine';
import { rawWords } from './host/raw-words.ts';
import { type Completer, type Host, type Input, PipeClosed, type Sink, type StopSignal } from './host.ts';
import type { Program, SingleCommandProgram } from './program.ts';
import { runProgram } from './run.ts';

/** Runs the process's command line and ends the process. */
export async function main(program: Program | SingleCommandProgram): Promise<void> {
  const exitCode = await runProgram(program, rawWords(process.argv.slice(2)), nodeHost());
  process.exit(exitCode);
}

function nodeHost(): Host {
  return {
    env: process.env,
    stdin: new NodeInput(),
    stdout: new FdSink(1),
    stderr: new FdSink(2),
    now: () => performance.now(),
    date: () => new Date(),
    onSignal(handle) {
      const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const satisfies StopSignal[];
      for (const signal of signals) process.on(signal, handle);
      return () => {
        for (const signal of signals) process.off(signal, handle);
      };
    },
    exit: code => process.exit(code),
  };
}

class FdSink implements Sink {
  readonly isTerminal: boolean;
  readonly #fd: 1 | 2;

  constructor(fd: 1 | 2) {
    this.#fd = fd;
    // Asking a pipe, a file or /dev/null this way spares the 4 ms that loading Node's terminal module takes.
    this.isTerminal = mayBeTerminal(fd) && this.#stream.isTTY === true;
  }

  get #stream(): NodeJS.WriteStream {
    return this.#fd === 1 ? process.stdout : process.stderr;
  }

  get columns(): number {
    if (!this.isTerminal) return 80;
    return this.#stream.columns || 80;
  }

  #writeError(code: unknown, cause: unknown): DeviceError {
    const name = this.#fd === 1 ? 'standard output' : 'standard error';
    return code === 'ENOSPC'
      ? new DeviceError('full', name, 'no space left', { cause })
      : new DeviceError('io', name, `cannot be written to (${String(code)})`, { cause });
  }

  write(text: string): void {
    this.writeBytes(new TextEncoder().encode(text));
  }

  writeBytes(bytes: Uint8Array): void {
    let written = 0;
    while (written < bytes.length) {
      try {
        written += writeSync(this.#fd, bytes, written);
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : undefined;
        // A pipe that another process made non-blocking and that is full for now.
        if (code === 'EAGAIN') waitMs(2);
        // EOF is what Windows says.
        else if (code === 'EPIPE' || code === 'EOF') throw new PipeClosed('the reader has gone', { cause: error });
        else throw this.#writeError(code, error);
      }
    }
  }
}

/** On Linux, /dev/null and its like have this major number. */
const MEMORY_MAJOR = 1;

function mayBeTerminal(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isCharacterDevice() && !(process.platform === 'linux' && stat.rdev >> 8 === MEMORY_MAJOR);
  } catch {
    return false; // The descriptor was closed before we started; writing to it will say so.
  }
}

function waitMs(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Far more than a passphrase; what is longer is something else. */
const LINE_BYTES_MAX = 65_536;

/** @returns false at the end of standard input */
function readByte(byte: Uint8Array): boolean {
  for (;;) {
    try {
      return readSync(0, byte) === 1;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      // A pipe that another process made non-blocking and that is empty for now.
      if (code === 'EAGAIN') waitMs(2);
      // EOF is what Windows says; EBADF: it was closed before we started.
      else if (code === 'EOF' || code === 'EBADF') return false;
      else throw new DeviceError('io', 'standard input', `cannot be read (${String(code)})`, { cause: error });
    }
  }
}

class NodeInput implements Input {
  get isTerminal(): boolean {
    return process.stdin.isTTY === true;
  }

  setRaw(raw: boolean): void {
    if (process.stdin.isTTY) process.stdin.setRawMode(raw);
  }

  read(): Promise<string | undefined> {
    const { stdin } = process;
    return new Promise((resolve, reject) => {
      const finish = (text: string | undefined) => {
        stdin.off('data', onData).off('end', onEnd).off('error', onError);
        stdin.pause();
        resolve(text);
      };
      const onData = (piece: Uint8Array | string) => finish(piece.toString());
      const onEnd = () => finish(undefined);
      const onError = (error: Error) => reject(error);
      stdin.setEncoding('utf8');
      stdin.on('data', onData).on('end', onEnd).on('error', onError);
      stdin.resume();
    });
  }

  /** Byte by byte, so that the next line is left for its reader: ourselves, or another program of the script. */
  readLine(): Uint8Array | undefined {
    const line: number[] = [];
    const byte = new Uint8Array(1);
    for (;;) {
      if (!readByte(byte)) return line.length === 0 ? undefined : new Uint8Array(line);
      if (byte[0] === 0x0a) return new Uint8Array(line);
      if (line.length === LINE_BYTES_MAX) {
        throw new DeviceError('io', 'standard input', `a line of more than ${LINE_BYTES_MAX} bytes`);
      }
      line.push(byte[0]!);
    }
  }

  /** Ctrl-C gives up the line that is being typed; on an empty one it ends the lines, as Ctrl-D does. */
  async *typedLines(question: string, complete: Completer): AsyncGenerator<string> {
    const { createInterface } = await import('node:readline');
    const lines: Interface = createInterface({
      input: process.stdin,
      output: process.stderr,
      terminal: true,
      prompt: question,
      historySize: 1000,
      removeHistoryDuplicates: true,
      completer: (line: string): [string[], string] => [
        [...complete(line)],
        line.slice(line.search(/(?:\\.|[^\s\\])*$/)),
      ],
    });
    lines.on('SIGINT', () => {
      if (lines.line === '') lines.close();
      else {
        process.stderr.write('\n');
        lines.write(null, { ctrl: true, name: 'u' });
        lines.prompt();
      }
    });
    try {
      lines.prompt();
      for await (const line of lines) {
        yield line;
        lines.prompt();
      }
      process.stderr.write('\n');
    } finally {
      lines.close();
    }
  }

  async readAll(): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of process.stdin) pieces.push(piece);
    const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}
