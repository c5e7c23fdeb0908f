// npm run bench: every figure that the documentation claims, measured on this machine. Builds the program first where it is
// missing. With a word, only benches whose file name has it: npm run bench -- everyday

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { measurementText } from './bench/measurement.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

if (!existsSync(join(root, 'packages/bcachefs/dist/bcachefs.cjs'))) {
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

const wanted = process.argv[2] ?? '';
for (const name of [
  'everyday',
  'checksum',
  'compress',
  'list',
  'restore',
  'populate',
  'fsck',
  'devices',
  'ext4',
  'migrate',
]) {
  if (!name.includes(wanted)) continue;
  const { bench } = await import(`./bench/${name}.ts`);
  console.log(`\n${name}`);
  for (const measured of await bench()) console.log(measurementText(measured));
}
