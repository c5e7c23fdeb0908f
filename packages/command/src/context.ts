// What a command can ask of the world while it runs, besides core.

import type { ByteSink } from './host.ts';
import type { Progress } from './progress.ts';
import type { Prompt } from './prompt.ts';
import type { Interruption } from './steps.ts';

export interface Context {
  /** The command's words: `format`, `device add`. */
  readonly command: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For results whose text and JSON need different work; the runner does the printing. */
  readonly json: boolean;
  readonly quiet: boolean;
  readonly progress: Progress;
  readonly prompt: Prompt;
  /** Wall-clock time: commands never read it elsewhere, so that tests can fix it. */
  date(): Date;
  /** One line on stderr at once, that --quiet leaves out; a JSON line with --json. */
  warn(message: string): void;
  /**
   * Standard output for commands whose result is bytes: the contents of a file, an archive. Nothing else may be printed there then: such a
   * command has no text, and refuses --json.
   */
  readonly bytes: ByteSink;
  /** All of standard input. */
  readStdin(): Promise<Uint8Array>;
  /**
   * Runs `cleanup` if the process is asked to stop (Ctrl-C, SIGTERM, SIGHUP) before the returned function is called.
   * While any is registered, the process stops only between turns of the event loop: long synchronous work is finished.
   */
  onInterrupt(cleanup: () => void): () => void;
  /** For work that stops between two of its steps: the first signal asks for that, and the next one ends the process. */
  untilInterrupt(): Interruption;
}
