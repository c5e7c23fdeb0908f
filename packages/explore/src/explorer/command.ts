// explore: a person looks around in a filesystem, on a terminal. Two processes: this one has the filesystem and reads, the other one has the screen
// and the keys, so that it answers while this one reads. docs/adr/0043.

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  type Command,
  type Context,
  type Delivery,
  defineCommand,
  EXIT,
  filesystemWord,
  openTree,
  PASSPHRASE_VARIABLE,
  type Program,
  runCli,
  type TreeArgs,
  treeOptions,
} from '@bcachefs-ts/command';
import { type Damage, printable, UsageError } from '@bcachefs-ts/core/engine';
import { passphraseOnce } from '../passphrase-once.ts';
import { Lists, type ShownFile } from './lists.ts';
import type { Request } from './messages.ts';
import { Reader } from './reader.ts';

/** @param program whose commands explain bytes and copy files */
export function exploreOf(program: Program): Command {
  const declared = defineCommand({
    name: 'explore',
    summary: 'Look around in a filesystem, on a terminal',
    description:
      'Shows files, subvolumes and snapshots, btrees with their nodes and keys, buckets, the journal and the superblock, each in a pane of its ' +
      'own: a list, and beside it what the chosen row is. Arrow keys or those of vi move, Enter opens, Tab or 1 to 6 chooses a pane, / searches, ' +
      'o shows a file in $PAGER, c copies it to the host, ? is the help, and q ends.\n\n' +
      'Works on 80 columns and 24 lines, with colours or without (NO_COLOR). Nothing is written to the filesystem.',
    examples: [
      { command: 'bcachefs explore disk.img', does: 'Looks around in an image' },
      { command: 'bcachefs explore --subvolume=1 sda:sdb', does: 'Begins with the files of a subvolume' },
    ],
    positionals: filesystemWord,
    options: treeOptions,
    run: () => ({}),
    text: () => {},
  });
  return {
    ...declared,
    async perform(context, args, delivery) {
      if (context.json) throw new UsageError('has no JSON: it is for a person at a terminal', '--json');
      if (!context.prompt.isAttended || !delivery.out.isTerminal) {
        throw new UsageError('needs a terminal: ls, list, map and show-super print the same things');
      }
      // parseArguments built them from the same declarations.
      return await explore(program, context, args as unknown as TreeArgs, delivery);
    },
  };
}

async function explore(program: Program, first: Context, given: TreeArgs, { out }: Delivery): Promise<number> {
  const { context, args } = await passphraseOnce(first, given);
  let screen: ChildProcess | undefined;
  const onDamage = ({ message }: Damage) => {
    // Before there is a screen, what is lost stands on the terminal, and is there again at the end.
    if (screen === undefined) context.warn(message);
    else if (screen.connected) screen.send({ id: 0, kind: 'said', message: printable(message) });
  };
  const opened = await openTree(context, args, onDamage, true);
  const hasColor = out.color.halves !== undefined;
  const env = Object.fromEntries(Object.entries(context.env).filter(([, value]) => value !== undefined));
  const run = (words: readonly string[]) =>
    runCli(program, words, {
      env: env as Record<string, string>,
      date: () => context.date(),
      now: () => performance.now(),
    });
  const shared = [
    ...(args.uuid === undefined ? [] : [`--uuid=${args.uuid}`]),
    ...(args.degraded ? ['--degraded'] : []),
    ...(args.passphrase_file === undefined ? [] : [`--passphrase_file=${args.passphrase_file}`]),
  ];
  const runOnFile = (name: string, { subvolume, snapshot }: ShownFile, words: readonly string[]) => {
    const view = subvolume === 0 ? `--snapshot=${snapshot}` : `--subvolume=${subvolume}`;
    return run([name, ...shared, view, '--', args.filesystem, ...words]);
  };
  const explain = async (device: number, offset: number) => {
    const { stdout, stderr } = await run([
      'explain',
      ...shared,
      `--device=${device}`,
      '--',
      args.filesystem,
      `${offset}`,
    ]);
    return stdout + stderr;
  };
  const lists = new Lists({ ...opened, onDamage, hasColor, explain });
  const reader = new Reader(lists, runOnFile, answer => screen?.connected && screen.send(answer));
  const endInterrupt = context.onInterrupt(() => reader.close());
  try {
    // The passphrase is for commands that run here.
    const screenEnv = { ...env, FORCE_COLOR: hasColor ? '2' : '0' };
    Reflect.deleteProperty(screenEnv, PASSPHRASE_VARIABLE);
    screen = fork(screenModule(), [], { env: screenEnv, stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
    return await untilOver(screen, reader);
  } finally {
    endInterrupt();
    reader.close();
    opened.close();
  }
}

/** What the reader throws is thrown when the screen has given the terminal back. */
function untilOver(screen: ChildProcess, reader: Reader): Promise<number> {
  return new Promise((resolve, reject) => {
    let failure: { readonly thrown: unknown } | undefined;
    screen.on('message', (request: Request) => {
      reader.ask(request).catch((thrown: unknown) => {
        failure ??= { thrown };
        if (screen.connected) screen.disconnect();
      });
    });
    screen.on('error', reject);
    screen.on('exit', code => {
      if (failure !== undefined) reject(failure.thrown);
      else resolve(code === 0 ? EXIT.ok : EXIT.failed);
    });
  });
}

/** Beside this file, or beside the bundle that this is in. */
function screenModule(): string {
  const name = `./explorer-screen.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
  return fileURLToPath(new URL(name, import.meta.url));
}
