// The words of a command line with all of their bytes. Node decodes them as UTF-8 and leaves U+FFFD where they are none; Linux has the bytes
// in /proc/self/cmdline. They are kept as `wordOfBytes` has them, so that a name of any bytes can be given.

import { readFileSync } from 'node:fs';
import { wordOfBytes, wordOfUnknown } from '@bcachefs-ts/core/engine';

const LOST = '\ufffd';

/**
 * @param words as Node has them
 * @param read gives the command line of the process, words ended by NULs; throws where there is none
 */
export function rawWords(words: readonly string[], read: () => Uint8Array = readOwnCommandLine): readonly string[] {
  if (!words.some(word => word.includes(LOST))) return words;
  const found = wordsOf(read);
  const isOfThese = found !== undefined && found.length >= words.length;
  const own = isOfThese ? found.slice(found.length - words.length) : [];
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return words.map((word, nr) => {
    if (!word.includes(LOST)) return word;
    const bytes = own[nr];
    return bytes !== undefined && decoder.decode(bytes) === word ? wordOfBytes(bytes) : wordOfUnknown(word);
  });
}

const readOwnCommandLine = (): Uint8Array => readFileSync('/proc/self/cmdline');

function wordsOf(read: () => Uint8Array): readonly Uint8Array[] | undefined {
  let line: Uint8Array;
  try {
    line = read();
  } catch {
    // Another system, or one without /proc: which bytes they were is then not to be known, and is said where they are needed.
    return undefined;
  }
  const words: Uint8Array[] = [];
  for (let start = 0; start < line.length; ) {
    const end = line.indexOf(0, start);
    words.push(line.subarray(start, end < 0 ? line.length : end));
    start = end < 0 ? line.length : end + 1;
  }
  return words;
}
