// Text in lines of limited width.

/** Breaks `text` at blanks into lines of at most `width` characters; a longer word gets a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '' || lines.length === 0) lines.push(line);
  return lines;
}

const NARROWEST_TEXT = 24;

/** Two columns: terms on the left, explanations wrapped on the right. A term too long for its column gets its own line. */
export function* twoColumns(
  rows: readonly { readonly term: string; readonly text: string }[],
  width: number,
): Generator<{ readonly term: string; readonly text: string }> {
  const limit = Math.min(30, width - NARROWEST_TEXT - 4);
  const widest = Math.max(0, ...rows.map(row => row.term.length).filter(length => length <= limit));
  const textWidth = width - widest - 4;
  for (const { term, text } of rows) {
    const lines = wrap(text, textWidth);
    if (term.length > widest) {
      yield { term: `  ${term}`, text: '' };
      for (const line of lines) yield { term: ' '.repeat(widest + 4), text: line };
      continue;
    }
    yield { term: `  ${term.padEnd(widest)}  `, text: lines[0] ?? '' };
    for (const line of lines.slice(1)) yield { term: ' '.repeat(widest + 4), text: line };
  }
}
