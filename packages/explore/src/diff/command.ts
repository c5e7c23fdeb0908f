// diff: what differs between the files of two filesystems, or of two snapshots of one.

import { existsSync } from 'node:fs';
import {
  bytesFields,
  type Context,
  DamageLog,
  defineStreamCommand,
  EXIT,
  filesystemOptions,
  filesystemPositional,
  lookUp,
  type Out,
  openTree,
  parseMoment,
  type TreeArgs,
} from '@bcachefs-ts/command';
import { pathText, printable, superblockJson, UsageError } from '@bcachefs-ts/core/engine';
import { type Change, compareTrees, type Difference } from './compare.ts';
import { superblockChanges } from './superblock.ts';

type Item =
  | Difference
  | { readonly kind: 'superblock'; readonly changes: readonly Change[] }
  | {
      readonly kind: 'summary';
      readonly compared: number;
      readonly changed: number;
      readonly onlyFirst: number;
      readonly onlySecond: number;
      readonly losses: number;
    };

export const diffCommand = defineStreamCommand({
  name: 'diff',
  summary: 'Say what differs between two filesystems, or two snapshots of one',
  description:
    'Compares files by name: types, modes, owners, times of change, sizes, targets of links, extended attributes, options, and contents byte by ' +
    'byte. What is on one side only is printed once, as - for the first and + for the second, and not again for all that is below it; ~ is ' +
    'what is on both and differs.\n\n' +
    'FS@ID or FS@PATH means a subvolume or snapshot: its number, or the path of its root from the root of the filesystem. FS@snapshot:ID is ' +
    'a node of the tree of snapshots; FS@at:SEQ the root after an earlier entry of the journal (see journal_rewind_info), FS@at:TIME at that ' +
    'time. Without one the root is compared. Of two snapshots of one filesystem, files that share their extents ' +
    'are not read.\n\n' +
    '--json prints one object a line, and the counts last; see docs/json/diff.md.',
  examples: [
    { command: 'bcachefs diff disk.img disk.img@snapshots/monday || true', does: 'Says what changed since Monday' },
    {
      command: 'bcachefs diff -q a.img:b.img sda.img:sdb.img || true',
      does: 'Says with its exit code whether the files are equal',
    },
    {
      command: 'bcachefs diff --superblock --no_times disk.img empty.img etc || true',
      does: 'Compares a directory without its times, and the superblocks',
    },
  ],
  positionals: {
    first: { ...filesystemPositional, usage: '<fs[@snapshot]>' },
    second: { ...filesystemPositional, usage: '<fs[@snapshot]>' },
    path: { count: 'optional', bytes: true, help: 'where to begin in both; their roots' },
  },
  options: {
    times: { type: 'boolean', default: true, help: 'compare times of change' },
    contents: { type: 'boolean', default: true, help: 'compare contents of files, which have to be read for it' },
    superblock: { type: 'flag', help: 'compare superblocks too' },
    degraded: filesystemOptions.degraded,
    passphrase_file: filesystemOptions.passphrase_file,
  },
  exitCodes: [
    { code: EXIT.ok, means: 'no differences' },
    { code: EXIT.failed, means: 'there are differences' },
    { code: EXIT.usage, means: 'the command line is wrong, or there is no such file, subvolume or snapshot' },
    { code: EXIT.corrupt, means: 'not everything could be read: what was read may differ or not' },
    { code: EXIT.incompatible, means: 'a valid filesystem that this version cannot handle as asked' },
    { code: EXIT.device, means: 'a device or file is missing, or failed' },
  ],
  async *run(context: Context, args): AsyncGenerator<Item> {
    const { first: firstWord, second: secondWord, path: typed = '/', times, contents, superblock, ...others } = args;
    const log = new DamageLog(context);
    const open = (word: string) => openTree(context, { ...others, ...viewOf(word) }, log.onDamage, true);
    const first = await open(firstWord);
    try {
      const second = await open(secondWord);
      try {
        const task = context.progress.start({ what: 'comparing', unit: 'files' });
        const counts = { compared: 0, changed: 0, onlyFirst: 0, onlySecond: 0 };
        if (superblock) {
          const [a, b] = [superblockJson(first.filesystem.sb), superblockJson(second.filesystem.sb)];
          const changes = superblockChanges(a, b);
          if (changes.length > 0) {
            counts.changed++;
            yield { kind: 'superblock', changes };
          }
        }
        const [a, b] = [lookUp(first.tree, typed), lookUp(second.tree, typed)];
        const [one, other] = [first.filesystem.set, second.filesystem.set];
        const options = {
          times,
          contents,
          isSameFilesystem: one.members.every(({ device }, nr) => device.name === other.members[nr]?.device.name),
          step: () => {
            counts.compared++;
            task.advance(1);
          },
          onDamage: log.onDamage,
        };
        for (const found of compareTrees(first, second, { first: a.node, second: b.node, path: a.path }, options)) {
          if (found.kind === 'changed') counts.changed++;
          else if (found.kind === 'only') counts[found.side === 'first' ? 'onlyFirst' : 'onlySecond']++;
          yield found;
        }
        log.finish();
        yield { kind: 'summary', ...counts, losses: log.count };
      } finally {
        second.close();
      }
    } finally {
      first.close();
    }
  },
  text: printItem,
  json: itemJson,
  exitCode(last) {
    if (last.kind !== 'summary') return EXIT.ok;
    if (last.losses > 0) return EXIT.corrupt;
    return last.changed + last.onlyFirst + last.onlySecond > 0 ? EXIT.failed : EXIT.ok;
  },
});

/** The last `@` divides that has files before it: names of files and of snapshots may have some too. */
function viewOf(word: string): Pick<TreeArgs, 'filesystem' | 'subvolume' | 'snapshot' | 'at'> {
  const areThere = (paths: string) => paths.split(':').every(path => existsSync(path));
  let at = word.length;
  while (at > 0 && !areThere(word.slice(0, at))) at = word.lastIndexOf('@', at - 1);
  if (at <= 0 || at === word.length) return { filesystem: word, subvolume: undefined, snapshot: undefined };
  const [filesystem, view] = [word.slice(0, at), word.slice(at + 1)];
  if (view === '') throw new UsageError(`${printable(word)}: found nothing after @, expected a number or a path`);
  const moment = /^at:(.*)$/s.exec(view)?.[1];
  if (moment !== undefined) return { filesystem, subvolume: undefined, snapshot: undefined, at: parseMoment(moment) };
  const node = /^snapshot:(\d{1,10})$/.exec(view)?.[1];
  if (node !== undefined) return { filesystem, subvolume: undefined, snapshot: Number(node) };
  return { filesystem, subvolume: /^\d{1,10}$/.test(view) ? Number(view) : view, snapshot: undefined };
}

function printItem(item: Item, out: Out): void {
  const { color } = out;
  switch (item.kind) {
    case 'only': {
      const mark = item.side === 'first' ? color.red('-') : color.green('+');
      out.line(`${mark} ${pathText(item.path)}${item.type === 'dir' || item.type === 'subvol' ? '/' : ''}`);
      return;
    }
    case 'changed':
      out.line(`${color.yellow('~')} ${pathText(item.path)}: ${item.changes.map(changeText).join(', ')}`);
      return;
    case 'superblock':
      for (const change of item.changes) out.line(`${color.yellow('~')} superblock: ${changeText(change)}`);
      return;
    case 'lost':
      out.line(`${color.red('?')} ${pathText(item.path)}`);
      return;
    case 'summary': {
      const { compared, changed, onlyFirst, onlySecond, losses } = item;
      if (changed + onlyFirst + onlySecond + losses === 0) return;
      const counts = [`${changed} changed`, `${onlyFirst} only in the first`, `${onlySecond} only in the second`];
      if (losses > 0) counts.push(`${losses} ${losses === 1 ? 'loss' : 'losses'}`);
      out.line(color.dim(`${counts.join(', ')}; ${compared} compared`));
    }
  }
}

function changeText({ what, first, second }: Change): string {
  if (what === 'contents') return `contents from ${first}`;
  return `${printable(what)} ${printable(first ?? 'none')} → ${printable(second ?? 'none')}`;
}

function itemJson(item: Item): object {
  const changesJson = (changes: readonly Change[]) =>
    changes.map(({ what, first, second }) => ({ what, first: first ?? null, second: second ?? null }));
  switch (item.kind) {
    case 'only':
      return { kind: 'only', side: item.side, ...bytesFields('path', item.path), type: item.type };
    case 'changed':
      return { kind: 'changed', ...bytesFields('path', item.path), changes: changesJson(item.changes) };
    case 'superblock':
      return { kind: 'superblock', changes: changesJson(item.changes) };
    case 'lost':
      return { kind: 'lost', ...bytesFields('path', item.path) };
    case 'summary': {
      const { compared, changed, onlyFirst, onlySecond, losses } = item;
      return { kind: 'summary', compared, changed, only_first: onlyFirst, only_second: onlySecond, losses };
    }
  }
}
