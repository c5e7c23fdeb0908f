import { describe, expect, test } from 'vitest';
import { hexText, modeText, shownName, sizeText, textOfFile, timeText } from './names.ts';

describe('names on the page', () => {
  test.each([
    ['plain name.txt', 'plain name.txt'],
    ['Grüße 日本 🦀', 'Grüße 日本 🦀'],
    ['<img src=x onerror=alert(1)>', '<img src=x onerror=alert(1)>'],
    ['two\nlines\u001b[31m', 'two\\x0alines\\x1b[31m'],
    ['photo\u202egpj.exe', 'photo\\u202egpj.exe'],
    ['zero\u200bwidth', 'zero\\u200bwidth'],
    ['not\udcffutf8', 'not\\xffutf8'],
  ])('%j is shown as %j', (name, shown) => expect(shownName(name)).toBe(shown));

  test('values as text', () => {
    expect([0, 1023, 1536, 123n * 1024n * 1024n].map(sizeText)).toEqual([
      '0 bytes',
      '1023 bytes',
      '1.5 KiB',
      '123 MiB',
    ]);
    expect(modeText(0o100750)).toBe('rwxr-x---');
    expect(timeText(1_000_000_000_000_000_000n)).toBe('2001-09-09 01:46:40');
    expect(timeText(2n ** 63n)).toMatch(/^2262|ns$/);
    expect(hexText(Uint8Array.of(0x41, 0, 0xff))).toBe(`00000000  41 00 ff${' '.repeat(39)}  A..`);
    expect(textOfFile(new TextEncoder().encode('é').subarray(0, 1), true)).toBe('');
    expect(textOfFile(Uint8Array.of(0xff), false)).toBeUndefined();
    expect(textOfFile(Uint8Array.of(0), false)).toBeUndefined();
  });
});
