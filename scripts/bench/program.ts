// How long whole commands take from a cold process, and how much memory the largest format needs: what a person who types
// them waits for. Needs the built program (npm run build).

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Measurement } from './checksum.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, 'packages/bcachefs/dist/bcachefs.js');
const RUNS = 15;

/** Prints the process's peak memory when it ends; loaded in front of the program. */
const memoryProbe = `data:text/javascript,${encodeURIComponent(
  "process.on('exit', () => process.stderr.write('maxrss ' + process.resourceUsage().maxRSS))",
)}`;

export async function bench(): Promise<Measurement[]> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  try {
    const image = join(folder, 'disk.img');
    const large = join(folder, 'large.img');
    run([program, 'format', '--quiet', '--fs_size=1G', image]);
    const format = [program, 'format', '--quiet', '--force', '--fs_size=8T', large];
    return [
      time('node itself, an empty script', ['-e', '']),
      time('bcachefs --version', [program, '--version']),
      time('show-super of an image', [program, 'show-super', image]),
      time('show-super --json', [program, 'show-super', '--json', image]),
      time('format of a sparse image of 8 TiB', format, () => rmSync(large, { force: true })),
      { name: 'format of a sparse image of 8 TiB, peak memory', value: peakMegabytes(format), unit: 'MB' },
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(words: readonly string[], nodeOptions = ''): string {
  const { status, stderr } = spawnSync(process.execPath, words, {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: nodeOptions, NO_COLOR: '1' },
  });
  if (status !== 0) throw new Error(`node ${words.join(' ')}: exit code ${status}\n${stderr}`);
  return stderr;
}

/** The median of several cold processes; the first, which fills the page cache, does not count. */
function time(name: string, words: readonly string[], before: () => void = () => {}): Measurement {
  const times: number[] = [];
  for (let nr = 0; nr <= RUNS; nr++) {
    before();
    const started = performance.now();
    run(words);
    if (nr > 0) times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  return { name: `${name}, wall clock`, value: times[Math.floor(times.length / 2)]!, unit: 'ms' };
}

function peakMegabytes(words: readonly string[]): number {
  const kilobytes = /maxrss (\d+)/.exec(run(words, `--import=${memoryProbe}`))?.[1];
  if (kilobytes === undefined) throw new Error('the process did not say how much memory it used');
  return Number(kilobytes) / 1024;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const { name, value, unit } of await bench()) console.log(`${name}: ${value.toFixed(1)} ${unit}`);
}
