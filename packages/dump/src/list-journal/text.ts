// A journal entry as the reference prints it: a header, then its sub-entries, those of a transaction indented under its name; lines of
// entries that do not count begin with a star. Mirrors cmd_list_journal.c, v1.36.1.

import {
  bkeyText,
  btrees,
  indentOf,
  isPrintedKeys,
  type JournalEntry,
  type JsetEntryTextContext,
  journalPtrText,
  jsetEntryText,
  jsetEntryTypes,
  keysOf,
  nameAt,
  PrintBuffer,
  quickJsetKeysText,
  roundUp,
  SECTOR_BYTES,
  type ShownSubEntry,
} from '@bcachefs-ts/core/engine';

export interface JournalTextContext extends JsetEntryTextContext {
  readonly blockSectors: number;
  /** The name of a member, if it is there. */
  memberName(index: number): string | undefined;
}

/** How sub-entries are printed. */
export interface SubEntryStyle {
  /** With the values of keys. */
  readonly values: boolean;
  /** Each with its place in the journal entry. */
  readonly offsets: boolean;
}

/** In whole blocks. */
export function journalEntrySectors(entry: JournalEntry, blockSectors: number): number {
  return roundUp(entry.sizeBytes, blockSectors * SECTOR_BYTES) / SECTOR_BYTES;
}

export function headerText(entry: JournalEntry, isBlacklisted: boolean, context: JournalTextContext): string {
  const ptrs = entry.ptrs.map(ptr => journalPtrText(ptr, index => context.memberName(index)));
  return [
    '',
    `${isBlacklisted ? 'blacklisted ' : ''}journal entry     ${entry.seq}`,
    `  bytes           ${entry.sizeBytes}`,
    `  sectors         ${journalEntrySectors(entry, context.blockSectors)}`,
    `  version         ${entry.version}`,
    `  last seq        ${entry.lastSeq}`,
    `  flush           ${entry.isFlush ? 1 : 0}`,
    `  written at      ${ptrs.join(' ')}`,
    '',
  ].join('\n');
}

/** One sub-entry, with the line break after it. */
export function subEntryText(
  { entry, offsetU64s }: ShownSubEntry,
  style: SubEntryStyle,
  context: JournalTextContext,
): string {
  const indent = indentOf(entry);
  const quick = style.values && !style.offsets ? quickJsetKeysText(entry, context, indent) : undefined;
  if (quick !== undefined) return quick;
  const out = new PrintBuffer();
  out.addIndent(indent);
  if (style.offsets) out.print(`${`${offsetU64s}`.padStart(4)} `);
  if (!style.values && isPrintedKeys(entry)) keysWithoutValues(out, entry, context);
  else {
    jsetEntryText(out, entry, context);
    out.newline();
  }
  out.removeIndent(indent);
  return out.toString();
}

function keysWithoutValues(out: PrintBuffer, entry: ShownSubEntry['entry'], context: JournalTextContext): void {
  const type = jsetEntryTypes.byId(entry.type);
  const btree = btrees.byId(entry.btree_id);
  const btreeName = btree === undefined ? `(unknown btree ${entry.btree_id})` : nameAt(context.style, btree);
  for (const { k } of keysOf(entry)) {
    const typeName = type === undefined ? entry.type : nameAt(context.style, type);
    out.print(`${typeName}: btree=${btreeName} level=${entry.level} ${bkeyText(k)}`);
    out.newline();
  }
}

/** Marks what does not count: a star in the place of the first space of each line. */
export function starred(text: string): string {
  return text.replace(/(^|\n) /g, '$1*');
}
