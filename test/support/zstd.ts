// Decompressing the fixtures. The zstd command is about a hundred times as fast as the JavaScript decoder (268 MB with
// mostly holes: 0.1 s against 11.5 s), Node's own (22.15 and later) lies between; whichever is there is used.

import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import zlib from 'node:zlib';
import { writeSparse } from './sparse.ts';

const WINDOW_LOG = 27; // the fixtures were compressed with --long=27
const TEXT_LIMIT_BYTES = 256 << 20;

/** Decompresses a .zst file into a sparse file. */
export function unzstdToFile(source: string, target: string): void {
  if (hasZstdCommand()) {
    execFileSync('zstd', ['-q', '-d', '-f', '--sparse', `--long=${WINDOW_LOG}`, source, '-o', target]);
    return;
  }
  const fd = openSync(target, 'w');
  try {
    let at = 0;
    unzstdPieces(source, piece => {
      writeSparse(fd, piece, at);
      at += piece.length;
    });
    ftruncateSync(fd, at);
  } finally {
    closeSync(fd);
  }
}

/** Decompresses a .zst file into memory. */
export function unzstd(source: string): Buffer {
  if (hasZstdCommand()) {
    return execFileSync('zstd', ['-q', '-d', '-c', `--long=${WINDOW_LOG}`, source], { maxBuffer: TEXT_LIMIT_BYTES });
  }
  const pieces: Uint8Array[] = [];
  unzstdPieces(source, piece => pieces.push(piece.slice()));
  return Buffer.concat(pieces);
}

let commandFound: boolean | undefined;

export function hasZstdCommand(): boolean {
  if (commandFound === undefined) {
    try {
      execFileSync('zstd', ['--version'], { stdio: 'ignore' });
      commandFound = true;
    } catch {
      commandFound = false;
    }
  }
  return commandFound;
}

interface NodeZstd {
  readonly zstdDecompressSync?: (bytes: Uint8Array, options: object) => Buffer;
  readonly constants: Readonly<Record<string, number>>;
}

interface Fzstd {
  readonly Decompress: new (onPiece: (piece: Uint8Array) => void) => { push(bytes: Uint8Array, last: boolean): void };
}

function unzstdPieces(source: string, onPiece: (piece: Uint8Array) => void): void {
  const packed = readFileSync(source);
  const node = zlib as unknown as NodeZstd;
  if (node.zstdDecompressSync) {
    const params = { [node.constants.ZSTD_d_windowLogMax ?? 100]: WINDOW_LOG };
    onPiece(node.zstdDecompressSync(packed, { params }));
    return;
  }
  const { Decompress } = requireFzstd();
  new Decompress(onPiece).push(packed, true);
}

function requireFzstd(): Fzstd {
  try {
    return createRequire(import.meta.url)('fzstd');
  } catch (error) {
    throw new Error('fixtures are zstd-compressed: install zstd, or use Node 22.15 or newer, or add fzstd', {
      cause: error,
    });
  }
}
