// A file on a web server as a device, for reading by ranges (RFC 9110, section 14). Core is synchronous, so that the requests are, by the
// XMLHttpRequest of a worker. (The other way, a second worker that fetches while this one waits on shared memory, needs headers of
// isolation that few servers send.) A request costs a round trip: pieces are read and some kept, so that what lies together comes at once.
//
// Every answer is held against the first one: the size, and the ETag or the time of the last change where the server says them. A file that
// changes in between is an error and never a mixture.

import { DeviceError, UsageError } from '../ondisk/errors.ts';
import { type BlockDevice, checkRange, checkWrite } from './block-device.ts';

/** A btree node of the usual size. */
const PIECE_BYTES = 256 * 1024;
/** 16 MiB. */
const PIECES_KEPT = 64;
/** The most that one request asks for. */
const REQUEST_PIECES_MAX = 16;

/** What a server says to a request for a range. */
export interface RangeAnswer {
  readonly status: number;
  /** @returns null when there is no such header, or the server keeps it from this page */
  header(name: string): string | null;
  readonly body: Uint8Array;
}

/** Asks for the bytes from `from` to `to`, the last one included. @throws when no answer comes */
export type RangeRequest = (url: string, from: number, to: number) => RangeAnswer;

/** The web's, as far as it is used here. */
interface SyncRequest {
  open(method: string, url: string, async: boolean): void;
  setRequestHeader(name: string, value: string): void;
  responseType: string;
  send(): void;
  readonly status: number;
  readonly response: unknown;
  getResponseHeader(name: string): string | null;
}

declare const XMLHttpRequest: (new () => SyncRequest) | undefined;

/** What must stay as it was. */
interface Version {
  readonly sizeBytes: number;
  readonly tag: string | null;
}

export class HttpDevice implements BlockDevice {
  readonly logicalSectorBytes = 512;
  readonly physicalSectorBytes = 0;
  readonly rotational = undefined;
  readonly writable = false;
  readonly #request: RangeRequest;
  readonly #version: Version;
  /** By number; the one that was used last is the last. */
  readonly #pieces = new Map<number, Uint8Array>();

  readonly #url: string;

  private constructor(
    readonly name: string,
    url: string,
    version: Version,
    request: RangeRequest,
  ) {
    this.#url = url;
    this.#version = version;
    this.#request = request;
  }

  /**
   * Asks for the first bytes, and with them whether the server gives ranges: a server that does not would send all of the file, which only an
   * asynchronous request can stop. From another server than the page's own it has to allow the page to see Content-Range
   * (Access-Control-Expose-Headers).
   * @param name for messages: the address
   * @param request how to ask: by XMLHttpRequest, in a worker
   * @throws DeviceError kind `missing`, `permission` or `io`; UsageError outside of a worker
   */
  static async open(
    url: string,
    { name = url, request }: { readonly name?: string; readonly request?: RangeRequest } = {},
  ): Promise<HttpDevice> {
    const [from, to] = [0, FIRST_BYTES - 1];
    const ask = request ?? requestOfWorker();
    const answer = request === undefined ? await firstAnswer(name, url, from, to) : asked(ask, name, url, from, to);
    // An empty file has no range that could be given.
    const version = answer.status === 416 ? { sizeBytes: 0, tag: null } : versionOf(name, answer);
    return new HttpDevice(name, url, version, ask);
  }

  get sizeBytes(): number {
    return this.#version.sizeBytes;
  }

  read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    for (let done = 0; done < into.length; ) {
      const nr = Math.floor((offset + done) / PIECE_BYTES);
      const piece = this.#piece(nr, Math.ceil((offset + into.length) / PIECE_BYTES));
      const start = offset + done - nr * PIECE_BYTES;
      const part = piece.subarray(start, start + into.length - done);
      into.set(part, done);
      done += part.length;
    }
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
  }

  flush(): void {}

  close(): void {
    this.#pieces.clear();
  }

  /** @param end the piece before which the read ends: what is missing up to there comes by the same request */
  #piece(nr: number, end: number): Uint8Array {
    const kept = this.#pieces.get(nr);
    if (kept !== undefined) {
      this.#pieces.delete(nr);
      this.#pieces.set(nr, kept);
      return kept;
    }
    let count = 1;
    while (nr + count < end && count < REQUEST_PIECES_MAX && !this.#pieces.has(nr + count)) count++;
    const from = nr * PIECE_BYTES;
    const to = Math.min(from + count * PIECE_BYTES, this.sizeBytes);
    const bytes = this.#fetch(from, to);
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      this.#pieces.set(nr + at / PIECE_BYTES, bytes.slice(at, at + PIECE_BYTES));
    }
    for (const oldest of this.#pieces.keys()) {
      if (this.#pieces.size <= PIECES_KEPT) break;
      this.#pieces.delete(oldest);
    }
    return bytes.subarray(0, PIECE_BYTES);
  }

  #fetch(from: number, to: number): Uint8Array {
    const answer = asked(this.#request, this.name, this.#url, from, to - 1);
    const { sizeBytes, tag } = versionOf(this.name, answer);
    if (sizeBytes !== this.#version.sizeBytes || tag !== this.#version.tag) {
      throw new DeviceError('io', this.name, 'the file on the server has changed since it was opened; open it again');
    }
    const range = answer.header('content-range');
    if (range?.startsWith(`bytes ${from}-${to - 1}/`) !== true || answer.body.length !== to - from) {
      const detail = `asked for ${to - from} bytes at byte ${from}, the server gave ${answer.body.length} (${range})`;
      throw new DeviceError('io', this.name, detail);
    }
    return answer.body;
  }
}

/** What the first request asks for: up to where the superblock begins. */
const FIRST_BYTES = 4096;

const noAnswer = (name: string, from: number, to: number, cause: unknown): DeviceError => {
  const words = cause instanceof Error ? cause.message : String(cause);
  return new DeviceError('io', name, `no answer for bytes ${from} to ${to}: ${words}`, { cause });
};

function asked(request: RangeRequest, name: string, url: string, from: number, to: number): RangeAnswer {
  try {
    return request(url, from, to);
  } catch (cause) {
    throw noAnswer(name, from, to, cause);
  }
}

/** The head of an answer; the rest is not waited for. */
async function firstAnswer(name: string, url: string, from: number, to: number): Promise<Omit<RangeAnswer, 'body'>> {
  try {
    const stop = new AbortController();
    const { status, headers } = await fetch(url, { headers: { Range: `bytes=${from}-${to}` }, signal: stop.signal });
    stop.abort();
    return { status, header: name => headers.get(name) };
  } catch (cause) {
    throw noAnswer(name, from, to, cause);
  }
}

/** @throws DeviceError for an answer that is not a range of a file */
function versionOf(name: string, { status, header }: Omit<RangeAnswer, 'body'>): Version {
  if (status === 404 || status === 410)
    throw new DeviceError('missing', name, `the server has no such file (${status})`);
  if (status === 401 || status === 403) throw new DeviceError('permission', name, `the server refuses it (${status})`);
  if (status === 200) throw new DeviceError('io', name, 'the server gives no ranges, only whole files');
  if (status !== 206) throw new DeviceError('io', name, `the server answers ${status}`);
  const range = header('content-range');
  if (range === null) {
    throw new DeviceError(
      'io',
      name,
      'the server does not say or does not show Content-Range (Access-Control-Expose-Headers)',
    );
  }
  const sizeBytes = Number(/^bytes \d+-\d+\/(\d+)$/.exec(range)?.[1]);
  if (!Number.isSafeInteger(sizeBytes)) throw new DeviceError('io', name, `the server does not say the size: ${range}`);
  return { sizeBytes, tag: header('etag') ?? header('last-modified') };
}

function requestOfWorker(): RangeRequest {
  if (typeof XMLHttpRequest === 'undefined')
    throw new UsageError('a file on a server can be read as a device in a worker only');
  const Request = XMLHttpRequest;
  return (url, from, to) => {
    const request = new Request();
    request.open('GET', url, false);
    request.responseType = 'arraybuffer';
    request.setRequestHeader('Range', `bytes=${from}-${to}`);
    request.send();
    return {
      status: request.status,
      header: name => request.getResponseHeader(name),
      body: request.response instanceof ArrayBuffer ? new Uint8Array(request.response) : new Uint8Array(0),
    };
  };
}
