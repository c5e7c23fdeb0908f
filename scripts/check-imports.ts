// Checks what the compiler cannot: imports go only downward (docs/architecture.md, "Layers") and never in a circle, packages meet
// only at their doors, some things live in one place only, and each command can be run. Prints each violation and exits with 1 when there is any.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Rooms of core, lowest tier first; inside a tier a room may import those to its left. */
const coreTiers: readonly (readonly string[])[] = [
  // util and ondisk know each other (formatting of disk values); the other rooms of the lowest tier may import both.
  ['platform', 'util', 'ondisk', 'crypto', 'checksum', 'compress'],
  ['report', 'device', 'probe'],
  ['superblock', 'journal', 'btree', 'opened'],
  ['alloc', 'snapshots', 'data', 'fs', 'usage'],
  ['check', 'change'],
  ['members', 'create', 'recovery', 'dump', 'explain', 'scrub', 'damage'],
  ['everyday'],
];
const coreMutual: readonly (readonly [string, string])[] = [['util', 'ondisk']];

/** Where core knows about Node: what it runs on (through `#platform`), and its files and devices. Everything else of core is only JavaScript. */
const nodeRooms: readonly string[] = ['platform', 'device'];
const OF_NODE = /'node:[^']+'|\bprocess\.|\bBuffer\b|\bcreateRequire\b|\brequire\(/;

/** Packages of the command line: siblings never import each other. */
const packageImports: Readonly<Record<string, readonly string[]>> = {
  core: [],
  command: ['core'],
  ext4: ['core'],
  sources: ['core', 'command', 'ext4'],
  format: ['core', 'command', 'sources'],
  'show-super': ['core', 'command'],
  dump: ['core', 'command'],
  files: ['core', 'command'],
  fsck: ['core', 'command'],
  inspect: ['core', 'command'],
  explore: ['core', 'command'],
  viewer: ['core', 'command'],
  device: ['core', 'command'],
  migrate: ['core', 'command', 'ext4'],
  bcachefs: [
    'core',
    'command',
    'ext4',
    'sources',
    'format',
    'show-super',
    'dump',
    'files',
    'fsck',
    'inspect',
    'explore',
    'viewer',
    'device',
    'migrate',
  ],
};

/** Things that have exactly one home. */
const onlyIn: readonly { readonly what: string; readonly pattern: RegExp; readonly home: string }[] = [
  { what: 'yargs, chalk and cli-table3', pattern: /from '(yargs|chalk|cli-table3)/, home: 'packages/command/' },
  { what: 'koffi and picomatch', pattern: /'koffi'|from 'picomatch'/, home: 'packages/command/' },
  { what: 'console and process.exit', pattern: /\bconsole\.|\bprocess\.exit\b/, home: 'packages/command/' },
];

const violations: string[] = [];

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'dist' ? [] : sourceFiles(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

const withoutComments = (text: string): string => text.replace(/\/\/.*$|\/\*[\s\S]*?\*\//gm, '');

function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(match => match[1]!);
}

/** What is loaded with the file, for its types or its values: not what it loads when it is needed. */
const staticImportsOf = (text: string): string[] => [...text.matchAll(/\bfrom\s+'([^']+)'/g)].map(match => match[1]!);

/** The folder in core that a file is in; '' for core's doors, the only files outside of a room. */
function coreRoom(file: string): string {
  const [room = '', ...rest] = relative(join(root, 'packages/core/src'), file).split(sep);
  return rest.length === 0 ? '' : room;
}

function rank(room: string): [tier: number, place: number] | undefined {
  for (const [tier, rooms] of coreTiers.entries()) {
    const place = rooms.indexOf(room);
    if (place >= 0) return [tier, place];
  }
  return undefined;
}

function checkCoreImport(file: string, target: string): void {
  const [from, to] = [coreRoom(file), coreRoom(target)];
  if (from === '') return;
  if (from === to || coreMutual.some(pair => pair.includes(from) && pair.includes(to))) return;
  const [fromRank, toRank] = [rank(from), rank(to)];
  const place = relative(root, file);
  if (fromRank === undefined || toRank === undefined) {
    violations.push(`${place}: the room ${fromRank === undefined ? from : to} is not in docs/architecture.md's layers`);
  } else if (toRank[0] > fromRank[0] || (toRank[0] === fromRank[0] && toRank[1] > fromRank[1])) {
    violations.push(`${place}: ${from} may not import ${to} (imports go only downward)`);
  }
}

/** The only files of core that stand outside of a room, and what they are called outside. */
const coreDoors: readonly string[] = [
  'packages/core/src/index.ts',
  'packages/core/src/engine.ts',
  'packages/core/src/node.ts',
  'packages/core/src/browser.ts',
];
const coreEntries: readonly string[] = [
  '@bcachefs-ts/core',
  '@bcachefs-ts/core/engine',
  '@bcachefs-ts/core/node',
  '@bcachefs-ts/core/browser',
];

const references = new Map<string, string>();

/** Without a reference the build may come to a package before what it imports is there: it then fails now and then. */
function isBuiltBefore(packageName: string, other: string): boolean {
  const known = references.get(packageName);
  const text = known ?? readFileSync(join(root, 'packages', packageName, 'tsconfig.json'), 'utf8');
  references.set(packageName, text);
  return text.includes(`"path": "../${other}"`);
}

function checkFile(file: string): void {
  const place = relative(root, file).split(sep).join('/');
  const [, packageName = ''] = place.split('/');
  if (packageName === 'core' && coreRoom(file) === '' && !coreDoors.includes(place)) {
    violations.push(`${place}: belongs into a room of core (docs/architecture.md, "Rooms")`);
  }
  const isTest = /\.(test|bench)\.ts$/.test(file);
  const text = readFileSync(file, 'utf8');

  for (const specifier of importsOf(text)) {
    if (specifier.startsWith('.')) {
      const target = resolve(dirname(file), specifier);
      const targetPlace = relative(root, target).split(sep).join('/');
      if (isTest && targetPlace.startsWith('test/support/')) continue;
      if (!targetPlace.startsWith(`packages/${packageName}/`))
        violations.push(`${place}: reaches out of its package to ${targetPlace}`);
      else if (packageName === 'core' && !isTest) checkCoreImport(file, target);
    } else if (specifier.startsWith('@bcachefs-ts/')) {
      const [, other = ''] = specifier.split('/');
      if (!packageImports[packageName]?.includes(other))
        violations.push(`${place}: ${packageName} may not import ${other}`);
      if (!isTest && !isBuiltBefore(packageName, other)) {
        violations.push(`packages/${packageName}/tsconfig.json: no reference to ../${other}, which ${place} imports`);
      }
      if (other === 'core' && !coreEntries.includes(specifier))
        violations.push(`${place}: core is entered by its doors only`);
    }
  }
  if (isTest) return;
  const code = withoutComments(text);
  const ofNode = packageName === 'core' && !nodeRooms.includes(coreRoom(file)) ? OF_NODE.exec(code) : null;
  if (ofNode !== null) violations.push(`${place}: ${ofNode[0]} belongs into core's ${nodeRooms.join(' or ')}`);
  for (const { what, pattern, home } of onlyIn) {
    if (!place.startsWith(home) && pattern.test(code)) violations.push(`${place}: ${what} belong into ${home}`);
  }
}

for (const name of readdirSync(join(root, 'packages'))) {
  if (packageImports[name] === undefined) violations.push(`packages/${name}: not listed in scripts/check-imports.ts`);
  for (const file of sourceFiles(join(root, 'packages', name, 'src'))) checkFile(file);
}

/** What tests share is in test/support, where it is looked for: a folder of tests imports from itself, from there, and from the machine. */
function checkTests(): void {
  const shared = /^test\/(support|kernel\/vm)\//;
  for (const file of sourceFiles(join(root, 'test'))) {
    const place = relative(root, file).split(sep).join('/');
    const [, folder = ''] = place.split('/');
    for (const specifier of importsOf(readFileSync(file, 'utf8')).filter(one => one.startsWith('.'))) {
      const target = relative(root, resolve(dirname(file), specifier))
        .split(sep)
        .join('/');
      if (target.startsWith('test/') && !target.startsWith(`test/${folder}/`) && !shared.test(target))
        violations.push(`${place}: imports ${target}; what several folders use belongs into test/support`);
    }
  }
}

/**
 * Exported values that no other file names: dead, or nobody's business. Types are left out: what a function takes has to be nameable.
 * Doors export whole files, so only names in the text of others count.
 */
function checkDeadExports(): void {
  const folders = ['packages', 'test', 'scripts'].map(folder => join(root, folder));
  const texts = new Map(
    folders.flatMap(sourceFiles).map(file => [file, withoutComments(readFileSync(file, 'utf8'))] as const),
  );
  const filesNaming = new Map<string, number>();
  for (const text of texts.values()) {
    for (const word of new Set(text.match(/[A-Za-z_$][\w$]*/g)))
      filesNaming.set(word, (filesNaming.get(word) ?? 0) + 1);
  }
  for (const [file, text] of texts) {
    const place = relative(root, file).split(sep).join('/');
    if (!/^packages\/[\w-]+\/src\//.test(place) || file.endsWith('.test.ts')) continue;
    for (const [, name = ''] of text.matchAll(
      /^export (?:async )?(?:const|function\*?|(?:abstract )?class) ([A-Za-z_$][\w$]*)/gm,
    )) {
      if (filesNaming.get(name) === 1) violations.push(`${place}: ${name} is exported, but no other file names it`);
    }
  }
}

/** Files that import each other, by whatever way round: neither can be read, or loaded, without the other. Type-only imports count. */
function checkCircles(): void {
  const imports = new Map<string, readonly string[]>();
  for (const file of sourceFiles(join(root, 'packages'))) {
    if (/\.(test|bench)\.ts$/.test(file)) continue;
    const relativeOnes = staticImportsOf(withoutComments(readFileSync(file, 'utf8'))).filter(name =>
      name.startsWith('.'),
    );
    imports.set(
      file,
      relativeOnes.map(name => resolve(dirname(file), name)),
    );
  }
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file);
    if (start >= 0) {
      const circle = [...path.slice(start), file].map(each => relative(root, each).split(sep).join('/'));
      violations.push(`${circle.join(' → ')}: imports go round in a circle`);
    }
    if (start >= 0 || done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
}

/** Commands that a package has at its door, and that no program can run. Most are found by the compiler (programs/from.ts). */
function checkCommands(): void {
  const list = withoutComments(readFileSync(join(root, 'packages/bcachefs/src/programs/bcachefs.ts'), 'utf8'));
  for (const name of readdirSync(join(root, 'packages'))) {
    const door = withoutComments(readFileSync(join(root, 'packages', name, 'src/index.ts'), 'utf8'));
    for (const [word] of door.matchAll(/\b\w+Command\b/g)) {
      if (name !== 'command' && !list.includes(`'${word}'`))
        violations.push(
          `packages/${name}: ${word} is at the door, but not in the list of commands of packages/bcachefs`,
        );
    }
  }
}

checkTests();
checkDeadExports();
checkCircles();
checkCommands();
for (const violation of violations) console.error(violation);
console.error(violations.length === 0 ? 'imports: clean' : `imports: ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
