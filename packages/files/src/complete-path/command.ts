// complete-path: what the scripts of `completions` run when Tab is pressed where a path in a filesystem is typed. The first line says what may
// stand there: `paths` in the filesystem, `files` of the host, or `both`; paths follow, as they can be typed, directories with a slash.
//
// Somebody is waiting at a prompt: nothing is asked for, and reading ends without an answer after DEADLINE_MS.
// Whatever goes wrong is an error like any other; the scripts throw its message away.

import { statSync } from 'node:fs';
import {
  type Command,
  type Context,
  defineStreamCommand,
  lookUp,
  PASSPHRASE_VARIABLE,
  type Program,
  passphraseFor,
  type TypedWord,
  typedWord,
} from '@bcachefs-ts/command';
import {
  type BlockDevice,
  DeviceError,
  DeviceWrapper,
  FileTree,
  filesystemOf,
  isDirectory,
  loadChecksums,
  memberPaths,
  openDevice,
  openMembers,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { typeOf } from '../entry-text.ts';

/** Longer than nearly every directory takes, and not so long that anybody thinks the shell has died. */
const DEADLINE_MS = 2000;

type Item =
  | { readonly kind: 'paths' | 'files' | 'both' }
  /** A path as it can be typed, from the beginning of the word. */
  | { readonly path: string };

/** @param program whose command lines are completed */
export function pathCompletion(program: Program): Command {
  return defineStreamCommand({
    name: 'complete-path',
    summary: 'Complete a path in a filesystem, for the scripts of completions',
    positionals: { words: { count: 'any', bytes: true, help: 'the command line up to the cursor, after --' } },
    options: {},
    takesAnything: true,
    async *run(context: Context, { words }): AsyncGenerator<Item> {
      const line = words[0] === '--' ? words.slice(1) : words;
      const typed = await typedWord(program, line);
      const kind = typed === undefined ? 'files' : placeOf(typed);
      yield { kind };
      if (typed === undefined || kind === 'files') return;
      for (const path of await pathsFor(context, typed, line.at(-1)!)) yield { path };
    },
    text: (item, out) => out.line('kind' in item ? item.kind : item.path),
  });
}

function placeOf({ spec, nr }: TypedWord): 'paths' | 'files' | 'both' {
  switch (spec.inside ?? 'none') {
    case 'none':
      return 'files';
    case 'all':
      return 'paths';
    case 'all_but_last':
      return nr === 0 ? 'paths' : 'both';
    case 'last':
      return nr === 0 ? 'files' : 'both';
  }
}

/** When reading ends; unset until it has begun. */
interface Deadline {
  endMs: number | undefined;
}

/** Reading is refused once the time is over. */
class DeadlineDevice extends DeviceWrapper {
  readonly #deadline: Deadline;

  constructor(inner: BlockDevice, deadline: Deadline) {
    super(inner);
    this.#deadline = deadline;
  }

  override read(offset: number, into: Uint8Array): void {
    this.#deadline.endMs ??= performance.now() + DEADLINE_MS;
    if (performance.now() > this.#deadline.endMs)
      throw new DeviceError('io', this.name, 'takes too long to complete a path');
    super.read(offset, into);
  }
}

async function pathsFor(context: Context, { command, args }: TypedWord, typed: string): Promise<string[]> {
  const word = args[Object.keys(command.positionals)[0]!];
  if (typeof word !== 'string') return [];
  const deadline: Deadline = { endMs: undefined };
  await loadChecksums();
  const devices: BlockDevice[] = [];
  try {
    for (const path of memberPaths([word])) {
      devices.push(new DeadlineDevice(openDevice(path, { write: false }), deadline));
    }
    const set = openMembers(devices);
    // To derive a key takes a second by itself, which is not counted.
    deadline.endMs = undefined;
    const passphrase = await knownPassphrase(context, args.passphrase_file);
    const filesystem = filesystemOf(set, { degraded: true, passphrase });
    const tree = FileTree.open(filesystem, {
      subvolume: asSubvolume(args.subvolume),
      snapshot: typeof args.snapshot === 'number' ? args.snapshot : undefined,
      // What is lost is not offered.
      onDamage: () => {},
    });
    return matches(tree, typed);
  } finally {
    for (const device of devices) device.close();
  }
}

const asSubvolume = (value: unknown): number | string | undefined =>
  typeof value === 'number' || typeof value === 'string' ? value : undefined;

/** A passphrase that is there without asking or waiting: a pipe might never say anything. */
async function knownPassphrase(context: Context, file: unknown): Promise<Uint8Array | undefined> {
  if (typeof file === 'string' && file !== '-') {
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) throw new UsageError(`${file} is not a file`);
    return await passphraseFor(context, file);
  }
  const isSet = (context.env[PASSPHRASE_VARIABLE] ?? '') !== '';
  return isSet ? await passphraseFor(context, undefined) : undefined;
}

/** Names in the directory that the word is in; those that begin with a dot only where one was typed. */
function matches(tree: FileTree, typed: string): string[] {
  const slash = typed.lastIndexOf('/');
  const [folder, begin] = [typed.slice(0, slash + 1), typed.slice(slash + 1)];
  const { node } = lookUp(tree, folder === '' ? '/' : folder);
  if (!isDirectory(node.inode)) return [];
  const found: string[] = [];
  for (const { name, type } of tree.entries(node)) {
    const text = printableBytes(name);
    if (!text.startsWith(begin) || (text.startsWith('.') && begin === '')) continue;
    const isFolder = typeOf(type) === 'dir' || typeOf(type) === 'subvol';
    found.push(`${folder}${text}${isFolder ? '/' : ''}`);
  }
  return found.sort();
}
