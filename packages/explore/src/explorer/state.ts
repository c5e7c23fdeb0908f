// What the screen is like, and what a key or an answer makes of it: a value and a function, which know neither a terminal nor a filesystem.
//
// Each pane is a stack of lists: Enter opens what the row under the cursor leads to, and going back pops it. Of a list only a window of rows is
// there; moving out of it asks for another one, and what is not there yet is drawn as empty.

import { type Answer, type Line, type Place, paneNames, type Request, type Row } from './messages.ts';

export interface Level {
  readonly place: Place;
  readonly title: string;
  readonly cursor: number;
  /** The first row on the screen. */
  readonly top: number;
  /** The row that the window begins with. */
  readonly from: number;
  readonly rows: readonly Row[];
  readonly count: number;
  readonly isWhole: boolean;
  /** The newest request for rows: older answers are dropped. */
  readonly asked: number;
}

type Mode =
  | { readonly kind: 'list' }
  | { readonly kind: 'help'; readonly top: number }
  /** Details on the whole screen. */
  | { readonly kind: 'text'; readonly top: number }
  | { readonly kind: 'typing'; readonly what: 'search' | 'copy'; readonly typed: string };

export interface State {
  readonly columns: number;
  readonly rows: number;
  readonly pane: number;
  /** By pane; undefined for those that were not looked at yet. */
  readonly panes: readonly (readonly Level[] | undefined)[];
  readonly mode: Mode;
  readonly detail: readonly Line[];
  /** The newest request for details, for a search, and for something to be written. */
  readonly detailAsked: number;
  readonly searchAsked: number;
  /** The request of G, whose answer moves to the end of the list. */
  readonly endAsked: number;
  readonly taskAsked: number;
  readonly searched: string;
  readonly message: string;
  readonly nextId: number;
  /** A file of the host that a pager is to show. */
  readonly paged: string | undefined;
  readonly isOver: boolean;
}

export type ScreenEvent =
  | { readonly kind: 'start' }
  /** A character, or a name: up, down, left, right, enter, escape, backspace, tab, backtab, pageup, pagedown, home, end, ctrl-c. */
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'size'; readonly columns: number; readonly rows: number }
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'pagerEnded' };

export interface Step {
  readonly state: State;
  readonly requests: readonly Request[];
}

/** Requests without their numbers. */
type Wanted = Request extends infer R ? (R extends Request ? Omit<R, 'id'> : never) : never;

/** Rows around the screen that are asked for with it. */
const MARGIN = 200;
/** Tabs, title, message and keys. */
const FRAME_LINES = 4;

export const helpLines: readonly string[] = [
  'j k, arrows      one row down or up',
  'Ctrl-F Ctrl-B    a screen down or up, also Page Down and Page Up',
  'g G              the first and the last row, also Home and End',
  'Enter, l, right  open what the row leads to, or show it on the whole screen',
  'h, left, Escape  back',
  'Tab, 1 to 6      another pane: from files to superblock',
  '/                search in the list; n finds the next one',
  'o                show a file in $PAGER',
  'c                copy a file or directory to the host',
  '?                this help',
  'q, Ctrl-C        end',
  '',
  'Nothing is ever written to the filesystem.',
];

export function firstState(columns: number, rows: number): State {
  return {
    columns,
    rows,
    pane: 0,
    panes: paneNames.map(() => undefined),
    mode: { kind: 'list' },
    detail: [],
    detailAsked: 0,
    searchAsked: 0,
    endAsked: 0,
    taskAsked: 0,
    searched: '',
    message: '',
    nextId: 1,
    paged: undefined,
    isOver: false,
  };
}

/** Rows of a list, or lines of a text, that fit. */
export const bodyRows = ({ rows }: Pick<State, 'rows'>): number => Math.max(1, rows - 1 - FRAME_LINES);

/** Where there is room for it, a list shares the screen with details. */
export const listColumns = ({ columns }: Pick<State, 'columns'>): number =>
  columns < 60 ? columns : Math.floor(columns / 2);

/** Details beside a list, or on the whole screen. */
export const detailColumns = (state: State): number =>
  state.mode.kind === 'text' ? state.columns : Math.max(0, state.columns - listColumns(state) - 1);

export const levelOf = ({ pane, panes }: State): Level | undefined => panes[pane]?.at(-1);
export const rowAt = ({ from, rows }: Level, nr: number): Row | undefined => rows[nr - from];

/** The lines of details as they fit into a width. */
export function wrapped(lines: readonly Line[], columns: number): readonly Line[] {
  const width = Math.max(1, columns);
  return lines.flatMap(line => {
    // Pictures have the right width already.
    const [only] = line;
    if (line.length !== 1 || only === undefined || only.text.length <= width) return [line];
    const parts: Line[] = [];
    for (let at = 0; at < only.text.length; at += width)
      parts.push([{ ...only, text: only.text.slice(at, at + width) }]);
    return parts;
  });
}

export function step(state: State, event: ScreenEvent): Step {
  const draft = new Draft(state);
  switch (event.kind) {
    case 'start':
      draft.showPane(0);
      break;
    case 'size':
      draft.set({ columns: event.columns, rows: event.rows });
      draft.moveTo(levelOf(draft.state)?.cursor ?? 0);
      break;
    case 'answer':
      draft.take(event.answer);
      break;
    case 'pagerEnded':
      draft.set({ paged: undefined });
      break;
    case 'key':
      pressed(draft, event.key);
  }
  return { state: draft.state, requests: draft.requests };
}

function pressed(draft: Draft, key: string): void {
  const { mode, pane } = draft.state;
  if (key === 'ctrl-c') draft.set({ isOver: true });
  else if (mode.kind === 'typing') typed(draft, mode, key);
  else if (mode.kind !== 'list') scrolled(draft, mode, key);
  else {
    draft.set({ message: '' });
    const level = levelOf(draft.state);
    if (/^[1-6]$/.test(key)) draft.showPane(Number(key) - 1);
    else if (key === 'tab') draft.showPane((pane + 1) % paneNames.length);
    else if (key === 'backtab') draft.showPane((pane + paneNames.length - 1) % paneNames.length);
    else if (key === 'q') draft.set({ isOver: true });
    else if (key === '?') draft.set({ mode: { kind: 'help', top: 0 } });
    else if (level !== undefined) pressedInList(draft, level, key);
  }
}

function pressedInList(draft: Draft, level: Level, key: string): void {
  const page = bodyRows(draft.state);
  const row = rowAt(level, level.cursor);
  const last = level.count - 1;
  switch (key) {
    case 'j':
    case 'down':
      draft.moveTo(level.cursor + 1);
      return;
    case 'k':
    case 'up':
      draft.moveTo(level.cursor - 1);
      return;
    case 'pagedown':
      draft.moveTo(level.cursor + page);
      return;
    case 'pageup':
      draft.moveTo(level.cursor - page);
      return;
    case 'g':
    case 'home':
      draft.moveTo(0);
      return;
    case 'G':
    case 'end':
      if (level.isWhole) draft.moveTo(last);
      else draft.askRows('end');
      return;
    case 'enter':
    case 'l':
    case 'right':
      if (row === undefined) return;
      if (row.opens !== undefined) {
        draft.open(row.opens.place, row.opens.title);
        return;
      }
      draft.set({ mode: { kind: 'text', top: 0 } });
      draft.askDetail();
      return;
    case 'h':
    case 'left':
    case 'escape':
      draft.back();
      return;
    case '/':
      draft.set({ mode: { kind: 'typing', what: 'search', typed: '' } });
      return;
    case 'n':
      draft.search(level.cursor + 1);
      return;
    case 'o':
      if (row !== undefined) draft.askTask({ kind: 'page', place: level.place, row: level.cursor });
      return;
    case 'c':
      if (row !== undefined) draft.set({ mode: { kind: 'typing', what: 'copy', typed: '.' } });
  }
}

function scrolled(draft: Draft, mode: Extract<Mode, { top: number }>, key: string): void {
  const isHelp = mode.kind === 'help';
  const { detail } = draft.state;
  const count = isHelp ? helpLines.length : wrapped(detail, detailColumns(draft.state)).length;
  const page = bodyRows(draft.state);
  const last = Math.max(0, count - page);
  const tops: Readonly<Record<string, number>> = {
    j: mode.top + 1,
    down: mode.top + 1,
    k: mode.top - 1,
    up: mode.top - 1,
    pagedown: mode.top + page,
    ' ': mode.top + page,
    pageup: mode.top - page,
    g: 0,
    home: 0,
    G: last,
    end: last,
  };
  const top = Object.hasOwn(tops, key) ? tops[key] : undefined;
  if (top !== undefined) draft.set({ mode: { ...mode, top: Math.max(0, Math.min(last, top)) } });
  else if (['q', 'h', 'left', 'escape', 'enter', '?'].includes(key)) {
    draft.set({ mode: { kind: 'list' } });
    if (!isHelp) draft.askDetail();
  }
}

function typed(draft: Draft, mode: Extract<Mode, { kind: 'typing' }>, key: string): void {
  const level = levelOf(draft.state);
  if (key === 'escape') draft.set({ mode: { kind: 'list' } });
  else if (key === 'backspace') draft.set({ mode: { ...mode, typed: Array.from(mode.typed).slice(0, -1).join('') } });
  else if (key !== 'enter') {
    if (Array.from(key).length === 1) draft.set({ mode: { ...mode, typed: mode.typed + key } });
  } else {
    draft.set({ mode: { kind: 'list' } });
    if (level === undefined || mode.typed === '') return;
    if (mode.what === 'copy') draft.askTask({ kind: 'copy', place: level.place, row: level.cursor, to: mode.typed });
    else {
      draft.set({ searched: mode.typed });
      draft.search(level.cursor + 1);
    }
  }
}

/** A state that is being changed, and what is asked for on the way. */
class Draft {
  state: State;
  readonly requests: Request[] = [];

  constructor(state: State) {
    this.state = state;
  }

  set(changes: Partial<State>): void {
    this.state = { ...this.state, ...changes };
  }

  showPane(pane: number): void {
    this.set({ pane, detail: [], detailAsked: 0, message: '' });
    if (this.state.panes[pane] !== undefined) {
      this.askDetail();
      return;
    }
    const name = paneNames[pane]!;
    this.open({ kind: 'pane', pane: name }, name);
  }

  open(place: Place, title: string): void {
    const levels = this.state.panes[this.state.pane] ?? [];
    const level = { place, title, cursor: 0, top: 0, from: 0, rows: [], count: 0, isWhole: false, asked: 0 };
    this.#setLevels([...levels, level]);
    this.set({ detail: [], detailAsked: 0 });
    this.askRows(0);
  }

  back(): void {
    const levels = this.state.panes[this.state.pane] ?? [];
    if (levels.length <= 1) return;
    this.#setLevels(levels.slice(0, -1));
    this.set({ detail: [], detailAsked: 0 });
    this.moveTo(levelOf(this.state)!.cursor);
  }

  moveTo(wanted: number): void {
    const level = levelOf(this.state);
    if (level === undefined) return;
    const page = bodyRows(this.state);
    const cursor = Math.max(0, Math.min(level.count - 1, wanted));
    const top = Math.max(0, Math.min(cursor, Math.max(level.top, cursor - page + 1)));
    this.#setLevel({ ...level, cursor, top });
    const end = Math.min(level.count, top + page);
    const isThere = top >= level.from && end <= level.from + level.rows.length;
    // The end of what is known is near: there may be more.
    const isShort = !level.isWhole && cursor + MARGIN / 2 >= level.count;
    if (!isThere || isShort) this.askRows(Math.max(0, top - MARGIN));
    this.askDetail();
  }

  search(from: number): void {
    const level = levelOf(this.state);
    const { searched: text } = this.state;
    if (level === undefined || text === '') return;
    this.set({ message: 'searching …', searchAsked: this.#ask({ kind: 'search', place: level.place, text, from }) });
  }

  askRows(from: number | 'end'): void {
    const level = levelOf(this.state)!;
    const count = bodyRows(this.state) + 2 * MARGIN;
    const asked = this.#ask({ kind: 'rows', place: level.place, from, count });
    this.#setLevel({ ...level, asked });
    if (from === 'end') this.set({ message: 'reading …', endAsked: asked });
  }

  askDetail(): void {
    const level = levelOf(this.state);
    if (level === undefined || rowAt(level, level.cursor) === undefined) return;
    const room = { columns: detailColumns(this.state), rows: bodyRows(this.state) };
    if (room.columns === 0) return;
    const { place, cursor: row } = level;
    this.set({ detailAsked: this.#ask({ kind: 'detail', place, row, room }) });
  }

  askTask(wanted: Extract<Wanted, { kind: 'page' | 'copy' }>): void {
    this.set({ message: 'reading …', taskAsked: this.#ask(wanted) });
  }

  take(answer: Answer): void {
    const { id } = answer;
    switch (answer.kind) {
      case 'rows':
        this.#takeRows(answer);
        return;
      case 'detail':
        if (id === this.state.detailAsked) this.set({ detail: answer.lines });
        return;
      case 'found':
        if (id !== this.state.searchAsked) return;
        if (answer.row === undefined) {
          this.set({ message: `there is no '${this.state.searched}' from here on` });
          return;
        }
        this.set({ message: '' });
        this.#jumpTo(answer.row);
        return;
      case 'page':
        if (id === this.state.taskAsked) this.set({ paged: answer.file, message: '' });
        return;
      case 'said':
        this.set({ message: answer.message });
    }
  }

  #takeRows({ id, from, rows, count, isWhole }: Extract<Answer, { kind: 'rows' }>): void {
    const panes = this.state.panes.map(levels =>
      levels?.map(level => (level.asked === id ? { ...level, from, rows, count, isWhole } : level)),
    );
    this.set({ panes });
    const level = levelOf(this.state);
    if (level?.asked !== id) return;
    if (id === this.state.endAsked) {
      if (this.state.message === 'reading …') this.set({ message: '' });
      this.#jumpTo(count - 1);
    } else {
      const cursor = Math.max(0, Math.min(level.cursor, count - 1));
      this.#setLevel({ ...level, cursor, top: Math.min(level.top, cursor) });
      if (this.state.detail.length === 0) this.askDetail();
    }
  }

  /** To a row that the reader knows, although its answer may have been that there are fewer. */
  #jumpTo(row: number): void {
    const level = levelOf(this.state)!;
    this.#setLevel({ ...level, count: Math.max(level.count, row + 1) });
    this.moveTo(row);
  }

  #ask(wanted: Wanted): number {
    const id = this.state.nextId;
    this.set({ nextId: id + 1 });
    this.requests.push({ ...wanted, id } as Request); // The union of Wanted has the members of Request.
    return id;
  }

  #setLevel(level: Level): void {
    this.#setLevels([...(this.state.panes[this.state.pane] ?? []).slice(0, -1), level]);
  }

  #setLevels(levels: readonly Level[]): void {
    this.set({ panes: this.state.panes.map((old, nr) => (nr === this.state.pane ? levels : old)) });
  }
}
