// Bundles the binaries: packages/bcachefs/dist/{bcachefs,mkfs.bcachefs,fsck.bcachefs}.js, each one ESM file with everything
// in it, of which only what a command uses is evaluated. Numbers are in docs/adr/0004-command-line.md.
//
//   scripts/run-ts bundle.ts
//
// Two passes of esbuild. The first splits: a chunk for each command that is loaded with `import()`, chunks for what several
// of them share, and nothing that nobody uses. The second puts the chunks into one file, where each becomes a function that
// runs when it is first imported. (One pass without splitting would evaluate all of a package for any name imported from
// its door.)

import { chmodSync, renameSync, statSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type OutputFile, type Plugin } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const binFolder = join(root, 'packages/bcachefs/src/bin');
const outFolder = join(root, 'packages/bcachefs/dist');
const binaries = ['bcachefs', 'mkfs.bcachefs', 'fsck.bcachefs'];

const common = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // Native speed-ups and system calls, loaded if they are installed.
  external: ['@node-rs/*', 'koffi'],
  legalComments: 'eof',
  logLevel: 'warning',
} as const satisfies BuildOptions;

/**
 * Node's own modules come through `process.getBuiltinModule` when a chunk needs them, instead of `import` statements that
 * all run before the first line: an imported builtin costs a walk through the ESM loader and a copy of all its exports.
 */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /.*/ }, ({ path }) => (isBuiltin(path) ? { path, namespace: 'builtin' } : undefined));
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

/** The first pass's chunks, from memory. */
function chunks(files: readonly OutputFile[]): Plugin {
  const texts = new Map(files.map(file => [basename(file.path), file.text]));
  return {
    name: 'chunks',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^\.\// }, ({ path }) => ({ path: basename(path), namespace: 'chunk' }));
      onLoad({ filter: /.*/, namespace: 'chunk' }, ({ path }) => ({ contents: texts.get(path)!, resolveDir: root }));
    },
  };
}

/** @returns the size, in words */
async function bundle(name: string): Promise<string> {
  const split = await build({
    ...common,
    entryPoints: [join(binFolder, `${name}.ts`)],
    outdir: outFolder,
    conditions: ['@bcachefs-ts/source'],
    splitting: true,
    write: false,
  });
  const outfile = join(outFolder, `${name}.js`);
  const unfinished = `${outfile}.${process.pid}`;
  await build({
    ...common,
    entryPoints: [`./${name}.js`],
    outfile: unfinished,
    // The first pass has warned about our sources. In chunks, dependencies would be warned about as well, which nobody here can fix.
    logLevel: 'error',
    plugins: [lazyBuiltins, chunks(split.outputFiles)],
    banner: {
      // For dependencies in CommonJS, which ask for Node's modules without `node:`, and for their own folder.
      js: "#!/usr/bin/env node\nconst require = process.getBuiltinModule('node:module').createRequire(import.meta.url);\nconst __dirname = import.meta.dirname;",
    },
    // Names stay readable in stack traces; the rest is made small.
    minifySyntax: true,
    minifyWhitespace: true,
  });
  chmodSync(unfinished, 0o755);
  // A program that is started meanwhile sees the old bundle or the new one.
  renameSync(unfinished, outfile);
  return `${name} ${Math.ceil(statSync(outfile).size / 1024)} KiB`;
}

try {
  const sizes: string[] = [];
  // One after the other: a mistake in a source is then reported once.
  for (const name of binaries) sizes.push(await bundle(name));
  console.log(`bundled ${sizes.join(', ')}`);
} catch (error) {
  // esbuild has printed what it found in the sources.
  if (!(error instanceof Error && 'errors' in error)) throw error;
  process.exitCode = 1;
}
