// Serves the page and the bytes of the members to one browser, read-only, on loopback alone. What keeps others out:
//
//   - Everything is below a path that holds 256 random bits. A one-time address leads there; the second time it leads nowhere, so that
//     somebody who reads it late in a terminal or a log has nothing.
//   - Host has to be the address that is listened on, else a name that a stranger's server gives to it would do (DNS rebinding).
//   - Where a browser says which page asks (Origin, Sec-Fetch-Site), bytes go to this page only.
//
// A request that fails any of that gets the same answer, 404 with nothing in it.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type BlockDevice, DeviceError, readBytes } from '@bcachefs-ts/core/engine';

/** The most that one request gets: the page asks for 4 MiB. */
const RANGE_BYTES_MAX = 8 << 20;

const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
} as const;

/** Writes it, and ends it. */
type Answer = (response: ServerResponse) => unknown;

export interface ViewServer {
  /** Leads to the page once. */
  readonly address: string;
  close(): void;
}

export interface ServeOptions {
  /** The page, HTML. */
  readonly page: string;
  readonly devices: readonly BlockDevice[];
  readonly degraded: boolean;
}

/** The caller closes the devices after the server. */
export async function serveView({ page, devices, degraded }: ServeOptions): Promise<ViewServer> {
  const secret = () => randomBytes(32).toString('base64url');
  const [token, session] = [secret(), secret()];
  let isTokenUsed = false;
  let host = '';

  const answerTo = ({ method, url = '', headers }: IncomingMessage): Answer => {
    const [, first = '', second = '', third, ...more] = url.split('/');
    const isOurs = headers.host === host && (headers.origin === undefined || headers.origin === `http://${host}`);
    if (!isOurs || (method !== 'GET' && method !== 'HEAD') || more.length > 0) return refuse;
    if (first === 'open' && third === undefined) {
      if (isTokenUsed || !isSame(second, token)) return refuse;
      isTokenUsed = true;
      return response => response.writeHead(303, { ...HEADERS, Location: `/${session}/` }).end();
    }
    if (!isSame(first, session)) return refuse;
    if (second === '' && third === undefined) return send('text/html; charset=utf-8', page);
    const from = headers['sec-fetch-site'];
    if (from !== undefined && from !== 'same-origin') return refuse;
    if (second === 'devices.json' && third === undefined) {
      const names = devices.map(({ name }) => name);
      return send('application/json', JSON.stringify({ names, degraded }));
    }
    const device = second === 'device' && /^\d{1,3}$/.test(third ?? '') ? devices[Number(third)] : undefined;
    if (device === undefined) return refuse;
    return response => sendRange(response, device, headers.range);
  };

  const server = createServer((request, response) => void answerTo(request)(response));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    address: `http://${host}/open/${token}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** In a time that does not depend on where they differ. */
function isSame(given: string, secret: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(secret));
}

const refuse: Answer = response => response.writeHead(404, HEADERS).end();

const send =
  (type: string, body: string): Answer =>
  response =>
    response.writeHead(200, { ...HEADERS, 'Content-Type': type }).end(body);

function sendRange(response: ServerResponse, device: BlockDevice, range: string | undefined): void {
  const [, from, to] = /^bytes=(\d{1,16})-(\d{1,16})$/.exec(range ?? '') ?? [];
  const start = Number(from);
  const end = Math.min(Number(to) + 1, device.sizeBytes);
  if (from === undefined || start >= end || end - start > RANGE_BYTES_MAX) {
    response.writeHead(416, { ...HEADERS, 'Content-Range': `bytes */${device.sizeBytes}` }).end();
    return;
  }
  let bytes: Uint8Array;
  try {
    bytes = readBytes(device, start, end - start);
  } catch (thrown) {
    if (!(thrown instanceof DeviceError)) throw thrown;
    // The page says that the device could not be read there.
    response.writeHead(502, HEADERS).end();
    return;
  }
  response.writeHead(206, {
    ...HEADERS,
    'Content-Type': 'application/octet-stream',
    'Content-Range': `bytes ${start}-${end - 1}/${device.sizeBytes}`,
  });
  response.end(bytes);
}
