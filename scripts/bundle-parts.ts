// Which script of the bundle each chunk goes to, and how the scripts get at each other's chunks.
//
// A program that starts reads its whole script and the compiled code of it, so commands that are run often should not pay for those that are
// not. The bundle is a row of scripts: the first has what every command needs, each of the next what the commands of one package need beyond
// the ones before it, and the last whatever is left. A chunk is in the first script whose commands reach it, so scripts import only from
// earlier ones; commands, which are loaded when they are run, are in whatever script has them. A new package of commands goes to the last.
//
// What one script takes from another are the values of a chunk that has run. Bindings that change later would stay as they were, so our
// sources export none (`export let`).

import { basename } from 'node:path';
import type { Metafile, OutputFile, Plugin } from 'esbuild';

/** Scripts after the first one, which has what all commands need: packages of commands, the most used ones first. */
export const PARTS = ['show-super', 'files', 'format', 'others'] as const;

/** As esbuild writes them in chunks. */
const NAMED_IMPORT = /^(?:import|export) (?:(?:\w+(?:, | ))?(?:\{(?<names>[^{}]*)\} )?from )?"(?<path>[^"]+)";$/gm;

/** What chunks import by name, by the path that they write. */
export function namedImports(files: readonly OutputFile[]): Map<string, Set<string>> {
  const imports = new Map<string, Set<string>>();
  for (const { text } of files) {
    for (const { groups } of text.matchAll(NAMED_IMPORT)) {
      const { names = '', path } = groups as { names?: string; path: string };
      const known = imports.get(path) ?? new Set<string>();
      imports.set(path, known);
      for (const word of names.split(',').map(each => each.trim().split(' as ')[0]!)) if (word !== '') known.add(word);
    }
  }
  return imports;
}

/** A chunk of the first pass, and the script that it goes to. */
export interface Chunk {
  readonly file: OutputFile;
  /** 0 for what all commands need, then as PARTS. */
  readonly part: number;
  readonly exports: readonly string[];
}

/** Chunks by name. @param entry the chunk that everything starts from */
export function placeChunks(
  files: readonly OutputFile[],
  { outputs }: Metafile,
  entry: string,
  isApart: (name: string) => boolean,
): Map<string, Chunk> {
  const fileOf = new Map(files.map(file => [basename(file.path), file]));
  const rows = new Map(Object.entries(outputs).map(([path, output]) => [basename(path), output]));
  const partOf = (name: string): number | undefined => {
    const [, from] = /^command:([^/]+)\//.exec(rows.get(name)!.entryPoint ?? '') ?? [];
    if (from === undefined) return undefined;
    const part = (PARTS as readonly string[]).indexOf(from);
    return part === -1 ? PARTS.length : part + 1;
  };
  const placed = new Map<string, Chunk>();
  for (let part = 0; part <= PARTS.length; part++) {
    const todo = part === 0 ? [entry] : [...rows.keys()].filter(name => partOf(name) === part);
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (placed.has(name) || isApart(name)) continue;
      const { exports, imports } = rows.get(name)!;
      placed.set(name, { file: fileOf.get(name)!, part, exports });
      for (const { path, kind, external } of imports) {
        const next = basename(path);
        if (external !== true && !(kind === 'dynamic-import' && partOf(next) !== undefined)) todo.push(next);
      }
    }
  }
  return placed;
}

/** The entry of a script: what it gives to others, and where it is the first, what runs a program. */
export const PART_ENTRY = 'part';

/**
 * The chunks of one script, from memory, and stand-ins for those of other scripts, whose values `given(chunk)` brings.
 *
 * @param lent chunks of this script that others ask for
 * @param start the chunk that has `run`, in the first script
 * @param apart files that have chunks outside of the bundle
 */
export function partChunks(
  part: number,
  placed: ReadonlyMap<string, Chunk>,
  lent: Iterable<string>,
  start: string | undefined,
  apart: ReadonlyMap<string, string>,
  resolveDir: string,
): Plugin {
  const used = namedImports([...placed.values()].filter(chunk => chunk.part === part).map(({ file }) => file));
  const entry = [
    start === undefined ? '' : `export { run } from "./${start}";`,
    `const lent = {${[...lent].map(name => `${JSON.stringify(name)}: () => require("lent:${name}").values`).join()}};`,
    'export const give = chunk => lent[chunk]();',
  ].join('\n');
  const lend = (name: string): string => {
    const { exports } = placed.get(name)!;
    return (
      `import {${exports.map((each, i) => `${each} as v${i}`).join()}} from "./${name}";` +
      `export const values = {${exports.map((each, i) => `${each}: v${i}`).join()}};`
    );
  };
  const borrow = (name: string): string => {
    const names = used.get(`./${name}`) ?? placed.get(name)!.exports;
    const values = [...names].map((each, i) => `const v${i} = values.${each}; export { v${i} as ${each} };`);
    return `const values = given(${JSON.stringify(name)}); ${values.join(' ')}`;
  };
  return {
    name: 'chunks',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^part$/ }, ({ path }) => ({ path, namespace: 'part' }));
      onResolve({ filter: /^lent:/ }, ({ path }) => ({ path: path.slice('lent:'.length), namespace: 'lent' }));
      onResolve({ filter: /^\.\// }, ({ path }) => {
        const name = basename(path);
        const file = apart.get(name);
        if (file !== undefined) return { path: `./${file}`, external: true };
        return { path: name, namespace: placed.get(name)?.part === part ? 'chunk' : 'borrowed' };
      });
      onLoad({ filter: /.*/, namespace: 'part' }, () => ({ contents: entry, resolveDir }));
      onLoad({ filter: /.*/, namespace: 'lent' }, ({ path }) => ({ contents: lend(path), resolveDir }));
      onLoad({ filter: /.*/, namespace: 'borrowed' }, ({ path }) => ({ contents: borrow(path), resolveDir }));
      onLoad({ filter: /.*/, namespace: 'chunk' }, ({ path }) => ({
        contents: placed.get(path)!.file.text,
        resolveDir,
      }));
    },
  };
}

/** What other scripts take from one, whether it is imported before they run or when it is needed. */
export function lentBy(part: number, placed: ReadonlyMap<string, Chunk>): Set<string> {
  const lent = new Set<string>();
  for (const { file, part: from } of placed.values()) {
    if (from === part) continue;
    for (const [, name] of file.text.matchAll(/\b(?:from |import ?\(?)"\.\/([^"]+)"/g)) {
      if (placed.get(name!)?.part === part) lent.add(name!);
    }
  }
  return lent;
}
