// shell: the commands that look at files and change them, one after the other on one filesystem, with a directory that paths begin in. What a
// command does is the program's own command of that name, which is found by its words and given the filesystem's word; nothing of it is written
// again here. So each change is one commit, and everything is read anew for each command.

import { readFileSync } from 'node:fs';
import {
  atOption,
  type Command,
  type Context,
  type Delivery,
  defineCommand,
  describeError,
  EXIT,
  filesystemWord,
  locate,
  lookUp,
  type OpenedTree,
  openTree,
  type ParsedArgs,
  type PositionalSpec,
  type Program,
  parseArguments,
  type TreeArgs,
  treeOptions,
  usageLine,
} from '@bcachefs-ts/command';
import {
  DeviceError,
  FileError,
  type FileTree,
  fileTypes,
  isDirectory,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { passphraseOnce } from '../passphrase-once.ts';
import { pathFrom, shellWords, typedAs } from './words.ts';

interface Row {
  /** The words of the program's command. */
  readonly words: readonly string[];
  readonly does: string;
  readonly writes?: true;
  /** The path that is meant where none is given: the directory that paths begin in. */
  readonly defaultsToHere?: true;
  /** One word alone is a source: it is copied to where commands are run, or to the directory that paths begin in. */
  readonly copies?: true;
}

const rows: Readonly<Record<string, Row>> = {
  ls: { words: ['ls'], does: 'list files', defaultsToHere: true },
  tree: { words: ['tree'], does: 'draw the tree of files', defaultsToHere: true },
  stat: { words: ['stat'], does: 'show what is known about files' },
  cat: { words: ['cat'], does: 'write files to standard output' },
  get: { words: ['get'], does: 'copy files to the host, here unless the last word says where', copies: true },
  du: { words: ['du'], does: 'say what files take', defaultsToHere: true },
  locate: { words: ['locate'], does: 'say where on the devices files are' },
  explain: { words: ['explain'], does: 'say what lies at a byte of a device' },
  put: { words: ['put'], does: 'copy files of the host here, or to the last word', copies: true, writes: true },
  mkdir: { words: ['mkdir'], does: 'make directories', writes: true },
  mv: { words: ['mv'], does: 'rename or move files', writes: true },
  rm: { words: ['rm'], does: 'remove files', writes: true },
};

const HELP = [
  'cd [DIR]     begin paths in another directory, or in the root',
  'pwd          say in which',
  ...Object.entries(rows).map(([name, { does, writes }]) => `${name.padEnd(12)} ${does}${writes ? ' (with -w)' : ''}`),
  'help [NAME]  this list, or what a command takes',
  'quit         end',
].join('\n');

const QUIT: readonly string[] = ['quit', 'exit', 'q'];

const shellOptions = {
  request: { type: 'string', alias: 'R', value: 'LINE', repeat: true, help: 'run this line' },
  script: {
    type: 'string',
    alias: 'f',
    value: 'FILE',
    file: true,
    conflictsWith: ['request'],
    help: 'run the lines of this file, - for standard input',
  },
  write: {
    type: 'flag',
    alias: 'w',
    conflictsWith: ['subvolume', 'snapshot', 'at'],
    help: 'let commands change the filesystem',
  },
  ...treeOptions,
  ...atOption,
} as const;

interface ShellArgs extends TreeArgs {
  readonly request: readonly string[];
  readonly script: string | undefined;
  readonly write: boolean;
}

/** @param program whose commands are run */
export function shellOf(program: Program): Command {
  const declared = defineCommand({
    name: 'shell',
    summary: 'Look at files and change them, one command after the other',
    description:
      'Runs the lines of -R or of -f, or else those on standard input; the first one that fails ends it, with the exit code of its command. On a ' +
      'terminal it asks for them, with a history and the tab key to complete commands and paths; errors are shown, and Ctrl-D ends it with the exit ' +
      `code of the last command.\n\n${HELP}\n\n` +
      'Words are separated by blanks; quotes and backslashes keep blanks in a word, and # begins a comment. The commands are those of the program, ' +
      'with all of their options, but for the word that names the filesystem.\n\n' +
      'Nothing is written without -w. With it, each command that changes something is one commit.',
    examples: [
      { command: "bcachefs shell -R 'cd etc' -R ls -R 'cat fstab' disk.img", does: 'Runs three commands' },
      {
        command: "bcachefs shell -w -R 'mkdir backup' -R 'mv etc/fstab backup' disk.img",
        does: 'Changes the image, in two commits',
      },
    ],
    positionals: filesystemWord,
    options: shellOptions,
    run: () => ({}),
    text: () => {},
  });
  return {
    ...declared,
    async perform(context, args, delivery) {
      if (context.json) throw new UsageError('has no JSON: run its commands by themselves', '--json');
      // parseArguments built them from the same declarations.
      const session = new Session(program, context, args as unknown as ShellArgs, delivery);
      try {
        return await session.run();
      } finally {
        session.close();
      }
    },
  };
}

/** A filesystem, and the directory that paths begin in. */
class Session {
  readonly #program: Program;
  #args: ShellArgs;
  readonly #delivery: Delivery;
  #context: Context;
  #here = '/';
  /** For `cd` and completion; undefined while a command may change what is there. */
  #opened: OpenedTree | undefined;

  constructor(program: Program, context: Context, args: ShellArgs, delivery: Delivery) {
    this.#program = program;
    this.#context = context;
    this.#args = args;
    this.#delivery = delivery;
  }

  close(): void {
    this.#opened?.close();
    this.#opened = undefined;
  }

  /** @returns the exit code */
  async run(): Promise<number> {
    const { request, script } = this.#args;
    const isScript = request.length > 0 || (script !== undefined && script !== '-');
    const isTyped = !isScript && script === undefined && this.#context.prompt.isAttended;
    if (!isScript && !isTyped) this.#context.prompt.claimInput('the commands');
    const once = await passphraseOnce(this.#context, this.#args);
    this.#context = once.context;
    this.#args = once.args;
    if (isTyped) return await this.#runTyped();
    if (isScript) return await this.#runAll(request.length > 0 ? request : linesOf(script!));
    return await this.#runAll(new TextDecoder().decode(await this.#context.readStdin()).split('\n'));
  }

  async #runAll(lines: readonly string[]): Promise<number> {
    for (const line of lines) {
      const words = shellWords(line);
      if (QUIT.includes(words[0] ?? '')) break;
      const exitCode = await this.#runWords(words);
      if (exitCode !== EXIT.ok) return exitCode;
    }
    return EXIT.ok;
  }

  async #runTyped(): Promise<number> {
    let exitCode: number = EXIT.ok;
    await this.#openedTree();
    for await (const line of this.#context.prompt.typedLines('bcachefs> ', typed => this.#completions(typed))) {
      try {
        const words = shellWords(line);
        if (QUIT.includes(words[0] ?? '')) break;
        exitCode = await this.#runWords(words);
      } catch (thrown) {
        const found = describeError(thrown);
        if (found.kind === 'bug' || found.kind === 'interrupted') throw thrown;
        this.#context.prompt.say(found.message);
        exitCode = found.exitCode;
      }
      // For the next press of the tab key.
      await this.#openedTree();
    }
    return exitCode;
  }

  async #runWords([name, ...rest]: readonly string[]): Promise<number> {
    const { out } = this.#delivery;
    try {
      switch (name) {
        case undefined:
          return EXIT.ok;
        case 'pwd':
          out.line(this.#here);
          return EXIT.ok;
        case 'cd':
          await this.#changeDirectory(rest);
          return EXIT.ok;
        case 'help':
          return await this.#help(rest);
      }
      const row = Object.hasOwn(rows, name) ? rows[name] : undefined;
      if (row === undefined) throw new UsageError(`there is no command '${name.slice(0, 80)}': see help`);
      if (rest.includes('--help')) return await this.#help([name]);
      return await this.#runRow(row, rest);
    } finally {
      // What commands write as bytes goes past `out`.
      out.flush();
    }
  }

  async #runRow(row: Row, words: readonly string[]): Promise<number> {
    if (row.writes) {
      if (!this.#args.write) throw new UsageError(`${row.words.join(' ')} changes the filesystem: that takes shell -w`);
      this.close();
    }
    const { entry } = locate(this.#program, row.words, []);
    const command = await entry.load();
    const args = parseArguments(command, [this.#args.filesystem, ...words], usageLine(row.words.join(' '), command));
    const whole = { ...args, ...this.#placed(command, row, args), ...this.#shared(command) };
    return await command.perform(this.#context, whole, this.#delivery);
  }

  /** The words that are paths in the filesystem, from its root. */
  #placed(command: Command, row: Row, args: ParsedArgs): ParsedArgs {
    const placed: Record<string, unknown> = {};
    for (const [name, spec] of Object.entries(command.positionals)) {
      if (spec.inside === undefined) continue;
      const value = args[name];
      if (typeof value === 'string') placed[name] = pathFrom(this.#here, value);
      else if (value === undefined) placed[name] = row.defaultsToHere ? this.#here : undefined;
      else placed[name] = this.#placedWords(spec, row, value as readonly string[]); // of a positional that is repeated
    }
    return placed;
  }

  #placedWords(
    { inside }: PositionalSpec,
    { copies, defaultsToHere }: Row,
    given: readonly string[],
  ): readonly string[] {
    const words = given.length === 0 && defaultsToHere ? ['.'] : copies && given.length === 1 ? [...given, '.'] : given;
    const isInside = (nr: number) => inside === 'all' || (inside === 'last') === (nr === words.length - 1);
    return words.map((word, nr) => (isInside(nr) ? pathFrom(this.#here, word) : word));
  }

  /** What was said about the filesystem once, as far as a command takes it. */
  #shared({ options }: Command): ParsedArgs {
    const { subvolume, snapshot, at, uuid, degraded, passphrase_file } = this.#args;
    const given = Object.entries({ subvolume, snapshot, at, uuid, degraded, passphrase_file });
    return Object.fromEntries(given.filter(([name]) => Object.hasOwn(options, name)));
  }

  async #changeDirectory(words: readonly string[]): Promise<void> {
    const [word = '/'] = words;
    if (words.length > 1) throw new UsageError('cd [DIR]');
    const path = pathFrom(this.#here, word);
    const { node } = lookUp((await this.#openedTree()).tree, path);
    if (!isDirectory(node.inode)) throw new FileError('ENOTDIR', path);
    this.#here = path;
  }

  async #help(words: readonly string[]): Promise<number> {
    const [name] = words;
    if (name === undefined || !Object.hasOwn(rows, name)) {
      this.#delivery.out.line(HELP);
      return EXIT.ok;
    }
    const { entry, rest } = locate(this.#program, ['help', ...rows[name]!.words], []);
    const help = await entry.load();
    return await help.perform(this.#context, parseArguments(help, rest, usageLine('help', help)), this.#delivery);
  }

  /** The commands that are run say what is wrong with the filesystem; this says nothing of it. */
  async #openedTree(): Promise<OpenedTree> {
    const silent = { ...this.#context, warn: () => {} };
    this.#opened ??= await openTree(silent, this.#args, () => {});
    return this.#opened;
  }

  /** Commands, then paths in the filesystem. */
  #completions(line: string): readonly string[] {
    try {
      const words = shellWords(`${line}|`);
      const last = words.at(-1)!.slice(0, -1);
      if (words.length === 1 || (words.length === 2 && words[0] === 'help')) {
        return [...Object.keys(rows), 'cd', 'pwd', 'help', 'quit'].filter(name => name.startsWith(last)).sort();
      }
      return this.#opened === undefined ? [] : pathsIn(this.#opened.tree, this.#here, last);
    } catch (thrown) {
      // A quote that is still open, or a directory that is not there or is damaged: nothing to offer.
      if (describeError(thrown).kind === 'bug') throw thrown;
      return [];
    }
  }
}

/** Names that begin with a dot only where one was typed. */
function pathsIn(tree: FileTree, here: string, typed: string): readonly string[] {
  const slash = typed.lastIndexOf('/');
  const [folder, begin] = [typed.slice(0, slash + 1), typed.slice(slash + 1)];
  const { node } = lookUp(tree, pathFrom(here, folder));
  const found: string[] = [];
  for (const { name, type } of tree.entries(node)) {
    const text = printableBytes(name);
    if (!text.startsWith(begin) || (text.startsWith('.') && begin === '')) continue;
    found.push(typedAs(`${folder}${text}${isFolder(type) ? '/' : ''}`));
  }
  return found.sort();
}

function isFolder(type: number): boolean {
  const name = fileTypes.byId(type)?.name;
  return name === 'dir' || name === 'subvol';
}

function linesOf(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (cause) {
    throw new DeviceError('io', file, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}
