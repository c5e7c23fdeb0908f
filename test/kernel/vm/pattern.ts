// The content of a `write` step with a pattern, computed on this side: what agent/pattern.py writes over there.

import { createHash } from 'node:crypto';
import type { Pattern } from './steps.ts';

const DIGITS_PER_LINE = 63;

/** The first `sizeBytes` bytes of a pattern. */
export function patternBytes({ kind, seed = 0 }: Pattern, sizeBytes: number): Uint8Array {
  if (kind === 'zero' || sizeBytes === 0) return Buffer.alloc(sizeBytes);
  if (kind === 'random') return shake128(seed, sizeBytes);
  const digits = shake128(seed, Math.floor(sizeBytes / 2) + 1).toString('hex');
  const lines: string[] = [];
  for (let at = 0; at < sizeBytes; at += DIGITS_PER_LINE) lines.push(digits.slice(at, at + DIGITS_PER_LINE));
  return Buffer.from(lines.join('\n')).subarray(0, sizeBytes);
}

function shake128(seed: number | string, outputLength: number): Buffer {
  return createHash('shake128', { outputLength }).update(String(seed)).digest();
}
