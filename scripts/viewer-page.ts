// Builds the page of packages/viewer into one file: its program, its worker as text (a page from disk cannot load one from a file), and its
// style. A Content-Security-Policy in it allows these by their hashes, and nothing else.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { directImports } from './direct-imports.ts';

export interface ViewerPage {
  readonly html: string;
  /** What went into it, from the root. */
  readonly inputs: readonly string[];
}

/** @param root of the workspace */
export async function viewerPage(root: string): Promise<ViewerPage> {
  const folder = join(root, 'packages/viewer/src/page');
  const common = {
    absWorkingDir: root,
    bundle: true,
    minify: true,
    charset: 'ascii',
    platform: 'browser',
    target: 'es2023',
    format: 'iife',
    conditions: ['@bcachefs-ts/source'],
    legalComments: 'none',
    logLevel: 'warning',
    // The address of a module that threads run, and there are no threads in a browser.
    logOverride: { 'empty-import-meta': 'silent' },
    plugins: [directImports(root)],
    metafile: true,
    write: false,
  } as const satisfies BuildOptions;
  const [main, worker] = await Promise.all([
    build({ ...common, entryPoints: [join(folder, 'main.ts')] }),
    build({ ...common, entryPoints: [join(folder, 'worker.ts')] }),
  ]);
  const inElement = (text: string) => text.replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--').trim();
  const script = inElement(main.outputFiles[0]!.text);
  const style = readFileSync(join(folder, 'style.css'), 'utf8').trim();
  const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  // Compiled code of core: 'wasm-unsafe-eval'; zstddec takes its own from an address that holds it: data:.
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)} 'wasm-unsafe-eval'`,
    `style-src ${hash(style)}`,
    'worker-src blob:',
    // No icon: a browser would ask the server for one.
    'img-src data:',
    "connect-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>bcachefs</title>
<link rel="icon" href="data:,">
<style>${style}</style>
<div id="page"></div>
<script type="text/plain" id="worker">${inElement(worker.outputFiles[0]!.text)}</script>
<script>${script}</script>
</html>
`;
  return { html, inputs: [...Object.keys(main.metafile.inputs), ...Object.keys(worker.metafile.inputs)] };
}

/** Writes it where the package has it. */
export async function writeViewerPage(root: string): Promise<ViewerPage> {
  const page = await viewerPage(root);
  const file = join(root, 'packages/viewer/dist/viewer.html');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, page.html);
  return page;
}
