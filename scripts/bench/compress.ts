// How fast extents are decompressed on this machine: 64 KiB, the largest extent by default in older versions, and 256 KiB, the
// largest in newer ones, both full of this project's own source code and padded to whole blocks. The numbers of
// docs/adr/0007-compression.md come from here. The zstd command makes the zstd frames; without it they are left out.
//
//   scripts/run-ts bench/compress.ts

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import zlib, { deflateRawSync } from 'node:zlib';
import { decompress, loadCompression } from '../../packages/core/src/compress/decompress.ts';
import { wasmDecoder } from '../../packages/core/src/compress/zstd.ts';
import { compressionTypes } from '../../packages/core/src/ondisk/compression-types.ts';
import { hasZstdCommand } from '../../test/support/zstd.ts';
import type { Measurement } from './measurement.ts';

const sizesBytes = [64 << 10, 256 << 10];
const BLOCK_BYTES = 4096;

export async function bench(): Promise<Measurement[]> {
  const started = performance.now();
  const wasm = await wasmDecoder();
  const measured: Measurement[] = [{ name: 'loading zstddec', value: performance.now() - started, unit: 'ms' }];
  await loadCompression();

  for (const sizeBytes of sizesBytes) {
    const content = sourceCode(sizeBytes);
    measured.push(
      throughput('lz4', content, lz4(content), input => decompress(compressionTypes.idOf('lz4'), input, sizeBytes)),
      throughput('gzip', content, deflateRawSync(content), input =>
        decompress(compressionTypes.idOf('gzip'), input, sizeBytes),
      ),
    );
    if (!hasZstdCommand()) continue;
    const frame = zstd(content);
    const stored = new Uint8Array(4 + frame.length);
    new DataView(stored.buffer).setUint32(0, frame.length, true);
    stored.set(frame, 4);
    const whose = 'zstdDecompressSync' in zlib ? 'zstd, Node' : 'zstd';
    measured.push(
      throughput(whose, content, stored, input => decompress(compressionTypes.idOf('zstd'), input, sizeBytes)),
      throughput('zstd, zstddec', content, stored, () => wasm(frame, sizeBytes)),
    );
  }
  return measured;
}

function throughput(
  name: string,
  content: Uint8Array,
  stored: Uint8Array,
  run: (input: Uint8Array) => Uint8Array | undefined,
): Measurement {
  const input = new Uint8Array(Math.ceil(stored.length / BLOCK_BYTES) * BLOCK_BYTES);
  input.set(stored);
  if (Buffer.compare(run(input) ?? new Uint8Array(0), content) !== 0)
    throw new Error(`${name}: not what was compressed`);
  const seconds = secondsPerCall(() => run(input), Math.ceil((8 << 20) / content.length));
  const ratio = (content.length / stored.length).toFixed(1);
  return {
    name: `${name}, ${content.length >> 10} KiB, ${ratio} times as large as stored`,
    value: content.length / seconds / 1e6,
    unit: 'MB/s',
  };
}

/** The best of twenty rounds: the one that the machine's other work disturbed least. */
function secondsPerCall(call: () => void, calls: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 20; round++) {
    const started = performance.now();
    for (let i = 0; i < calls; i++) call();
    best = Math.min(best, (performance.now() - started) / 1000 / calls);
  }
  return best;
}

/** Source files, one after the other. */
function sourceCode(sizeBytes: number): Uint8Array {
  const folder = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'packages/core/src');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .toSorted();
  const content = Buffer.concat(files.map(file => readFileSync(join(folder, file))));
  if (content.length < sizeBytes) throw new Error(`there are only ${content.length} bytes of source code`);
  return new Uint8Array(content.subarray(0, sizeBytes));
}

function zstd(content: Uint8Array): Uint8Array {
  const sized = `--stream-size=${content.length}`;
  return new Uint8Array(execFileSync('zstd', ['-q', '-c', '-3', '--no-check', sized], { input: content }));
}

/** An LZ4 block, found the greedy way that LZ4's fast mode works too. */
function lz4(content: Uint8Array): Uint8Array {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const newest = new Int32Array(1 << 16).fill(-1);
  const block: number[] = [];
  let done = 0;
  const length = (count: number) => {
    if (count < 15) return;
    let rest = count - 15;
    for (; rest >= 255; rest -= 255) block.push(255);
    block.push(rest);
  };
  const sequence = (end: number, matchLength: number, distance: number) => {
    block.push((Math.min(end - done, 15) << 4) | Math.min(Math.max(matchLength - 4, 0), 15));
    length(end - done);
    for (let at = done; at < end; at++) block.push(content[at]!);
    if (matchLength === 0) return;
    block.push(distance & 255, distance >> 8);
    length(matchLength - 4);
    done = end + matchLength;
  };
  // The format wants the last match to start twelve bytes before the end and to end five bytes before it.
  for (let at = 0; at < content.length - 12; ) {
    const word = view.getInt32(at, true);
    const slot = Math.imul(word, 0x9e37_79b1) >>> 16;
    const earlier = newest[slot]!;
    newest[slot] = at;
    if (earlier < 0 || at - earlier > 0xffff || view.getInt32(earlier, true) !== word) {
      at++;
      continue;
    }
    let matchLength = 4;
    while (at + matchLength < content.length - 5 && content[earlier + matchLength] === content[at + matchLength]) {
      matchLength++;
    }
    sequence(at, matchLength, at - earlier);
    at = done;
  }
  sequence(content.length, 0, 0);
  return Uint8Array.from(block);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const { name, value, unit } of await bench())
    console.log(`${name.padEnd(60)} ${value.toFixed(0).padStart(8)} ${unit}`);
}
