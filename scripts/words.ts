// The phrases that `check-words.ts` keeps out, each with what to write instead.

interface Rule {
  /** A blank stands for any white space, the next line of a comment included. */
  readonly pattern: RegExp;
  readonly better: string;
}

export interface FoundPhrase {
  /** From 1. */
  readonly line: number;
  readonly phrase: string;
  readonly better: string;
}

const rules: readonly Rule[] = [
  // `tell apart` is English.
  { pattern: /\b(told|tells?|telling)\b(?![^.:;]{0,80}\bapart\b)/i, better: 'report, say, show, call with' },
  {
    pattern: /[a-z](Tell(er|s|ing)?|Told)(?![a-z])\w*|\b[Tt](ell(er)?|old)[A-Z]\w*|\b[Tt]ellers?\b/,
    better: 'report…, …Reporter',
  },
  // What is left or lags behind is English. `behind_end` is a name in JSON, which stays.
  {
    pattern: /(?<!\b(left|leaves?|leaving|fall(s|ing)?|fell|lag(s|ging)?)( \S+){0,6} )(?<!look)behind(?![a-z_])/i,
    better: 'after, following, past the end of',
  },
  { pattern: /[Bb]ehind[A-Z]/, better: 'after…' },
  { pattern: /\bwho(so)?ever\b/i, better: 'the caller, a caller that, anyone who' },
  {
    pattern: /\bnobody\b(?!['"]| inspects the spammish| else')/i,
    better: 'the passive with not (`is not used`), nothing, no one',
  },
  { pattern: /\bmend(s|ed|ing)?\b/i, better: 'repair, fix' },
  { pattern: /\bon wish\b/i, better: 'optionally, on request' },
  { pattern: /\bsuffic(e|es|ed|ing)\b/i, better: 'be enough, fit' },
  { pattern: /\b(is|are|was|were|be) (not )?minded\b/i, better: 'does not matter, is accepted' },
  {
    pattern:
      /\b(?<!\bthere )(is|are|was|were|been) no (?!longer\b|more\b|less\b|better\b|worse\b|fewer\b|\w+er than\b)\w+/i,
    better: '`is not a …`',
  },
  { pattern: /\b(that|which|what) (is|are|was|were) none\b/i, better: '`that is not one`' },
  { pattern: /\bhow (many|much) it (is|are|was|were)\b/i, better: 'how many' },
  { pattern: /\bno such one\b/i, better: '`is not one of them`' },
  { pattern: /\bcomes? round\b/i, better: 'wrap around, begin again' },
  { pattern: /\bthousand million\b/i, better: 'billion' },
  { pattern: /\bsuffered\b/i, better: 'is damaged' },
  { pattern: /\b(can|could|to|may|might) be had\b/i, better: 'is available, can be read, can be recovered' },
  { pattern: /\bis refused always\b/i, better: 'is always refused' },
  { pattern: /(\/\/|\*) (As )?(of|in|from|for|until|since) \d+\.\d+\./i, better: 'a whole sentence' },
];

/** White space, or the end of a line of a comment and the beginning of the next. */
const gap = '(?:[ \\t]*\\n[ \\t]*(?:\\/\\/|\\*|#)?)?[ \\t]*(?<=\\s)';

const compiled = rules.map(({ pattern, better }) => ({
  pattern: new RegExp(pattern.source.replaceAll(' ', gap), `g${pattern.flags}`),
  better,
}));

/** The phrases of a text, in the order of its lines. */
export function foundPhrases(text: string): readonly FoundPhrase[] {
  const found: FoundPhrase[] = [];
  for (const { pattern, better } of compiled) {
    for (const match of text.matchAll(pattern)) {
      const line = text.slice(0, match.index).split('\n').length;
      found.push({ line, phrase: match[0].replace(/\s*\n\s*(\/\/|\*|#)?\s*/g, ' '), better });
    }
  }
  return found.sort((a, b) => a.line - b.line);
}
