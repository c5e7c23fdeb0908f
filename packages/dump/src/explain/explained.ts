// What the command explain found, before it is text or JSON.

import type { Explanation, HexRow, KeyTextContext } from '@bcachefs-ts/core/engine';

export interface Explained {
  readonly explanation: Explanation;
  readonly context: KeyTextContext;
  readonly hex: readonly HexRow[] | undefined;
  /** The hexdump shows what encryption hides. */
  readonly isDecrypted: boolean;
}
