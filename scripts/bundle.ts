// Bundles the programs into packages/bcachefs/dist: entries by name (bcachefs.cjs, mkfs.bcachefs.cjs, …), the scripts of one
// bundle that they share, their compiled code, and beside it what is large and seldom needed. Numbers are in docs/adr/0019-starting.md and
// 0034-starting-in-parts.md.
//
//   scripts/run-ts bundle.ts [--clean]
//
// --clean leaves nothing of earlier builds, as it has to be for a package.
//
// Two passes of esbuild. The first splits: a chunk for each command that is loaded with `import()`, chunks for what several
// of them share, and nothing that is not used. The second puts the chunks into scripts, where each becomes a function that
// runs when it is first imported: one script for what every command needs, and more for what fewer do (bundle-parts.ts).
// (One pass without splitting would evaluate all of a package for any name imported from its door.)
//
// Names carry a hash of the contents: compiled code is never taken for that of another bundle, and a program that is started while a new
// one is built sees the old files or the new ones.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Metafile, type OutputFile, type Plugin } from 'esbuild';
import { lentBy, namedImports, PART_ENTRY, PARTS, partChunks, placeChunks } from './bundle-parts.ts';
import { directImports } from './direct-imports.ts';
import { noticesOf } from './notices.ts';
import { writeViewerPage } from './viewer-page.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const binFolder = join(root, 'packages/bcachefs/src/bin');
const outFolder = join(root, 'packages/bcachefs/dist');
const programs = ['bcachefs', 'mkfs.bcachefs', 'fsck.bcachefs', 'mount.bcachefs'];

/** Chunks that are loaded when they are needed, from files of their own: an encoder of 2 MB costs the others nothing. */
const APART = /^(zstd-codec|libsodium-wrappers)-/;

/** Of an earlier build, until no process can still be starting with them. */
const KEPT_MS = process.argv.includes('--clean') ? 0 : 10 * 60_000;

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  // Native speed-ups and system calls, loaded if they are installed.
  external: ['@node-rs/*', 'koffi'],
  legalComments: 'none',
  logLevel: 'warning',
} as const satisfies BuildOptions;

/** Names stay readable in stack traces; the rest is made small. */
const small = { minifySyntax: true, minifyWhitespace: true, charset: 'ascii' } as const satisfies BuildOptions;

/** What the scripts of a bundle are given, by the first one and by entry.cjs; see bundle-parts.ts for `given`. */
const wrapped = (parameters: string, first: string) =>
  ({
    banner: { js: `(function (${parameters}) { const module = { exports: {} };${first}` },
    footer: { js: 'return module.exports; })' },
  }) as const satisfies BuildOptions;

const WHOLE_IMPORT = /(?:require\(|import\(|import \* as \w+ from )"([^"]+)"/g;

/**
 * Node's own modules come through `process.getBuiltinModule` when something of them is first used, instead of before the first line: for
 * node:crypto and its kind, that takes longer than everything else that show-super does.
 */
function lazyBuiltins(files: readonly OutputFile[]): Plugin {
  const names = namedImports(files);
  const whole = new Set<string>();
  for (const { text } of files) for (const [, path] of text.matchAll(WHOLE_IMPORT)) whole.add(path!);
  return {
    name: 'lazy-builtins',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /.*/ }, ({ path }) => (isBuiltin(path) ? { path, namespace: 'builtin' } : undefined));
      onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
        const load = `process.getBuiltinModule(${JSON.stringify(path)})`;
        if (whole.has(path)) return { contents: `module.exports = ${load};` };
        const getters = [...names.get(path)!].map(name => `get ${name}() { return load().${name}; },`);
        return {
          contents:
            `let loaded; const load = () => loaded ??= ${load};` +
            `module.exports = { __esModule: true, get default() { return load(); }, ${getters.join(' ')} };`,
        };
      });
    },
  };
}

/** Writes a file that is there wholly or not at all. @returns its name */
function publish(name: string, contents: string | Uint8Array, mode = 0o644): string {
  const unfinished = join(outFolder, `.${name}.${process.pid}`);
  writeFileSync(unfinished, contents);
  chmodSync(unfinished, mode);
  renameSync(unfinished, join(outFolder, name));
  return name;
}

const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);

/** One script from chunks of the first pass. @param chunks has the chunks, and what they import from elsewhere */
async function scriptOf(
  entry: string,
  files: readonly OutputFile[],
  chunks: Plugin,
  options: BuildOptions,
): Promise<string> {
  const { outputFiles } = await build({
    ...common,
    ...small,
    ...options,
    // The first pass has warned about our sources. In chunks, dependencies would be warned about as well, which cannot be fixed here.
    logLevel: 'error',
    entryPoints: [entry],
    format: 'cjs',
    plugins: [lazyBuiltins(files), chunks],
    // A script has no modules: what is loaded later comes through `require`.
    supported: { 'dynamic-import': false },
    // Without `fetch`, zstddec takes its own bytes from a string: with it, Node's HTTP client would be loaded for them (20 ms).
    define: { 'import.meta.url': 'importMetaUrl', 'import.meta.dirname': '__dirname', fetch: 'undefined' },
    write: false,
  });
  const [{ text }] = outputFiles as [OutputFile];
  // Read as Latin-1, which is faster and half as large in memory.
  const stray = /[^\0-\xff]/.exec(text);
  if (stray !== null) throw new Error(`${entry}: ${JSON.stringify(stray[0])} is not in Latin-1`);
  return text;
}

async function bundle(): Promise<string> {
  const { outputFiles: split, metafile } = await build({
    ...common,
    metafile: true,
    entryPoints: [join(binFolder, 'run.ts')],
    outdir: outFolder,
    conditions: ['@bcachefs-ts/source'],
    format: 'esm',
    splitting: true,
    plugins: [directImports(root)],
    write: false,
  });
  mkdirSync(outFolder, { recursive: true });
  const written: string[] = [];
  const apart = new Map<string, string>();
  const everything = new Map(split.map(file => [basename(file.path), { file, part: 0, exports: [] }]));
  for (const name of everything.keys()) {
    if (!APART.test(name)) continue;
    const text = await scriptOf(`./${name}`, split, partChunks(0, everything, [], undefined, new Map(), root), {
      banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
    });
    const stem = name.replace(/-[A-Z0-9]{8}\.js$/, '');
    apart.set(name, publish(`${stem}-${hashOf(text)}.cjs`, text));
  }
  const screen = await bundleScreen();
  written.push(...apart.values(), await bundleWorker(), screen.name);
  const page = await writeViewerPage(root);
  written.push(publish('viewer.html', page.html));
  // The worker's dependencies are among them.
  const inputs = [...Object.keys(metafile.inputs), ...screen.inputs, ...page.inputs];
  publish('THIRD-PARTY-NOTICES.txt', noticesOf(root, inputs));

  refuseChanging(Object.keys(metafile.inputs));
  const parts = await bundleParts(split, metafile, apart);
  compile(parts[0]!);
  for (const name of parts) written.push(name, `${name}.cache`);

  const entry = readFileSync(join(binFolder, 'entry.cjs'), 'utf8').replaceAll('BUNDLE', parts[0]!);
  for (const program of programs) written.push(publish(`${program}.cjs`, entry.replaceAll('NAME', program), 0o755));
  removeOlder(written);
  const sizes = written.map(file => `${file.replace(/-[0-9a-f]{12}/, '')} ${kib(file)} KiB`);
  return `bundled ${sizes.join(', ')}`;
}

/** @throws Error where a source of ours exports what may change after it has run: scripts take values of each other, once */
function refuseChanging(inputs: readonly string[]): void {
  for (const input of inputs) {
    if (!input.startsWith('packages/') || !/^export (?:let|var) /m.test(readFileSync(join(root, input), 'utf8')))
      continue;
    throw new Error(`${input} exports a variable: export a function that gives its value`);
  }
}

/** @returns the names of the scripts, the first one first */
async function bundleParts(
  split: readonly OutputFile[],
  metafile: Metafile,
  apart: ReadonlyMap<string, string>,
): Promise<string[]> {
  const start = 'run.js';
  const placed = placeChunks(split, metafile, start, name => apart.has(name));
  const names: string[] = [];
  /** Where chunks are that one script has and others ask for. */
  const found: Record<string, number> = {};
  // The first one last: it says what the others are called.
  for (const part of [...PARTS.map((_, i) => i + 1), 0]) {
    const lent = lentBy(part, placed);
    for (const name of lent) found[name] = part;
    const chunks = partChunks(part, placed, lent, part === 0 ? start : undefined, apart, root);
    const files = [...placed.values()].filter(chunk => chunk.part === part).map(({ file }) => file);
    const around =
      part === 0
        ? wrapped('require, __dirname, load', firstPart(names, found))
        : wrapped('require, __dirname, importMetaUrl, given', '');
    const text = await scriptOf(PART_ENTRY, files, chunks, around);
    const stem = part === 0 ? 'program' : `program-${PARTS[part - 1]}`;
    names[part] = publish(`${stem}-${hashOf(text)}.cjs`, latin1(text));
  }
  return names;
}

/** The code of the first script that loads others: nothing of it is in the way of names in the chunks. */
const firstPart = (names: readonly string[], found: Readonly<Record<string, number>>): string => `
const importMetaUrl = require('node:url').pathToFileURL(__dirname + '/').href;
const given = (() => {
  const names = ${JSON.stringify(names)}, found = ${JSON.stringify(found)}, parts = [];
  return chunk => {
    const part = found[chunk];
    if (part === 0) return module.exports.give(chunk);
    parts[part] ??= load(names[part])(require, __dirname, importMetaUrl, given);
    return parts[part].give(chunk);
  };
})();
`;

/** What worker threads run: one small file beside the bundle, where core looks for it. */
async function bundleWorker(): Promise<string> {
  const { outputFiles } = await build({
    ...common,
    ...small,
    entryPoints: [join(root, 'packages/core/src/data/decode-worker.ts')],
    outdir: outFolder,
    conditions: ['@bcachefs-ts/source'],
    format: 'esm',
    // See scriptOf.
    define: { fetch: 'undefined' },
    write: false,
  });
  const [{ text }] = outputFiles as [OutputFile];
  return publish('decode-worker.js', text);
}

/** ink imports them where DEV is set; it does not depend on them. */
const withoutDevelopersTools: Plugin = {
  name: 'without-developers-tools',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^react-devtools-core$/ }, ({ path }) => ({ path, namespace: 'nothing' }));
    onLoad({ filter: /.*/, namespace: 'nothing' }, () => ({ contents: 'export default undefined;' }));
  },
};

/**
 * The screen of `explore`, which has a process of its own: a module, since ink waits for the layout engine before its first line has run.
 * @returns its name, and what went into it
 */
async function bundleScreen(): Promise<{ readonly name: string; readonly inputs: readonly string[] }> {
  const { outputFiles, metafile } = await build({
    ...common,
    ...small,
    metafile: true,
    entryPoints: [join(root, 'packages/explore/src/explorer/explorer-screen.ts')],
    outdir: outFolder,
    conditions: ['@bcachefs-ts/source'],
    format: 'esm',
    // What React says to developers is left out, and the tools that ink would load for them.
    define: { 'process.env.NODE_ENV': '"production"', 'process.env.DEV': 'undefined' },
    plugins: [withoutDevelopersTools],
    // Dependencies that are CommonJS ask for modules of Node by `require`.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    write: false,
  });
  const [{ text }] = outputFiles as [OutputFile];
  return { name: publish('explorer-screen.js', text), inputs: Object.keys(metafile.inputs) };
}

const kib = (file: string): number => Math.ceil(statSync(join(outFolder, file)).size / 1024);

/** In a process of its own: what programs need at their start is what compiled code should hold. */
function compile(name: string): void {
  const run = spawnSync(process.execPath, [join(root, 'scripts/compile-bundle.mjs'), join(outFolder, name)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (run.status !== 0) throw new Error(`compiling ${name} failed (exit ${run.status ?? run.signal})`);
}

function removeOlder(written: readonly string[]): void {
  for (const file of readdirSync(outFolder)) {
    if (written.includes(file) || !/-[0-9a-f]{12}\.cjs/.test(file)) continue;
    const path = join(outFolder, file);
    const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
    if (Date.now() - mtimeMs >= KEPT_MS) rmSync(path, { force: true });
  }
}

try {
  console.log(await bundle());
} catch (error) {
  // esbuild has printed what it found in the sources.
  if (!(error instanceof Error && 'errors' in error)) throw error;
  process.exitCode = 1;
}
