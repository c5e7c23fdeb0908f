// Where the commands of a program come from: the doors of the packages, each opened when its command is run. In a bundle the file that has the
// command is loaded instead of its door (scripts/direct-imports.ts).

import type { Command, Program } from '@bcachefs-ts/command';

/** What a row of the list needs to load a command; its name stays in the type, so that the list can be compared with the doors. */
interface Loaded<Name extends string> {
  /** What the package exports it as. */
  readonly command: Name;
  load(): Promise<Command>;
}

export function from<Name extends string, Door extends { readonly [N in Name]: Command }>(
  door: () => Promise<Door>,
  command: Name,
): Loaded<Name> {
  return { command, load: async () => (await door())[command] };
}

/** The same of a command about the program's own command lines. */
export function fromProgram<Name extends string, Door extends { readonly [N in Name]: (program: Program) => Command }>(
  door: () => Promise<Door>,
  maker: Name,
  program: () => Program,
): { load(): Promise<Command> } {
  return { load: async () => (await door())[maker](program()) };
}

/** Names of commands at the door of a package. */
type CommandsAt<Door> = Extract<keyof Door, `${string}Command`>;

/** Every command that there is. A package of commands that is not named here is found by scripts/check-imports.ts. */
type Known =
  | CommandsAt<typeof import('@bcachefs-ts/device')>
  | CommandsAt<typeof import('@bcachefs-ts/dump')>
  | CommandsAt<typeof import('@bcachefs-ts/explore')>
  | CommandsAt<typeof import('@bcachefs-ts/files')>
  | CommandsAt<typeof import('@bcachefs-ts/format')>
  | CommandsAt<typeof import('@bcachefs-ts/fsck')>
  | CommandsAt<typeof import('@bcachefs-ts/inspect')>
  | CommandsAt<typeof import('@bcachefs-ts/migrate')>
  | CommandsAt<typeof import('@bcachefs-ts/show-super')>
  | CommandsAt<typeof import('@bcachefs-ts/viewer')>;

/** Names in rows, and in the rows of groups. */
type CommandsIn<Row> = Row extends { readonly command: infer Name }
  ? Name
  : Row extends { readonly commands: readonly (infer Inner)[] }
    ? CommandsIn<Inner>
    : never;

/** Commands that packages have and a list does not. */
export type Forgotten<List extends readonly unknown[]> = Exclude<Known, CommandsIn<List[number]>>;
