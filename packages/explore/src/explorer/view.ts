// What the screen shows of a state: lines of text with colours, as wide and high as the terminal is, but for its last line, which is left free.

import { type Line, paneNames, type Span } from './messages.ts';
import { bodyRows, detailColumns, helpLines, levelOf, listColumns, rowAt, type State, wrapped } from './state.ts';

/** Where tabs do not fit, their numbers do. */
function tabs({ pane, columns }: State): Line {
  const isNarrow = columns < 66;
  return paneNames.map((name, nr): Span => {
    const text = isNarrow ? `${nr + 1}` : `${nr + 1} ${name}`;
    return nr === pane ? { text: `[${text}]`, color: 'cyan' } : { text: ` ${text} ` };
  });
}

export interface View {
  readonly header: readonly Line[];
  /** The list, or a text on the whole screen. */
  readonly left: readonly Line[];
  readonly leftColumns: number;
  readonly right: readonly Line[];
  readonly rightColumns: number;
  readonly footer: readonly Line[];
}

export function viewOf(state: State): View {
  const { mode, detail, columns } = state;
  const level = levelOf(state);
  const height = bodyRows(state);
  const counted =
    level === undefined ? '' : `  ${Math.min(level.cursor + 1, level.count)}/${level.count}${level.isWhole ? '' : '+'}`;
  const header: Line[] = [tabs(state), [{ text: `${level?.title ?? ''}${counted}`, color: 'yellow' }]];
  if (mode.kind === 'help' || mode.kind === 'text') {
    const lines = mode.kind === 'help' ? helpLines.map(text => [{ text }]) : wrapped(detail, columns);
    const left = lines.slice(mode.top, mode.top + height);
    return { header, left, leftColumns: columns, right: [], rightColumns: 0, footer: footerOf(state) };
  }
  const right = wrapped(detail, detailColumns(state)).slice(0, height);
  return {
    header,
    left: listLines(state),
    leftColumns: listColumns(state),
    right,
    rightColumns: detailColumns(state),
    footer: footerOf(state),
  };
}

function listLines(state: State): readonly Line[] {
  const level = levelOf(state);
  if (level === undefined) return [];
  if (level.count === 0) return [[{ text: level.isWhole ? '(nothing)' : 'reading …' }]];
  const shown = Math.min(bodyRows(state), level.count - level.top);
  return Array.from({ length: Math.max(0, shown) }, (_, at): Line => {
    const nr = level.top + at;
    const row = rowAt(level, nr);
    const mark = nr === level.cursor ? '> ' : '  ';
    const color = nr === level.cursor ? 'cyan' : row?.color;
    return [{ text: `${mark}${row?.text ?? '…'}`, ...(color === undefined ? {} : { color }) }];
  });
}

function footerOf({ mode, message }: State): readonly Line[] {
  const keys = 'hjkl move  Enter open  Tab pane  / search  o pager  c copy  ? help  q end';
  if (mode.kind === 'typing') {
    return [[{ text: `${mode.what === 'search' ? '/' : 'copy to: '}${mode.typed}_` }], [{ text: 'Enter, or Escape' }]];
  }
  return [[{ text: message, color: 'red' }], [{ text: mode.kind === 'list' ? keys : 'j k scroll  q back' }]];
}
