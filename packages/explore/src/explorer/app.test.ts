import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { type Key, render } from 'ink';
import { createElement } from 'react';
import { expect, test } from 'vitest';
import { App, type AppProps, keyNames } from './app.ts';
import type { Answer } from './messages.ts';

/** A terminal of 80 columns and 24 lines that keeps what is written last. */
class FakeTerminal extends EventEmitter {
  readonly columns = 80;
  readonly rows = 24;
  readonly isTTY = true;
  frame = '';
  write(text: string): boolean {
    this.frame = text;
    return true;
  }
}

test('a frame has the tabs, the list, what its row is, and the keys', async () => {
  const stdout = new FakeTerminal();
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {}, ref: () => {}, unref: () => {} });
  let take: ((answer: Answer) => void) | undefined;
  const props: AppProps = {
    from: undefined,
    ask(request) {
      const { id } = request;
      const rows = [{ text: 'one' }, { text: 'two' }];
      if (request.kind === 'rows')
        setImmediate(() => take!({ id, kind: 'rows', from: 0, rows, count: 2, isWhole: true }));
      if (request.kind === 'detail')
        setImmediate(() => take!({ id, kind: 'detail', lines: [[{ text: `about ${request.row}` }]] }));
    },
    listen(listener) {
      take = listener;
      return () => {};
    },
    leave: () => {},
  };
  const instance = render(createElement(App, props), {
    stdout: stdout as unknown as NodeJS.WriteStream,
    stdin: stdin as unknown as NodeJS.ReadStream,
    debug: true,
    exitOnCtrlC: false,
    patchConsole: false,
  });
  await expect.poll(() => stdout.frame, { timeout: 20_000 }).toContain('about 0');
  stdin.write('j');
  await expect.poll(() => stdout.frame, { timeout: 20_000 }).toContain('about 1');
  const lines = stdout.frame.split('\n').map(line => line.trimEnd());
  instance.unmount();
  expect(lines).toHaveLength(23);
  expect(lines[0]).toBe('[1 files] 2 subvolumes  3 btrees  4 buckets  5 journal  6 superblock');
  expect(lines[2]).toMatch(/^ {2}one +about 1$/);
  expect(lines[3]).toBe('> two');
  expect(lines[22]).toContain('q end');
});

test('keys that come at once are keys one by one; control characters of a paste are none', () => {
  expect(keyNames('jj\rG', {} as Key)).toEqual(['j', 'j', 'enter', 'G']);
  expect(keyNames('a\u001b[31m', {} as Key)).toEqual(['a', '[', '3', '1', 'm']);
  expect(keyNames('c', { ctrl: true } as Key)).toEqual(['ctrl-c']);
});
