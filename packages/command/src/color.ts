// When to colour and with what. chalk is loaded only where colour is wanted: it takes about 5 ms that a pipe needn't pay.

export interface Palette {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  blue(text: string): string;
  magenta(text: string): string;
  cyan(text: string): string;
  /** Half blocks, their upper and their lower halves of two colours: two dots of a picture each. Undefined where there are no colours. */
  halves?(upper: DotColor, lower: DotColor, count: number): string;
}

/** The sixteen colours of a terminal, but for white and black, which themes use for the background. */
export type DotColor = (typeof dotColors)[number];
const dotColors = ['red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'gray'] as const;
const SGR_FOREGROUND: Readonly<Record<DotColor, number>> = {
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
  gray: 90,
};
const SGR_BACKGROUND_ABOVE = 10;

export type ColorChoice = 'auto' | 'always' | 'never';

const same = (text: string): string => text;

/** No colour at all. */
export const plainPalette: Palette = {
  bold: same,
  dim: same,
  red: same,
  green: same,
  yellow: same,
  blue: same,
  magenta: same,
  cyan: same,
};

/**
 * `--color` decides; else FORCE_COLOR (anything but `0`), NO_COLOR (anything but empty) and TERM=dumb, in this order;
 * else whether the stream is a terminal.
 */
export function wantsColor(
  choice: ColorChoice,
  env: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
): boolean {
  if (choice !== 'auto') return choice === 'always';
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0';
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false;
  if (env.TERM === 'dumb') return false;
  return isTerminal;
}

export async function loadPalette(color: boolean): Promise<Palette> {
  if (!color) return plainPalette;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 }); // The 16 colours that each terminal's theme chooses.
  return Object.assign(chalk, {
    halves: (upper: DotColor, lower: DotColor, count: number) =>
      `\u001b[${SGR_FOREGROUND[upper]};${SGR_FOREGROUND[lower] + SGR_BACKGROUND_ABOVE}m${'▀'.repeat(count)}\u001b[0m`,
  });
}
