import { UsageError } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { type Input, Interrupted, type Sink } from './host.ts';
import { Prompt } from './prompt.ts';

/** A terminal on which `typed` arrives piece by piece; `events` holds what happens on it. */
function terminal(typed: readonly string[], isTerminal = true) {
  const events: string[] = [];
  const pieces = [...typed];
  const input: Input = {
    isTerminal,
    setRaw: raw => events.push(raw ? '<raw>' : '<cooked>'),
    read: async () => pieces.shift(),
    readLine: () => undefined,
    readAll: async () => new Uint8Array(),
    async *typedLines() {},
  };
  const screen: Sink = { isTerminal, columns: 80, writeBytes: () => {}, write: text => events.push(text) };
  const cleanups: (() => void)[] = [];
  const prompt = new Prompt(input, screen, cleanup => {
    cleanups.push(cleanup);
    return () => cleanups.splice(cleanups.indexOf(cleanup), 1);
  });
  return { prompt, events, cleanups };
}

const flag = { flag: '--force' };

describe('confirm', () => {
  test.each([
    [['y\n'], true],
    [['YES\n'], true],
    [['\n'], false],
    [['n\n'], false],
    [['what?\n', 'y\n'], true],
    [[], false],
  ])('%j is %s', async (typed, answer) => {
    expect(await terminal(typed).prompt.confirm('Overwrite disk.img?', flag)).toBe(answer);
  });

  test('without a terminal, the error names the option', async () => {
    await expect(terminal(['y\n'], false).prompt.confirm('Overwrite?', flag)).rejects.toThrow(
      new UsageError("cannot ask 'Overwrite?' without a terminal; give --force instead"),
    );
  });
});

describe('passphrase', () => {
  test('keys one by one, backspace, Ctrl-U, and the terminal as it was', async () => {
    const { prompt, events, cleanups } = terminal(['x\u0015', 'sex\u007f', 'cr', 'ét\r']);
    expect(await prompt.passphrase('Passphrase', flag)).toBe('secrét');
    expect(events).toEqual(['<raw>', 'Passphrase: ', '<cooked>', '\n']);
    expect(cleanups).toEqual([]);
  });

  test.each(['abc\u0003', '\u0004'])('%j interrupts and restores the terminal', async keys => {
    const { prompt, events } = terminal([keys]);
    await expect(prompt.passphrase('Passphrase', flag)).rejects.toThrow(Interrupted);
    expect(events).toEqual(['<raw>', 'Passphrase: ', '<cooked>', '\n']);
  });

  test('a signal from outside restores the terminal', async () => {
    const { prompt, events, cleanups } = terminal(['abc\r']);
    const answer = prompt.passphrase('Passphrase', flag);
    for (const cleanup of cleanups) cleanup();
    expect(events).toEqual(['<raw>', 'Passphrase: ', '<cooked>']);
    await answer;
  });

  test('a new one is asked for until two agree, and is not empty', async () => {
    const { prompt, events } = terminal(['\r', 'a\rb\r', 'c\r', 'c\r']);
    expect(await prompt.newPassphrase('Passphrase', flag)).toBe('c');
    expect(events.filter(event => !event.startsWith('<') && event !== '\n')).toEqual([
      'Passphrase: ',
      'An empty passphrase protects nothing.\n',
      'Passphrase: ',
      'Passphrase (again): ',
      'The two were different.\n',
      'Passphrase: ',
      'Passphrase (again): ',
    ]);
  });
});
