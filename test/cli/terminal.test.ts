// Signals and prompts of a real process, on a real terminal where script(1) can make one.

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from '../support/built.ts';
import { patient } from '../support/patience.ts';

const program = [
  process.execPath,
  '--conditions=@bcachefs-ts/source',
  '--import',
  join(root, 'node_modules/tsx/dist/loader.mjs'),
  join(root, 'test/cli/terminal-program.ts'),
];

/** Starts a process and talks to it. */
class Conversation {
  readonly child: ChildProcess;
  heard = '';
  readonly #ended: Promise<{ exitCode: number | null; signal: string | null }>;

  constructor(command: string, args: readonly string[]) {
    this.child = spawn(command, args, { stdio: 'pipe' });
    for (const stream of [this.child.stdout, this.child.stderr]) stream?.on('data', piece => (this.heard += piece));
    this.#ended = new Promise(resolve => this.child.on('close', (exitCode, signal) => resolve({ exitCode, signal })));
  }

  /** Waits until something has been said after what was waited for before. */
  async hear(words: string): Promise<void> {
    const deadline = Date.now() + patient(10_000);
    while (!this.heard.includes(words)) {
      if (Date.now() > deadline) throw new Error(`did not hear '${words}', but: ${this.heard}`);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
    this.heard = this.heard.slice(this.heard.indexOf(words) + words.length);
  }

  say(keys: string): void {
    this.child.stdin?.write(keys);
  }

  async end() {
    this.child.stdin?.end();
    return { ...(await this.#ended), heard: this.heard };
  }
}

describe('signals', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s cleans up, last registered first, and exits with %i', async (signal, exitCode) => {
    const talk = new Conversation(program[0]!, [...program.slice(1), 'wait']);
    await talk.hear('ready\n');
    talk.child.kill(signal);
    expect(await talk.end()).toEqual({
      exitCode,
      signal: null,
      heard: 'terminal-program wait: warning: last registered\nterminal-program wait: warning: first registered\n',
    });
  });

  test('with nothing to clean up the process dies of the signal', async () => {
    const talk = new Conversation(program[0]!, [...program.slice(1), 'wait', '--forgetful']);
    await talk.hear('ready\n');
    talk.child.kill('SIGINT');
    expect(await talk.end()).toEqual({ exitCode: null, signal: 'SIGINT', heard: '' });
  });
});

describe('a passphrase on a terminal', () => {
  /** script(1) gives the program a terminal; the shell then says how the terminal was left. */
  const onTerminal = (words: string) =>
    new Conversation('script', [
      '-qfec',
      `${program.join(' ')} ${words}; echo "exit $?"; stty -a | grep -o ' -\\?echo '`,
      '/dev/null',
    ]);

  test('is not echoed, is asked for twice, and the terminal echoes again afterwards', async () => {
    const talk = onTerminal('ask');
    await talk.hear('Passphrase: ');
    talk.say('s3cret\r');
    await talk.hear('Passphrase (again): ');
    talk.say('s3cret\r');
    await talk.hear('Sure? [y/N] ');
    talk.say('y\r');
    const { heard } = await talk.end();
    expect(heard.replaceAll('\r', '')).toBe('y\n{"passphrase":"s3cret","sure":true}\nexit 0\n echo \n');
  });

  test('Ctrl-C ends with 130 and restores the terminal', async () => {
    const talk = onTerminal('ask');
    await talk.hear('Passphrase: ');
    talk.say('s3c');
    talk.say('\u0003');
    const { heard } = await talk.end();
    expect(heard.replaceAll('\r', '')).toBe('\nterminal-program ask: interrupted\nexit 130\n echo \n');
  });
});
