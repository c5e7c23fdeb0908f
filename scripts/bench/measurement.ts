// A figure of the bench, and what it should be.

export interface Measurement {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project wants it to be, on an idle machine of two processors. */
  readonly aim?: { readonly atMost: number } | { readonly atLeast: number };
  /** Where it is not measured in this run. */
  readonly note?: string;
}

export function measurementText({ name, value, unit, aim, note }: Measurement): string {
  const figure = `  ${name.padEnd(64)} ${value.toFixed(value < 10 ? 2 : 1).padStart(10)} ${unit}`;
  const remark = note === undefined ? '' : ` (${note})`;
  if (aim === undefined) return figure + remark;
  const [sign, limit, isMet] =
    'atMost' in aim ? ['≤', aim.atMost, value <= aim.atMost] : ['≥', aim.atLeast, value >= aim.atLeast];
  return `${figure.padEnd(96)} aim ${sign} ${limit}${isMet ? '' : '  MISSED'}${remark}`;
}
