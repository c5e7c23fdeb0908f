// Names without regard to case, as directories with the option casefold compare them: decomposed (NFD), folded. The kernel has tables of
// Unicode 12.1 for it; here the runtime's Unicode does the work, so names in scripts that were added or changed since may fold
// differently. Looking up falls back to comparing with all names of the directory, and listing never folds.
// Source: bch2_casefold in dirent.c, v1.36.1; utf8nfdicf in fs/unicode of Linux.

import { utf8Text } from '../util/byte-text.ts';

const encoder = new TextEncoder();

/** Default_Ignorable_Code_Point: dropped. */
const IGNORED = /\p{Default_Ignorable_Code_Point}/gu;

/** A name in its folded form; one that is not UTF-8 stays as it is. */
export function foldName(name: Uint8Array): Uint8Array {
  if (name.every(byte => byte < 0x80)) return name.map(byte => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));
  const text = utf8Text(name);
  if (text === undefined) return name;
  let folded = '';
  for (const char of text.normalize('NFD').replace(IGNORED, '')) folded += foldChar(char);
  return encoder.encode(folded.normalize('NFD'));
}

/** Up and down again: that gives ss for ß and σ for ς. The dotless i folds to itself. */
function foldChar(char: string): string {
  return char === 'ı' ? char : char.toUpperCase().toLowerCase();
}
