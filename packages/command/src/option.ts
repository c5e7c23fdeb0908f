// What an option and a positional argument are: plain declarations, and the types of the values that they give.
// Parsing, help, completions, markdown and the JSON command tree all come from these.
//
// Long names are written with underscores, as in the reference; the parser takes dashes as well.

interface CommonOption {
  /** A phrase without a full stop; the default and the choices are added by themselves. */
  readonly help: string;
  /** A single letter: `-f`. */
  readonly alias?: string;
  /** The heading that it is listed under in help; "Options" when absent. */
  readonly heading?: string;
  /** Works, but is left out of help and completions. */
  readonly hidden?: boolean;
  /** Options (by their long names) that cannot be given together with this one. */
  readonly conflictsWith?: readonly string[];
  /** Options (by their long names) that must be given as well. */
  readonly needs?: readonly string[];
  /**
   * The repeated positional that this option describes. It then applies to the ones that come after it on the command
   * line, and its value arrives beside each of them: `--label=ssd dev0 dev1 --label=hdd dev2`.
   */
  readonly each?: string;
}

/** `--force`: present or not. */
export interface FlagOption extends CommonOption {
  readonly type: 'flag';
}

/** `--acl`, `--acl=no`, `--no_acl`: yes, no, or not said. */
export interface BooleanOption extends CommonOption {
  readonly type: 'boolean';
  readonly default?: boolean;
}

interface ValueOption extends CommonOption {
  /** What help shows for the value: `SIZE`, `NAME`. */
  readonly value?: string;
  /** The value of the option when none is joined to it (`--sanitize`, `-s`): the next word is then never its value. */
  readonly bare?: string;
  /** May be given several times; the values arrive as a list. */
  readonly repeat?: true;
  readonly required?: true;
}

export interface StringOption extends ValueOption {
  readonly type: 'string';
  readonly default?: string;
  /** Reads the text into the value that the command wants. @throws UsageError saying what was expected */
  readonly parse?: (text: string) => unknown;
  /** Values to offer in completions. */
  readonly hints?: readonly string[];
  /** The value is the path of a file. */
  readonly file?: boolean;
}

/** A whole number. */
export interface NumberOption extends ValueOption {
  readonly type: 'number';
  readonly default?: number;
  readonly min?: number;
  readonly max?: number;
}

/** Bytes, written as people do: `64k`, `1.5G`. */
export interface SizeOption extends ValueOption {
  readonly type: 'size';
  readonly default?: number;
  readonly parse?: (text: string) => number;
}

export interface ChoiceOption extends ValueOption {
  readonly type: 'choice';
  readonly choices: readonly string[];
  readonly default?: string;
}

export type OptionSpec = FlagOption | BooleanOption | StringOption | NumberOption | SizeOption | ChoiceOption;
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

export interface PositionalSpec {
  readonly help: string;
  /** one: required; optional: none or one; some: one or more; any: none or more. The last two come last. */
  readonly count: 'one' | 'optional' | 'some' | 'any';
  /** How a usage line shows it, where its name and count do not say enough: `<src>... <path>`. */
  readonly usage?: string;
  readonly choices?: readonly string[];
  /** Paths are completed by the shell. */
  readonly file?: boolean;
  /**
   * Its words are paths in the filesystem that the command's first word names, and are completed from it: all of them, all but the last one,
   * which is of the host, or the last one only.
   */
  readonly inside?: 'all' | 'all_but_last' | 'last';
  /** Its words may have bytes that are not UTF-8, which the command takes with bytesOfWord; elsewhere they are refused. */
  readonly bytes?: boolean;
}
export type PositionalSpecs = Readonly<Record<string, PositionalSpec>>;

/** The type of one given value. */
type Single<O> = O extends { type: 'flag' | 'boolean' }
  ? boolean
  : O extends { parse: (text: string) => infer T }
    ? T
    : O extends { type: 'choice'; choices: readonly (infer C)[] }
      ? C
      : O extends { type: 'number' | 'size' }
        ? number
        : string;

/** The type under which an option arrives at its command: undefined where it may be missing. */
export type OptionValue<O> = O extends { type: 'flag' }
  ? boolean
  : O extends { repeat: true }
    ? readonly Single<O>[]
    : O extends { required: true } | { default: string | number | boolean }
      ? Single<O>
      : Single<O> | undefined;

type Word<P> = P extends { choices: readonly (infer C)[] } ? C : string;

/** One of a repeated positional, together with the options in force where it stands. */
export interface WithOptions<Word, Options> {
  readonly word: Word;
  readonly options: Options;
  /** Which of them stand between this word and the one before: the others were given for an earlier one as well. */
  readonly own: ReadonlySet<string>;
}

type EachOptions<O, Name> = { readonly [K in keyof O as O[K] extends { each: Name } ? K : never]: OptionValue<O[K]> };
type Item<P, O, Name> = keyof EachOptions<O, Name> extends never ? Word<P> : WithOptions<Word<P>, EachOptions<O, Name>>;

export type PositionalValue<P, O, Name> = P extends { count: 'one' }
  ? Word<P>
  : P extends { count: 'optional' }
    ? Word<P> | undefined
    : readonly Item<P, O, Name>[];

/** What a command's `run` gets: positionals and options side by side, under their declared names. */
export type Args<P, O> = { readonly [K in keyof P]: PositionalValue<P[K], O, K> } & {
  readonly [K in keyof O as O[K] extends { each: string } ? never : K]: OptionValue<O[K]>;
};

export type ValuedOption = StringOption | NumberOption | SizeOption | ChoiceOption;

/** Whether the option is followed by a value. */
export function takesValue(option: OptionSpec): option is ValuedOption {
  return option.type !== 'flag' && option.type !== 'boolean';
}

/** What help shows in the place of the value. */
export function valueName(option: OptionSpec): string {
  if (!takesValue(option)) return '';
  if (option.value !== undefined) return option.value;
  if (option.type === 'choice') return option.choices.join('|').length <= 24 ? option.choices.join('|') : 'NAME';
  return { string: 'TEXT', number: 'N', size: 'SIZE' }[option.type];
}

/** Declared names to values. Its type is regained in `defineCommand`, from the same declarations. */
export type ParsedArgs = Readonly<Record<string, unknown>>;
