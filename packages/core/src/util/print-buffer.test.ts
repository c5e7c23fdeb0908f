import { describe, expect, test } from 'vitest';
import { PrintBuffer } from './print-buffer.ts';

const buffer = (...stops: number[]) => {
  const out = new PrintBuffer();
  for (const stop of stops) out.pushTabStop(stop);
  return out;
};

describe('tab stops', () => {
  test('\\t ends one column before the tab stop', () => {
    expect(buffer(8).print('a:\tvalue').toString()).toBe('a:     value');
    expect(buffer(8).print('a:\tvalue').toString().indexOf('value')).toBe(7);
  });

  test('\\t vanishes where the text is already there', () => {
    expect(buffer(4).print('label:\tvalue').toString()).toBe('label:value');
    expect(buffer(7).print('label:\tvalue').toString()).toBe('label:value');
    expect(buffer(8).print('label:\tvalue').toString()).toBe('label: value');
  });

  test('past the last tab stop \\t stays', () => {
    expect(buffer(8).print('a:\tb\tc').toString()).toBe('a:     b\tc');
    expect(buffer().print('a\tb').toString()).toBe('a\tb');
  });

  test('tab stops add up, and every line starts with the first one again', () => {
    expect(buffer(4, 4).print('a\tb\tc\nd\te').toString()).toBe('a  b   c\nd  e');
  });

  test('\\r right-justifies at the tab stop', () => {
    expect(buffer(8).print('12\rkB').toString()).toBe('      12kB');
    expect(buffer(4, 6).print('a\t12\rk').toString()).toBe('a       12k');
  });

  test('tab() goes to the tab stop itself', () => {
    expect(buffer(8).print('a').tab().print('b').toString()).toBe('a       b');
    expect(buffer(2).print('long').tab().print('b').toString()).toBe('longb');
    expect(buffer().print('a').tab().print('b').toString()).toBe('ab');
  });

  test('popped tab stops are gone', () => {
    expect(buffer(8, 8).popTabStop().print('a\tb\tc').toString()).toBe('a      b\tc');
  });
});

describe('indent', () => {
  test('of an empty line and the lines to come', () => {
    const out = buffer();
    out
      .print('a\n')
      .indented(() => out.print('b\nc\n'))
      .print('d');
    expect(out.toString()).toBe('a\n  b\n  c\nd');
  });

  test('in the middle of a line it adds spaces there, as the reference does', () => {
    const out = buffer();
    out.print('key').indented(() => out.print(': \nvalue'));
    out.print('\nnext');
    expect(out.toString()).toBe('key  : \n  value\nnext');
  });

  test('only from the next line on', () => {
    expect(buffer().print('a').addIndentNextLine(2).print('\nb').toString()).toBe('a\n  b');
  });

  test('tab stops count from the start of the line', () => {
    const out = buffer(8);
    out.indented(() => out.print('a\tb'));
    expect(out.toString()).toBe('  a    b');
  });

  test('goes away when the body throws', () => {
    const out = buffer();
    expect(() =>
      out.indented(() => {
        throw new Error('x');
      }),
    ).toThrow('x');
    expect(out.indent).toBe(0);
    expect(out.print('a').toString()).toBe('a');
  });
});

test('text as it is', () => {
  const out = new PrintBuffer().pushTabStop(8);
  out.indented(() => out.print('a').printAsIs('\n\tb\r').print('\nc'));
  expect(out.toString()).toBe('  a\n\tb\r\n  c');
});
