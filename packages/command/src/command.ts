// What a command is: one value that says its name, its arguments, what it does and how the result is shown. The runner,
// help, completions, the documentation and the tests all read this value; nothing about a command is written twice.
//
// `run` computes and changes; `text` and `json` are two renderings of what it returned.

import type { Context } from './context.ts';
import { EXIT, type ExitCodeRow } from './exit-codes.ts';
import { jsonDocument, jsonLine, schemaName } from './json.ts';
import type { Args, OptionSpecs, ParsedArgs, PositionalSpecs } from './option.ts';
import type { Out } from './out.ts';

export interface Example {
  readonly command: string;
  /** What it does, as a sentence without a full stop. */
  readonly does: string;
}

/** What is said about a command: everything but what it does. */
export interface CommandDeclaration {
  /** One word, as typed after `bcachefs` (or after its group's name). */
  readonly name: string;
  /** One line for the list of commands, without a full stop. */
  readonly summary: string;
  /** Paragraphs for `--help`, separated by empty lines. */
  readonly description?: string;
  readonly examples?: readonly Example[];
  readonly positionals: PositionalSpecs;
  readonly options: OptionSpecs;
  /** Where the command has exit codes of its own, instead of the common table. */
  readonly exitCodes?: readonly ExitCodeRow[];
  /** The exit code for an error, where the common table's isn't meant. */
  exitCodeOf?(error: unknown): number | undefined;
  /** Version of the JSON schema: one more for each change that could break a reader. Starts at 1. */
  readonly schemaVersion?: number;
  /** Takes any words and options without looking at them (they arrive as `args.words`). */
  readonly takesAnything?: true;
}

interface CommandSpec<P extends PositionalSpecs, O extends OptionSpecs, Result> extends CommandDeclaration {
  readonly positionals: P;
  readonly options: O;
  run(context: Context, args: Args<P, O>): Result | Promise<Result>;
  /** Prints the result for people; left out with --quiet. */
  text(result: NoInfer<Result>, out: Out): void | Promise<void>;
  /** The result as a JSON object, without `schema` and `version`; the result itself when absent. */
  json?(result: NoInfer<Result>): object;
  /** The exit code for a result that isn't a plain success. */
  exitCode?(result: NoInfer<Result>): number;
}

interface StreamCommandSpec<P extends PositionalSpecs, O extends OptionSpecs, Item> extends CommandDeclaration {
  readonly positionals: P;
  readonly options: O;
  /** Yields what is printed, one thing at a time. */
  run(context: Context, args: Args<P, O>): Iterable<Item> | AsyncIterable<Item>;
  text(item: NoInfer<Item>, out: Out): void | Promise<void>;
  json?(item: NoInfer<Item>): object;
  /** Somebody waits for what is printed: it goes out at once, not in pieces of 64 KiB. */
  readonly live?: boolean;
  /** The exit code, by the last thing that was printed. */
  exitCode?(last: NoInfer<Item>): number;
}

/** Where a command's result goes and in which shape. */
export interface Delivery {
  readonly out: Out;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** A command, whatever its arguments and its result. */
export interface Command extends CommandDeclaration {
  /** The JSON it prints is one object a line, after a line with `schema` and `version`. */
  readonly stream: boolean;
  /** Runs, prints, and returns the exit code. */
  perform(context: Context, args: ParsedArgs, delivery: Delivery): Promise<number>;
}

export function defineCommand<const P extends PositionalSpecs, const O extends OptionSpecs, Result extends object>(
  spec: CommandSpec<P, O, Result>,
): Command {
  return {
    ...spec,
    stream: false,
    async perform(context, args, { out, json, quiet }) {
      const result = await spec.run(context, args as Args<P, O>); // parseArguments built it from the same declarations.
      context.progress.end();
      if (json) out.write(jsonDocument(context.command, spec.schemaVersion ?? 1, spec.json?.(result) ?? result));
      else if (!quiet) await spec.text(result, out);
      return spec.exitCode?.(result) ?? EXIT.ok;
    },
  };
}

/** A command that prints as it goes: `list`, `list_journal`. */
export function defineStreamCommand<const P extends PositionalSpecs, const O extends OptionSpecs, Item extends object>(
  spec: StreamCommandSpec<P, O, Item>,
): Command {
  return {
    ...spec,
    stream: true,
    async perform(context, args, { out, json, quiet }) {
      if (json) out.write(jsonLine({ schema: schemaName(context.command), version: spec.schemaVersion ?? 1 }));
      const items = spec.run(context, args as Args<P, O>);
      let exitCode: number = EXIT.ok;
      const print = (item: Item): void | Promise<void> => {
        exitCode = spec.exitCode?.(item) ?? EXIT.ok;
        if (json) out.write(jsonLine(spec.json?.(item) ?? item));
        else if (!quiet) return spec.text(item, out);
      };
      if (Symbol.iterator in items) {
        for (const item of items) {
          const printing = print(item);
          if (printing !== undefined) await printing; // Awaiting every item would cost more than printing it.
        }
      } else {
        for await (const item of items) {
          await print(item);
          if (spec.live) out.flush();
        }
      }
      context.progress.end();
      return exitCode;
    },
  };
}
