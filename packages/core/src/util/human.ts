// Sizes for people: 4096 is `4.00k`, 131072 is `128k`. Three significant digits, powers of 1024, no "B". And the way
// back, which takes more forms: `4k`, `1.5M`, `64KiB`, `100MB` (powers of 1000), with or without a space before the
// unit.
// Source: bch2_prt_human_readable_u64 (printbuf.c) and bch2_strtou64_h (util.c), v1.36.1 and v1.39.2.

import { UsageError } from '../ondisk/errors.ts';

const UNITS = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'] as const;

/** Decimals are cut off up to 1.36, and rounded to the nearest since. */
export type HumanStyle = '1.36' | '1.39';

/** `1023`, `4.36k`, `64.0k`, `1.00M`, `128G`; mirrors bch2_prt_human_readable_u64. */
export function humanText(value: number | bigint, style: HumanStyle = '1.36'): string {
  let whole = BigInt(value);
  let rest = 0;
  let unit = 0;
  while (unit + 1 < UNITS.length && whole >= 1024n) {
    rest = Number(whole % 1024n);
    whole /= 1024n;
    unit++;
  }
  if (unit === 0) return `${whole}`;
  return style === '1.36' ? cutOff(whole, rest, unit) : rounded(Number(whole), rest, unit);
}

/** Decimals that fit three digits, the rest cut off; 1000 to 1023 show four digits. */
function cutOff(whole: bigint, rest: number, unit: number): string {
  const decimals = 3 - `${whole}`.length;
  if (decimals <= 0) return `${whole}${UNITS[unit]}`;
  const thousandths = `${Math.floor((rest * 1000) / 1024)}`.padStart(3, '0');
  return `${whole}.${thousandths.slice(0, decimals)}${UNITS[unit]}`;
}

function rounded(whole: number, rest: number, unit: number): string {
  const scale = 10 ** decimalsFor(whole);
  let fraction = Math.floor((rest * scale + 512) / 1024);
  let shown = whole;
  let shownUnit = unit;
  if (fraction >= scale) {
    fraction = 0;
    shown++;
    if (shown >= 1024 && shownUnit + 1 < UNITS.length) {
      shown = 1;
      shownUnit++;
    }
  }
  const decimals = decimalsFor(shown);
  return decimals === 0
    ? `${shown}${UNITS[shownUnit]}`
    : `${shown}.${`${fraction}`.padStart(decimals, '0')}${UNITS[shownUnit]}`;
}

function decimalsFor(whole: number): number {
  if (whole < 10) return 2;
  return whole < 100 ? 1 : 0;
}

/** The exact number in the largest unit that divides it: `4k`, `1000`, `3M`. For messages about limits. */
export function exactText(value: number | bigint): string {
  let rest = BigInt(value);
  let unit = 0;
  while (unit + 1 < UNITS.length && rest !== 0n && rest % 1024n === 0n) {
    rest /= 1024n;
    unit++;
  }
  return `${rest}${UNITS[unit]}`;
}

const U64_MAX = (1n << 64n) - 1n;

/**
 * `4096`, `4k`, `1.5M`, `64KiB`, `100 MB`. Single letters and `iB` are powers of 1024, `B` after a letter is powers of
 * 1000; a fraction of a byte is dropped. Upper case K is taken too, which the reference refuses.
 * @throws UsageError when it is not such a number, or above 2^64 - 1
 */
export function parseHuman(text: string): bigint {
  const match = /^\+?(\d+)(?:\.(\d+))? ?([kKMGTPEZY]?)(iB|B)?$/.exec(text);
  const bad = () => new UsageError(`found ${JSON.stringify(text)}, expected a number such as 4096, 4k, 1.5M or 64KiB`);
  if (match === null) throw bad();
  const [, whole = '', fraction = '', letter = '', suffix = ''] = match;
  if ((letter === '' && suffix === 'iB') || fraction.length > 19) throw bad();
  const power = UNITS.findIndex(unit => unit.toLowerCase() === letter.toLowerCase());
  const factor = (letter !== '' && suffix === 'B' ? 1000n : 1024n) ** BigInt(power);
  const value = BigInt(whole) * factor + (BigInt(fraction || '0') * factor) / 10n ** BigInt(fraction.length);
  if (value > U64_MAX) throw new UsageError(`found ${JSON.stringify(text)}, expected less than 2^64`);
  return value;
}
