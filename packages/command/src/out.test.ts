import { describe, expect, test } from 'vitest';
import { loadPalette, plainPalette, wantsColor } from './color.ts';
import type { Sink } from './host.ts';
import { jsonDocument, jsonLine, schemaName } from './json.ts';
import { SinkOut } from './out.ts';

function collect(): { sink: Sink; written: string[] } {
  const written: string[] = [];
  return { sink: { isTerminal: false, columns: 80, writeBytes: () => {}, write: text => written.push(text) }, written };
}

describe('Out', () => {
  test('gathers lines and writes pieces of 64 KiB', () => {
    const { sink, written } = collect();
    const out = new SinkOut(sink, plainPalette);
    for (let i = 0; i < 3000; i++) out.line('x'.repeat(49));
    expect(written.map(piece => piece.length)).toEqual([65550, 65550]);
    out.flush();
    out.flush();
    expect(written.join('')).toBe(`${'x'.repeat(49)}\n`.repeat(3000));
  });

  test('tables have no borders, two spaces between columns and nothing at the line ends', async () => {
    const { sink, written } = collect();
    const out = new SinkOut(sink, plainPalette);
    const rows = [
      ['sda', 1024, 'rw'],
      ['nvme0n1p3', 5, ''],
    ];
    await out.table({ head: ['device', 'buckets', 'state'], align: 'lrl', rows });
    await out.table({ rows: [] });
    out.flush();
    expect(written.join('')).toMatchInlineSnapshot(`
      "device     buckets  state
      sda           1024  rw
      nvme0n1p3        5
      "
    `);
  });

  test('colour in a table does not shift its columns', async () => {
    const { sink, written } = collect();
    const out = new SinkOut(sink, await loadPalette(true));
    await out.table({ head: ['a', 'b'], rows: [['xxx', 'y']] });
    out.flush();
    expect(written.join('')).toBe('\u001b[1ma\u001b[22m    \u001b[1mb\u001b[22m\nxxx  y\n');
  });
});

describe('colour', () => {
  test.each([
    ['auto', {}, true, true],
    ['auto', {}, false, false],
    ['auto', { NO_COLOR: '1' }, true, false],
    ['auto', { NO_COLOR: '' }, true, true],
    ['auto', { TERM: 'dumb' }, true, false],
    ['auto', { FORCE_COLOR: '1' }, false, true],
    ['auto', { FORCE_COLOR: '0' }, true, false],
    ['auto', { FORCE_COLOR: '1', NO_COLOR: '1' }, false, true],
    ['always', { NO_COLOR: '1' }, false, true],
    ['never', { FORCE_COLOR: '1' }, true, false],
  ] as const)('--color=%s with %j, terminal %s: %s', (choice, env, isTerminal, wanted) => {
    expect(wantsColor(choice, env, isTerminal)).toBe(wanted);
  });
});

describe('JSON', () => {
  test('u64 above 2^53 are strings, bytes are hex, keys keep their order', () => {
    const body = {
      z: 1,
      big: 2n ** 63n,
      small: 5n,
      bytes: Uint8Array.of(0, 255),
      map: new Map([['k', 1n]]),
      none: null,
    };
    expect(jsonDocument('device add', 2, body)).toMatchInlineSnapshot(`
      "{
        "schema": "bcachefs-ts/device-add",
        "version": 2,
        "z": 1,
        "big": "9223372036854775808",
        "small": 5,
        "bytes": "00ff",
        "map": {
          "k": 1
        },
        "none": null
      }
      "
    `);
    expect(jsonLine({ nan: Number.NaN, edge: BigInt(Number.MAX_SAFE_INTEGER), over: 2n ** 53n })).toBe(
      '{"nan":"NaN","edge":9007199254740991,"over":"9007199254740992"}\n',
    );
    expect(schemaName('device add')).toBe('bcachefs-ts/device-add');
  });
});

test('what was not escaped before does not reach the terminal', () => {
  const { sink, written } = collect();
  const out = new SinkOut(sink, plainPalette);
  out.line('gpj.\u202eexe \u009b31m');
  out.flush();
  expect(written.join('')).toBe('gpj.\\xe2\\x80\\xaeexe \\xc2\\x9b31m\n');
  // Pieces that are ASCII throughout are looked at in another way.
  for (const [text, shown] of [
    ['plain \u001b[1mbold\n', 'plain \u001b[1mbold\n'],
    ['a\x7fb', 'a\\x7fb'],
    ['a\udcffb', 'a\\xffb'],
  ] as const) {
    const one = collect();
    const alone = new SinkOut(one.sink, plainPalette);
    alone.write(text);
    alone.flush();
    expect(one.written.join('')).toBe(shown);
  }
  expect(jsonLine({ name: '\u202e\u009b' })).toBe('{"name":"\\u202e\\u009b"}\n');
  expect(jsonDocument('x', 1, { name: '\u2066' })).toContain('"name": "\\u2066"');
});
