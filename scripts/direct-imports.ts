// For bundling: what is imported from the door of a package of ours comes straight from the file that has it.
//
// A bundler splits by files. A door imports all of its package, so whatever is reached through it goes with everything that anybody takes
// from there: `show-super` would evaluate `set-fs-option`, and `ls` what `format` needs. Packages say that their files have no side effects,
// which makes going past the door the same.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** The file that each value comes from, by its name; types have none. */
type Door = ReadonlyMap<string, string>;

/** `import { a, type B, c as d } from '@bcachefs-ts/core/engine';`, as biome writes it; the same with `export`. */
const THROUGH_A_DOOR = /^(import|export) \{([^{}]*)\} from '@bcachefs-ts\/([a-z-]+(?:\/(?:engine|node|browser))?)';$/gm;

/** `import('@bcachefs-ts/files'), 'lsCommand'`, as the list of commands has it, in one line or more: what is loaded later is one command, not its package. */
const APART = 'command:';
const ONE_LATER = /\bimport\('@bcachefs-ts\/([a-z-]+)'\),\s+'(\w+)'/g;

/** `set-fs-option` for `setFsOptionCommand`: what its chunk is called. In metafiles it is `command:show-super/set-fs-option`. */
const chunkName = (command: string): string =>
  command.replace(/Command$/, '').replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);

/** The file of a door: `core/engine` is packages/core/src/engine.ts. */
function doorFile(root: string, name: string): string {
  const [folder = '', entry = 'index'] = name.split('/');
  return join(root, 'packages', folder, `src/${entry}.ts`);
}

/** @param root of the workspace */
export function directImports(root: string): Plugin {
  return {
    name: 'direct-imports',
    setup({ onResolve, onLoad }) {
      const doors = new Map<string, Promise<Door>>();
      const doorOf = (name: string): Promise<Door> => {
        const door = doors.get(name) ?? readDoor(doorFile(root, name));
        doors.set(name, door);
        return door;
      };
      onResolve({ filter: new RegExp(`^${APART}`) }, ({ path }) => {
        const [, name = '', command = ''] = path.split(/[:/]/);
        return { path: `${name}/${chunkName(command)}`, namespace: 'command', pluginData: { name, command } };
      });
      onLoad({ filter: /.*/, namespace: 'command' }, async ({ pluginData: { name, command } }) => {
        const file = (await doorOf(name)).get(command);
        if (file === undefined) throw new Error(`there is no ${command} at the door of ${name}`);
        return { contents: `export { ${command} } from ${JSON.stringify(file)};`, resolveDir: root };
      });
      onLoad({ filter: /[\\/]packages[\\/][^\\/]+[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
        const text = readFileSync(path, 'utf8');
        let contents = '';
        let at = 0;
        for (const found of text.matchAll(THROUGH_A_DOOR)) {
          const [statement, verb, names, name] = found as unknown as [string, string, string, string];
          contents += text.slice(at, found.index) + direct(verb, names, await doorOf(name));
          at = found.index + statement.length;
        }
        contents += text.slice(at);
        contents = contents.replaceAll(ONE_LATER, (_, name: string, command: string) => {
          return `import('${APART}${name}/${command}'), '${command}'`;
        });
        return { contents, loader: 'ts', resolveDir: dirname(path) };
      });
    },
  };
}

/** The same names, each from its file. */
function direct(verb: string, names: string, door: Door): string {
  const statements: string[] = [];
  for (const word of names.split(',').map(each => each.trim())) {
    const file = door.get(word.split(' as ')[0]!);
    // Types: nothing of them is left in a bundle. Names that are nowhere were the type checker's to find.
    if (file === undefined) continue;
    statements.push(`${verb} { ${word} } from ${JSON.stringify(file)};`);
  }
  return statements.join(' ');
}

/** Follows `export * from` and `export { … } from`, which is all that a door has. */
async function readDoor(index: string): Promise<Door> {
  const text = readFileSync(index, 'utf8');
  const folder = dirname(index);
  const door = new Map<string, string>();
  for (const [, names, file] of text.matchAll(/^export \{([^{}]*)\} from '(\.[^']+)';$/gm)) {
    for (const word of names!.split(',').map(each => each.trim())) {
      if (word !== '' && !word.startsWith('type ')) door.set(word, join(folder, file!));
    }
  }
  const files = [...text.matchAll(/^export \* from '(\.[^']+)';$/gm)].map(([, file]) => join(folder, file!));
  if (files.length === 0) return door;
  const common = { absWorkingDir: folder, outdir: folder, format: 'esm', metafile: true, write: false } as const;
  const { metafile } = await build({ ...common, entryPoints: files });
  for (const { entryPoint, exports } of Object.values(metafile.outputs)) {
    for (const name of exports) door.set(name, join(folder, entryPoint!));
  }
  return door;
}
