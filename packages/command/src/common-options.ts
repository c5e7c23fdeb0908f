// The options that every command has.

import type { ColorChoice } from './color.ts';
import type { OptionSpecs } from './option.ts';

export type ProgressChoice = 'auto' | 'json' | 'never';

export interface CommonArgs {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: ColorChoice;
  readonly progress: ProgressChoice;
}

const heading = 'Common options';

export const commonOptions = {
  json: { type: 'flag', help: 'print one JSON document, and errors as JSON', heading },
  quiet: { type: 'flag', alias: 'q', help: 'print errors only', heading },
  color: { type: 'choice', choices: ['auto', 'always', 'never'], default: 'auto', help: 'colour the text', heading },
  progress: {
    type: 'choice',
    choices: ['auto', 'json', 'never'],
    default: 'auto',
    help: 'report progress on stderr: on a terminal, or as JSON events',
    heading,
  },
  help: { type: 'flag', alias: 'h', help: 'show this help', heading },
} as const satisfies OptionSpecs;
