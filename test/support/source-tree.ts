// A folder with every kind of file that a new filesystem can be filled with, made by the host's own means.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { randomFrom } from './random.ts';

export interface SourceShape {
  readonly seed: number;
  /** Files of many sizes. */
  readonly files: number;
  /** Directories with a hundred small files each. */
  readonly crowds?: number;
}

const SIZES = [0, 1, 100, 255, 256, 257, 1024, 1025, 4095, 4096, 5000, 70_000, 131_072, 300_000];

/** @param folder not there yet. Device nodes, owners and attributes of all namespaces need root. */
export function makeSourceTree(folder: string, { seed, files, crowds = 0 }: SourceShape): void {
  const random = randomFrom(seed);
  const at = (...names: string[]) => join(folder, ...names);
  mkdirSync(at('few', 'sub', 'deep'), { recursive: true });
  mkdirSync(at('volume', 'nested', 'inside'), { recursive: true });
  mkdirSync(at('lost+found'));
  mkdirSync(at('setgid'));
  mkdirSync(at('empty'));
  const contents = (nr: number): Uint8Array => {
    const bytes = new Uint8Array(random.pick(SIZES));
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(nr % 2 === 0 ? 256 : 3);
    return bytes;
  };
  for (let nr = 0; nr < files; nr++) {
    const folders = [[], ['few'], ['few', 'sub', 'deep'], ['volume'], ['volume', 'nested', 'inside']];
    const path = at(...random.pick(folders), `f${nr}`);
    writeFileSync(path, contents(nr));
    chmodSync(path, random.pick([0o644, 0o600, 0o755, 0o4755, 0o2711, 0]));
    utimesSync(path, 1e9 + nr, 1.2e9 + nr + 0.25);
  }
  for (let crowd = 0; crowd < crowds; crowd++) {
    mkdirSync(at(`crowd${crowd}`));
    for (let nr = 0; nr < 100; nr++) writeFileSync(at(`crowd${crowd}`, `small ${nr}`), `${crowd} ${nr} `.repeat(nr));
  }
  writeFileSync(at('linked'), 'one file, four names');
  linkSync(at('linked'), at('few', 'linked too'));
  linkSync(at('linked'), at('volume', 'linked there'));
  linkSync(at('linked'), at('volume', 'nested', 'linked again'));
  writeFileSync(at('few', 'holes'), 'begin');
  truncateSync(at('few', 'holes'), 20 * 2 ** 20 + 1);
  writeFileSync(at('all zero'), new Uint8Array(50_000));
  symlinkSync('../linked', at('few', 'link'));
  symlinkSync(`${'../'.repeat(1000)}nowhere`, at('long link'));
  lutimesSync(at('few', 'link'), 1.1e9, 1.3e9 + 0.5);
  writeFileSync(
    Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x6e, 0xff, 0x80])]),
    'a name that is not UTF-8',
  );
  writeFileSync(at('x'.repeat(255)), 'a long name');
  if (process.getuid?.() === 0) onlyForRoot(folder);
  writeFileSync(at('setgid', 'inside'), 'whose group is not that of the directory');
  chmodSync(at('setgid'), 0o2775);
  chmodSync(at('empty'), 0o1777);
  // Last, since what was put into them changed them.
  for (const [nr, name] of ['setgid', 'few/sub', 'few', 'volume/nested', 'volume', '.'].entries()) {
    utimesSync(at(name), 1e9, 1.4e9 + nr + 0.125);
  }
}

/** user.*, trusted.*, an access ACL with a named user, and a default one. */
const attributes = `
import os, struct, sys
root = os.fsencode(sys.argv[1])
def acl(*entries):
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
NONE = 0xffffffff
named = acl((1, 6, NONE), (2, 7, 1001), (4, 4, NONE), (16, 6, NONE), (32, 0, NONE))
default = acl((1, 7, NONE), (2, 5, 1002), (4, 5, NONE), (8, 6, 2001), (16, 7, NONE), (32, 4, NONE))
os.setxattr(root + b'/linked', 'user.greeting', b'hello')
os.setxattr(root + b'/linked', 'user.empty', b'')
os.setxattr(root + b'/few', 'trusted.note', bytes(range(256)))
os.setxattr(root + b'/all zero', 'system.posix_acl_access', named)
os.setxattr(root + b'/few/sub', 'system.posix_acl_default', default)
os.setxattr(root + b'/all zero', 'security.capability', struct.pack('<5I', 0x02000001, 0x2000, 0, 0, 0))
os.mknod(root + b'/null', 0o20666, os.makedev(1, 3))
os.mknod(root + b'/disk', 0o60640, os.makedev(259, 70000))
os.mknod(root + b'/fifo', 0o10600)
os.mknod(root + b'/few/socket', 0o140755)
`;

function onlyForRoot(folder: string): void {
  const { status, stderr } = spawnSync('python3', ['-c', attributes, folder], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  chownSync(join(folder, 'few', 'holes'), 1000, 100);
  chownSync(join(folder, 'setgid'), 0, 2000);
  chownSync(join(folder, 'volume'), 70_000, 70_001);
}
