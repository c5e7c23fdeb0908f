// Bundles the binaries: packages/bcachefs/dist/{bcachefs,mkfs.bcachefs,fsck.bcachefs}.js, each one ESM file with everything
// in it. Without code splitting, esbuild turns `import()` into modules that are evaluated when they are first asked for:
// a command that isn't run costs only the reading of its text. Numbers are in docs/adr/0004-command-line.md.
//
//   scripts/run-ts bundle.ts

import { chmodSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const binFolder = join(root, 'packages/bcachefs/src/bin');
const outFolder = join(root, 'packages/bcachefs/dist');
const binaries = ['bcachefs', 'mkfs.bcachefs', 'fsck.bcachefs'];

/**
 * Node's own modules come through `process.getBuiltinModule` when they are first used, instead of `import` statements that
 * all run before the first line: an imported builtin costs a walk through the ESM loader and a copy of all its exports.
 */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup({ initialOptions, onResolve, onLoad }) {
    if (initialOptions.format !== 'esm') throw new Error('lazy-builtins is meant for ESM output');
    onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: 'builtin' }));
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

async function bundle(name: string): Promise<string> {
  const outfile = join(outFolder, `${name}.js`);
  const unfinished = `${outfile}.new`;
  await build({
    entryPoints: [join(binFolder, `${name}.ts`)],
    outfile: unfinished,
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['@bcachefs-ts/source'],
    plugins: [lazyBuiltins],
    // Native speed-ups, loaded if they are installed.
    external: ['@node-rs/*'],
    banner: {
      // For dependencies in CommonJS, which ask for Node's modules without `node:`.
      js: "#!/usr/bin/env node\nconst require = process.getBuiltinModule('node:module').createRequire(import.meta.url);",
    },
    // Names stay readable in stack traces; the rest is made small.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'eof',
    logLevel: 'warning',
  });
  chmodSync(unfinished, 0o755);
  // A program that is started meanwhile sees the old bundle or the new one.
  renameSync(unfinished, outfile);
  return `${name} ${Math.ceil(statSync(outfile).size / 1024)} KiB`;
}

console.log(`bundled ${(await Promise.all(binaries.map(bundle))).join(', ')}`);
