// Core in a browser: the everyday door and that of a browser's devices, bundled for the web with nothing left out. The bundle is run where
// there are only the web's globals, and in a Chromium's worker where one is installed; each time it finds in our small images what Node
// finds in them.

import { existsSync, readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import { build, type Metafile } from 'esbuild';
import { chromium } from 'playwright-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { testImageContents, testImages, withTestImage } from '../support/images.ts';
import { patient } from '../support/patience.ts';
import { contentsOf } from './web-program.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

interface Image {
  readonly name: string;
  readonly devices: readonly Uint8Array[];
  readonly passphrase?: string | undefined;
}

const images: Image[] = testImages.map(({ name, passphrase }) => ({
  name,
  devices: testImageContents(name),
  passphrase,
}));
let bundle = '';
let inputs: Metafile['inputs'] = {};

beforeAll(async () => {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [join(root, 'test/library/web-program.ts')],
    bundle: true,
    platform: 'browser',
    format: 'iife',
    globalName: 'program',
    conditions: ['@bcachefs-ts/source'],
    metafile: true,
    write: false,
    // The address of the module that threads run, and there are no threads.
    logOverride: { 'empty-import-meta': 'silent' },
  });
  bundle = outputFiles[0]!.text;
  inputs = metafile.inputs;

  // Of the others, some is compressed by zstd and by lz4.
  await withTestImage('basic', async ([path]) => {
    const made = `${path}.gzip`;
    await succeed('format', ['--compression=gzip', '--fs_size=16M', `--source=${join(root, 'docs/adr')}`, made]);
    images.push({ name: 'gzip', devices: [readFileSync(made)] });
  });
}, patient(60_000));

describe('core for the web', () => {
  test('has nothing of Node in its bundle', () => {
    const outside = Object.entries(inputs).flatMap(([file, { imports }]) =>
      imports.filter(({ external }) => external === true).map(({ path }) => `${file}: ${path}`),
    );
    expect(outside).toEqual([]);
    expect(Object.keys(inputs).filter(file => /platform\/node\.ts|file-device\.ts/.test(file))).toEqual([]);
    expect(bundle.match(/["']node:\w+["']|getBuiltinModule/g)).toBeNull();
  });

  test('reads where there are only the globals of the web', { timeout: patient(60_000) }, async () => {
    const { TextEncoder, TextDecoder, Blob, URL, atob, crypto, fetch, performance, setTimeout } = globalThis;
    const web = { TextEncoder, TextDecoder, Blob, URL, atob, crypto, fetch, performance, setTimeout };
    const program = runInContext(`${bundle}; program`, createContext({ ...web, self: web }));
    for (const { name, devices, passphrase } of images) {
      const found: readonly string[] = await program.contentsOf(devices, passphrase);
      expect(found.length, name).toBeGreaterThan(1);
      expect([...found], name).toEqual(await contentsOf(devices, passphrase));
    }
  });

  const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  test.skipIf(browser === undefined)(
    `reads Blobs and files of a server in a browser's worker${browser === undefined ? ' (no Chromium is installed)' : ''}`,
    { timeout: patient(120_000) },
    async () => {
      await using page = await openPage(browser!);
      for (const { name, devices, passphrase } of images) {
        const expected = await contentsOf(devices, passphrase);
        for (const how of ['blobs', 'addresses'] as const)
          expect(await page.contentsOf(name, devices.length, how, passphrase), `${name} by ${how}`).toEqual(expected);
      }
    },
  );
});

const WORKER = `
onmessage = ({ data }) => program.contentsOf(...data).then(found => postMessage({ found }), thrown => postMessage({ thrown: String(thrown) }));
`;

/** A server on loopback with the bundle and the images, and a page of it in a browser. */
async function openPage(executablePath: string) {
  const server = createServer(({ url = '', headers }, response) => {
    const [, name = '', nr = ''] = url.split('/');
    if (name === '') response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>core</title>');
    else if (name === 'worker.js') response.setHeader('Content-Type', 'text/javascript').end(bundle + WORKER);
    else sendRange(response, images.find(image => image.name === name)?.devices[Number(nr)], headers.range);
  });
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  // Tests run as root in containers, where Chromium's sandbox cannot be made.
  const launched = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const page = await launched.newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  return {
    contentsOf: (name: string, count: number, how: 'blobs' | 'addresses', passphrase: string | undefined) =>
      page.evaluate<readonly string[]>(`(${IN_PAGE})(${JSON.stringify({ name, count, how, passphrase })})`),
    async [Symbol.asyncDispose]() {
      await launched.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** As text: it is the page's, not ours. */
const IN_PAGE = `async ({ name, count, how, passphrase }) => {
  const addresses = Array.from({ length: count }, (_, nr) => location.origin + '/' + name + '/' + nr);
  const blobOf = async address => (await fetch(address, { headers: { Range: 'bytes=0-' } })).blob();
  const devices = how === 'blobs' ? await Promise.all(addresses.map(blobOf)) : addresses;
  const worker = new Worker('/worker.js');
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => data.found ? resolve(data.found) : reject(new Error(data.thrown));
      worker.onerror = event => reject(new Error(event.message));
      worker.postMessage([devices, passphrase]);
    });
  } finally {
    worker.terminate();
  }
}`;

function sendRange(response: ServerResponse, file: Uint8Array | undefined, range: string | undefined): void {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  if (file === undefined || from === undefined) {
    response.writeHead(404).end();
    return;
  }
  const end = Math.min(to === '' ? file.length : Number(to) + 1, file.length);
  response.writeHead(206, { 'Content-Range': `bytes ${from}-${end - 1}/${file.length}` });
  response.end(file.subarray(Number(from), end));
}
