import { describe, expect, test } from 'vitest';
import type { Answer, Request, Row } from './messages.ts';
import { bodyRows, firstState, helpLines, levelOf, type State, step, wrapped } from './state.ts';
import { viewOf } from './view.ts';

const rowsFrom = (from: number, count: number): readonly Row[] =>
  Array.from({ length: count }, (_, nr) => ({ text: `row ${from + nr}` }));

/** A screen whose requests for rows are answered from a list of `count` rows, as far as they are asked for. */
class Screen {
  state: State = firstState(80, 24);
  asked: Request[] = [];
  readonly #count: number;

  constructor(count: number, { starts = true } = {}) {
    this.#count = count;
    if (starts) {
      this.#take(step(this.state, { kind: 'start' }));
      this.answer();
    }
  }

  press(...keys: readonly string[]): this {
    for (const key of keys) this.#take(step(this.state, { kind: 'key', key }));
    return this;
  }

  reply(answer: Answer): this {
    this.#take(step(this.state, { kind: 'answer', answer }));
    return this;
  }

  /** Everything that was asked for since. */
  answer(): this {
    for (const request of this.asked.splice(0)) {
      if (request.kind !== 'rows') continue;
      const known = request.from === 'end' ? this.#count : Math.min(this.#count, request.from + request.count);
      const from = request.from === 'end' ? Math.max(0, known - request.count) : request.from;
      const rows = rowsFrom(from, Math.min(request.count, known - from));
      this.reply({ id: request.id, kind: 'rows', from, rows, count: known, isWhole: known === this.#count });
    }
    return this;
  }

  kinds(): readonly string[] {
    return this.asked.splice(0).map(({ kind }) => kind);
  }

  #take({ state, requests }: ReturnType<typeof step>): void {
    this.state = state;
    this.asked.push(...requests);
  }

  get level() {
    return levelOf(this.state)!;
  }

  get lines(): readonly string[] {
    const { header, left, footer } = viewOf(this.state);
    return [...header, ...left, ...footer].map(line => line.map(({ text }) => text).join(''));
  }
}

describe('a list', () => {
  test('begins with its first row, and asks for what that is', () => {
    const screen = new Screen(5);
    expect(screen.level).toMatchObject({ cursor: 0, count: 5, isWhole: true });
    expect(screen.kinds()).toEqual(['detail']);
    expect(screen.lines[2]).toBe('> row 0');
  });

  test('arrows and vi keys do the same, and stop at the ends', () => {
    expect(new Screen(3).press('j', 'down').level.cursor).toBe(2);
    expect(new Screen(3).press('j', 'j', 'j', 'j', 'k', 'up').level.cursor).toBe(0);
    expect(new Screen(3).press('k').level.cursor).toBe(0);
  });

  test('the screen follows the cursor', () => {
    const screen = new Screen(100).press(...Array.from({ length: 50 }, () => 'j'));
    expect(screen.level).toMatchObject({ cursor: 50, top: 50 - bodyRows(screen.state) + 1 });
    expect(screen.press('g').level).toMatchObject({ cursor: 0, top: 0 });
    expect(screen.lines).toHaveLength(23);
  });

  test('of a long one there is a window: moving on asks for the next rows, and draws what is missing as empty', () => {
    const screen = new Screen(100_000);
    expect(screen.level.isWhole).toBe(false);
    const known = screen.level.count;
    expect(known).toBeLessThan(1000);
    for (let page = 0; page < 200; page++) screen.press('pagedown').answer();
    expect(screen.level.cursor).toBe(200 * bodyRows(screen.state));
    expect(screen.level.rows.length).toBeLessThan(1000);
    expect(screen.lines.at(-3)).toBe(`> row ${screen.level.cursor}`);
    screen.press('g');
    expect(screen.lines[2]).toBe('> …');
    expect(screen.answer().lines[2]).toBe('> row 0');
  });

  test('G has all of it read first', () => {
    const screen = new Screen(100_000).press('G');
    expect(screen.state.message).toBe('reading …');
    expect(screen.answer().level).toMatchObject({ cursor: 99_999, isWhole: true });
    expect(screen.answer().lines.at(-3)).toBe('> row 99999');
    expect(screen.state.message).toBe('');
  });

  test('a loss that is reported meanwhile stays on the screen, and G still moves to the end', () => {
    const screen = new Screen(1000).press('G').reply({ id: 0, kind: 'said', message: 'a node is lost' });
    expect(screen.answer().level.cursor).toBe(999);
    expect(screen.state.message).toBe('a node is lost');
  });

  test('rows that arrive while a pager is waited for move nothing', () => {
    const screen = new Screen(1000);
    for (let page = 0; page < 10; page++) screen.press('pagedown');
    const { cursor } = screen.level;
    expect(screen.press('o').answer().level.cursor).toBe(cursor);
    expect(screen.state.message).toBe('reading …');
  });

  test('an answer to an older question changes nothing', () => {
    const screen = new Screen(5);
    const { state } = screen.reply({ id: 77, kind: 'rows', from: 0, rows: [], count: 0, isWhole: true });
    expect(levelOf(state)!.count).toBe(5);
    screen.reply({ id: 77, kind: 'detail', lines: [[{ text: 'old' }]] });
    expect(screen.state.detail).toEqual([]);
  });

  test('an empty one, and one that is not there yet', () => {
    expect(new Screen(0).press('j', 'k', 'G', 'enter', 'n', 'o', 'c', 'pagedown').lines).toContain('(nothing)');
    expect(new Screen(5, { starts: false }).press('j', 'enter', 'h', '/', 'a', 'enter').asked).toEqual([]);
  });
});

test('details of a list that was left are not shown beside the next one', () => {
  const screen = new Screen(3);
  const id = screen.state.detailAsked;
  screen.press('2').reply({ id, kind: 'detail', lines: [[{ text: 'old' }]] });
  expect(screen.state.detail).toEqual([]);
});

describe('Enter', () => {
  const folder: Row = {
    text: 'd/',
    opens: { place: { kind: 'directory', subvolume: 1, snapshot: 2, path: 'd' }, title: '/d' },
  };

  test('opens what a row leads to, and going back finds the cursor where it was', () => {
    const screen = new Screen(3).press('j');
    const { asked: id } = screen.level;
    screen.reply({ id, kind: 'rows', from: 0, rows: [folder, folder, folder], count: 3, isWhole: true });
    screen.press('enter').answer();
    expect(screen.level).toMatchObject({ title: '/d', cursor: 0 });
    expect(screen.press('j', 'j', 'h').level).toMatchObject({ title: 'files', cursor: 1 });
    expect(screen.press('h').level.title).toBe('files');
  });

  test('shows any other row on the whole screen, to be scrolled', () => {
    const screen = new Screen(1).press('enter');
    const lines = Array.from({ length: 40 }, (_, nr) => [{ text: `line ${nr}` }]);
    screen.reply({ id: screen.state.detailAsked, kind: 'detail', lines });
    expect(screen.press('j', 'j').lines[2]).toBe('line 2');
    expect(screen.press('G', 'j').lines.at(-3)).toBe('line 39');
    expect(screen.press('q').lines[2]).toBe('> row 0');
    expect(screen.state.isOver).toBe(false);
  });
});

test('panes are chosen by number and by Tab, and keep their places', () => {
  const screen = new Screen(3).press('j', '3').answer();
  expect(screen.level.place).toEqual({ kind: 'pane', pane: 'btrees' });
  expect(screen.press('tab').answer().level.title).toBe('buckets');
  expect(screen.press('backtab', '1').level).toMatchObject({ title: 'files', cursor: 1 });
  expect(screen.press('backtab').answer().level.title).toBe('superblock');
});

test('/ takes a text and asks where it is; n asks for the next place', () => {
  const screen = new Screen(100);
  screen.press('/', 'q', '7', 'x', 'backspace', 'enter');
  expect(screen.asked.at(-1)).toMatchObject({ kind: 'search', text: 'q7', from: 1 });
  screen.reply({ id: screen.state.searchAsked, kind: 'found', row: 40 });
  expect(screen.level.cursor).toBe(40);
  screen.press('n');
  expect(screen.asked.at(-1)).toMatchObject({ kind: 'search', text: 'q7', from: 41 });
  screen.reply({ id: screen.state.searchAsked, kind: 'found', row: undefined });
  expect(screen.state.message).toBe("there is no 'q7' from here on");
  const before = screen.state.searched;
  expect(screen.press('/', 'z', 'escape').state.searched).toBe(before);
});

test('o and c ask for files; what came of it is said', () => {
  const screen = new Screen(3).press('o');
  expect(screen.asked.at(-1)).toMatchObject({ kind: 'page', row: 0 });
  screen.reply({ id: screen.state.taskAsked, kind: 'page', file: '/tmp/file' });
  expect(screen.state.paged).toBe('/tmp/file');
  screen.state = step(screen.state, { kind: 'pagerEnded' }).state;
  screen.press('c', '/', 'x', 'enter');
  expect(screen.asked.at(-1)).toMatchObject({ kind: 'copy', row: 0, to: './x' });
  screen.reply({ id: screen.state.taskAsked, kind: 'said', message: 'copied' });
  expect(screen.state).toMatchObject({ message: 'copied', paged: undefined });
});

test('the help fits, and ends where it began', () => {
  const screen = new Screen(3).press('?');
  expect(screen.lines.slice(2, 4)).toEqual(helpLines.slice(0, 2));
  for (const line of [...helpLines, ...screen.press('q').lines]) expect(line.length).toBeLessThanOrEqual(80);
  expect(screen.lines[2]).toBe('> row 0');
});

test('q and Ctrl-C end it, also while something is typed', () => {
  expect(new Screen(3).press('q').state.isOver).toBe(true);
  expect(new Screen(3).press('/', 'q').state.isOver).toBe(false);
  expect(new Screen(3).press('/', 'ctrl-c').state.isOver).toBe(true);
});

test('a terminal that becomes smaller keeps the cursor on the screen; a narrow one has no details', () => {
  const screen = new Screen(50).press(...Array.from({ length: 15 }, () => 'j'));
  screen.state = step(screen.state, { kind: 'size', columns: 50, rows: 10 }).state;
  expect(screen.lines).toContain('> row 15');
  expect(viewOf(screen.state)).toMatchObject({ leftColumns: 50, right: [] });
  screen.state = step(screen.state, { kind: 'size', columns: 1, rows: 1 }).state;
  expect(screen.lines).toContain('> row 15');
});

test('long lines of details are cut into the width', () => {
  expect(wrapped([[{ text: 'abcdef', color: 'red' }], [{ text: '' }]], 4)).toEqual([
    [{ text: 'abcd', color: 'red' }],
    [{ text: 'ef', color: 'red' }],
    [{ text: '' }],
  ]);
});
