// The process of the explorer that has the terminal: see command.ts, which starts it and answers what it asks.

import { spawnSync } from 'node:child_process';
import { render } from 'ink';
import { createElement } from 'react';
import { App } from './app.ts';
import type { Answer, Request } from './messages.ts';
import type { State } from './state.ts';

const ENTER_SCREEN = '\u001b[?1049h\u001b[H';
const LEAVE_SCREEN = '\u001b[?1049l';

/** One screen, until it is given up. */
async function shown(from: State | undefined): Promise<State | undefined> {
  let last = from;
  process.stdout.write(ENTER_SCREEN);
  const instance = render(
    createElement(App, {
      from,
      ask: (request: Request) => process.send?.(request),
      listen(take: (answer: Answer) => void) {
        process.on('message', take);
        return () => process.off('message', take);
      },
      leave(state: State) {
        last = state;
        instance.unmount();
      },
    }),
    { exitOnCtrlC: false, patchConsole: false },
  );
  const gone = () => instance.unmount();
  process.once('disconnect', gone);
  await instance.waitUntilExit();
  process.off('disconnect', gone);
  process.stdout.write(LEAVE_SCREEN);
  return process.connected ? last : undefined;
}

/** $PAGER is a line for a shell, as git and man take it. */
function page(file: string): void {
  const pager = process.env.PAGER === undefined || process.env.PAGER === '' ? 'less' : process.env.PAGER;
  if (process.platform === 'win32') spawnSync('more', [file], { stdio: 'inherit' });
  else spawnSync('/bin/sh', ['-c', `${pager} "$1"`, 'sh', file], { stdio: 'inherit' });
}

let state: State | undefined;
for (;;) {
  state = await shown(state);
  if (state?.paged === undefined) break;
  page(state.paged);
  if (!process.connected) break;
}
if (process.connected) process.disconnect();
