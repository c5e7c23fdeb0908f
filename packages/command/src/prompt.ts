// Questions to the person at the terminal. Without a terminal nothing is asked: the error names the option that answers. Passphrases
// alone may also come as a line of standard input that is not a terminal.

import { printable, UsageError } from '@bcachefs-ts/core/engine';
import { type Completer, type Input, Interrupted, type Sink } from './host.ts';

export interface Unattended {
  /** The option that answers the question when there is no terminal: `--force`. */
  readonly flag: string;
}

export class Prompt {
  readonly #input: Input;
  readonly #screen: Sink;
  readonly #onInterrupt: (cleanup: () => void) => () => void;
  #inputHolds: string | undefined;
  /** Keys that arrived together with an earlier answer. */
  #typedAhead: string[] = [];

  constructor(input: Input, screen: Sink, onInterrupt: (cleanup: () => void) => () => void) {
    this.#input = input;
    this.#screen = screen;
    this.#onInterrupt = onInterrupt;
  }

  /** Whether there is somebody to ask. */
  get isAttended(): boolean {
    return this.#input.isTerminal && this.#screen.isTerminal;
  }

  /**
   * A question to be answered with yes; anything else is no.
   * @param shown lines that the question is about, printed above it
   * @throws UsageError naming `flag` without a terminal
   */
  async confirm(question: string, unattended: Unattended, shown = ''): Promise<boolean> {
    this.#requireTerminal(question, unattended);
    for (const line of shown.trimEnd().split('\n')) if (shown !== '') this.#screen.write(`${printable(line)}\n`);
    for (;;) {
      this.#screen.write(`${printable(question)} [y/N] `);
      const answer = (await this.#input.read())?.trim().toLowerCase();
      if (answer === undefined) this.#screen.write('\n');
      if (answer === 'y' || answer === 'yes') return true;
      if (answer === undefined || answer === '' || answer === 'n' || answer === 'no') return false;
      this.#screen.write("Please answer 'y' or 'n'.\n");
    }
  }

  /**
   * A question to be answered with one of several letters, whose case counts.
   * @returns undefined at the end of input
   * @throws UsageError naming `flag` without a terminal
   */
  async choose<const L extends string>(
    question: string,
    letters: readonly L[],
    unattended: Unattended,
  ): Promise<L | undefined> {
    this.#requireTerminal(question, unattended);
    for (;;) {
      this.#screen.write(`${printable(question)} [${letters.join('/')}] `);
      const typed = await this.#input.read();
      if (typed === undefined) {
        this.#screen.write('\n');
        return undefined;
      }
      const answer = letters.find(letter => letter === typed.trim());
      if (answer !== undefined) return answer;
      this.#screen.write(`Please answer with one of ${letters.join(', ')}.\n`);
    }
  }

  /** Commands of the person at the terminal, a line each, up to Ctrl-D: with a history, and the tab key for the last word. */
  typedLines(question: string, complete: Completer): AsyncIterable<string> {
    this.#requireTerminal(question, { flag: 'commands on standard input' });
    return this.#input.typedLines(question, complete);
  }

  /** Lines for the person at the terminal. */
  say(...lines: readonly string[]): void {
    for (const line of lines) this.#screen.write(`${printable(line)}\n`);
  }

  /** Standard input is something that the command reads: no answer is expected there. @param holds such as `the archive` */
  claimInput(holds: string): void {
    this.#inputHolds = holds;
  }

  /** Whether lines can be read from a pipe or file on standard input. */
  get isPiped(): boolean {
    return !this.#input.isTerminal && this.#inputHolds === undefined;
  }

  /**
   * The next line of standard input, which may be a terminal only when somebody asked for that; undefined at the end.
   * @throws UsageError naming `flag` when it holds something else
   */
  async line({ flag }: Unattended): Promise<Uint8Array | undefined> {
    this.#refuseHeldInput(flag);
    if (!this.#input.isTerminal) return this.#input.readLine();
    const typed = await this.passphrase('Passphrase', { flag });
    return new TextEncoder().encode(typed);
  }

  /**
   * A passphrase, typed unseen.
   * @throws UsageError naming `flag` without a terminal; Interrupted at Ctrl-C, with the terminal as it was
   */
  async passphrase(question: string, unattended: Unattended): Promise<string> {
    this.#requireTerminal(question, unattended);
    // First unseen, then the question: an answer that is typed at once must not be echoed.
    this.#input.setRaw(true);
    const restore = () => this.#input.setRaw(false);
    const release = this.#onInterrupt(restore);
    try {
      this.#screen.write(`${printable(question)}: `);
      return await this.#readHidden();
    } finally {
      release();
      restore();
      this.#screen.write('\n');
    }
  }

  /** A new passphrase, asked for twice until both agree. */
  async newPassphrase(question: string, unattended: Unattended): Promise<string> {
    for (;;) {
      const first = await this.passphrase(question, unattended);
      if (first === '') {
        this.#screen.write('An empty passphrase protects nothing.\n');
        continue;
      }
      if ((await this.passphrase(`${question} (again)`, unattended)) === first) return first;
      this.#screen.write('The two were different.\n');
    }
  }

  #refuseHeldInput(flag: string): void {
    if (this.#inputHolds === undefined) return;
    throw new UsageError(`standard input holds ${this.#inputHolds}, and no answer; give ${flag} instead`);
  }

  #requireTerminal(question: string, { flag }: Unattended): void {
    if (this.isAttended) return;
    this.#refuseHeldInput(flag);
    throw new UsageError(`cannot ask '${question}' without a terminal; give ${flag} instead`);
  }

  async #readHidden(): Promise<string> {
    let typed: string[] = [];
    for (;;) {
      if (this.#typedAhead.length === 0) {
        const piece = await this.#input.read();
        if (piece === undefined) throw new Interrupted('end of input');
        this.#typedAhead = [...piece];
      }
      for (let key = this.#typedAhead.shift(); key !== undefined; key = this.#typedAhead.shift()) {
        switch (key) {
          case '\r':
          case '\n':
            return typed.join('');
          case '\u0003': // Ctrl-C: a raw terminal sends no signal.
            throw new Interrupted('Ctrl-C');
          case '\u0004': // Ctrl-D
            if (typed.length === 0) throw new Interrupted('Ctrl-D');
            return typed.join('');
          case '\u007f': // Backspace
          case '\b':
            typed.pop();
            break;
          case '\u0015': // Ctrl-U: start again.
            typed = [];
            break;
          default:
            if (key >= ' ') typed.push(key);
        }
      }
    }
  }
}
