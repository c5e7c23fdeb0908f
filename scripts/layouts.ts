// The on-disk structs that core exports, for documentation and dumps.

import * as core from '@bcachefs-ts/core';

export interface AnyLayout extends core.Codec<unknown> {
  readonly fields: Readonly<Record<string, core.FieldAt<unknown>>>;
}

const isLayout = (value: unknown): value is AnyLayout =>
  typeof value === 'object' && value !== null && 'fields' in value && 'offset' in value && 'size' in value;

/** By name. */
export const allLayouts: readonly AnyLayout[] = Object.values<unknown>(core)
  .filter(isLayout)
  .toSorted((a, b) => a.type.localeCompare(b.type));
