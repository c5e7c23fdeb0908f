// The screen, by ink: draws what view.ts says, and hands keys and answers to state.ts.

import { Box, type Key, Text, useInput, useStdout } from 'ink';
import { createElement, type ReactElement, useEffect, useRef, useState } from 'react';
import type { Answer, Line, Request } from './messages.ts';
import { firstState, type ScreenEvent, type State, step } from './state.ts';
import { viewOf } from './view.ts';

export interface AppProps {
  /** The state that an earlier screen has left behind; undefined for the first. */
  readonly from: State | undefined;
  ask(request: Request): void;
  /** Calls `take` with each answer from now on. @returns ends that */
  listen(take: (answer: Answer) => void): () => void;
  /** The screen is to be given up: the state is over, or has something for a pager. */
  leave(state: State): void;
}

export function App({ from, ask, listen, leave }: AppProps): ReactElement {
  const { stdout } = useStdout();
  const current = useRef<State>(from ?? firstState(stdout.columns || 80, stdout.rows || 24));
  const [state, setState] = useState(current.current);
  const handle = (event: ScreenEvent) => {
    const { state: next, requests } = step(current.current, event);
    current.current = next;
    setState(next);
    for (const request of requests) ask(request);
    if (next.isOver || next.paged !== undefined) leave(next);
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the screen appears; `handle` goes by the current state.
  useEffect(() => {
    const resized = () => handle({ kind: 'size', columns: stdout.columns || 80, rows: stdout.rows || 24 });
    stdout.on('resize', resized);
    const end = listen(answer => handle({ kind: 'answer', answer }));
    handle({ kind: from === undefined ? 'start' : 'pagerEnded' });
    return () => {
      stdout.off('resize', resized);
      end();
    };
  }, []);
  useInput((input, key) => {
    for (const name of keyNames(input, key)) handle({ kind: 'key', key: name });
  });
  const { header, left, leftColumns, right, rightColumns, footer } = viewOf(state);
  return createElement(
    Box,
    { flexDirection: 'column', width: state.columns, height: Math.max(1, state.rows - 1) },
    ...lines(header, 'header'),
    createElement(
      Box,
      { flexGrow: 1, overflow: 'hidden' },
      createElement(Box, { flexDirection: 'column', width: leftColumns, flexShrink: 0 }, ...lines(left, 'left')),
      createElement(Box, { flexDirection: 'column', width: rightColumns, marginLeft: 1 }, ...lines(right, 'right')),
    ),
    ...lines(footer, 'footer'),
  );
}

/** @param part of the screen: React tells lines apart by it and their numbers */
const lines = (all: readonly Line[], part: string): ReactElement[] =>
  all.map((line, nr) =>
    createElement(
      Text,
      { key: `${part}${nr}`, wrap: 'truncate' },
      // A line without anything would have no height.
      line.every(({ text }) => text === '') ? ' ' : '',
      ...line.map(({ text, color, background }) =>
        createElement(
          Text,
          {
            ...(color === undefined ? {} : { color }),
            ...(background === undefined ? {} : { backgroundColor: background }),
          },
          text,
        ),
      ),
    ),
  );

/** Several characters come at once from a paste, or from keys that were faster than the program. */
export function keyNames(input: string, key: Key): readonly string[] {
  if (key.ctrl) return input === 'c' ? ['ctrl-c'] : input === 'f' ? ['pagedown'] : input === 'b' ? ['pageup'] : [];
  if (key.upArrow) return ['up'];
  if (key.downArrow) return ['down'];
  if (key.leftArrow) return ['left'];
  if (key.rightArrow) return ['right'];
  if (key.return) return ['enter'];
  if (key.escape) return ['escape'];
  if (key.backspace || key.delete) return ['backspace'];
  if (key.tab) return [key.shift ? 'backtab' : 'tab'];
  if (key.pageUp) return ['pageup'];
  if (key.pageDown) return ['pagedown'];
  return Array.from(input, char => (char === '\r' || char === '\n' ? 'enter' : char)).filter(
    char => char >= ' ' || char === 'enter',
  );
}
