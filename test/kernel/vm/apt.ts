// Debian packages without installing them: finds the archive that this machine's apt is already set up with, reads the
// package lists of other suites of the same archive into a folder of our own, and downloads packages from there. The
// machine's apt is not changed, and root is needed only to install commands (qemu) that are missing.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findCommand, run } from './process.ts';
import { MachineUnavailable } from './unavailable.ts';

/** One archive as apt knows it: `suites` × `components` below `uri`. */
export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** What the source says in brackets, or as deb822 fields, that a line for another suite must repeat. */
  readonly options: readonly string[];
}

/** Reads `deb [options] uri suite components…` lines. */
export function parseOneLineSources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (!match) continue;
    const [, options = '', uri = '', suite = '', components = ''] = match;
    sources.push({ uri, suites: [suite], components: words(components), options: words(options) });
  }
  return sources;
}

/** Reads the stanzas of a deb822 `.sources` file. A key written out inline in Signed-By is not carried over. */
export function parseDeb822Sources(text: string): AptSource[] {
  return text.split(/\n(?:[ \t]*\n)+/).flatMap(stanzaToSources);
}

function stanzaToSources(stanza: string): AptSource[] {
  const fields = new Map<string, string>();
  let field = '';
  for (const line of stanza.split('\n')) {
    if (line.startsWith('#')) continue;
    const start = /^([A-Za-z0-9-]+):(.*)$/.exec(line);
    if (start) field = (start[1] ?? '').toLowerCase();
    const value = start ? (start[2] ?? '') : line;
    if (field) fields.set(field, `${fields.get(field) ?? ''} ${value.trim()}`.trim());
  }
  if (!words(fields.get('types')).includes('deb') || fields.get('enabled') === 'no') return [];
  const options: string[] = [];
  const signedBy = fields.get('signed-by');
  if (signedBy?.startsWith('/')) options.push(`signed-by=${signedBy.replaceAll(/\s+/g, ',')}`);
  if (fields.get('trusted') === 'yes') options.push('trusted=yes');
  const suites = words(fields.get('suites'));
  const components = words(fields.get('components'));
  return words(fields.get('uris')).map(uri => ({ uri, suites, components, options }));
}

function words(text = ''): string[] {
  return text.split(/\s+/).filter(word => word !== '');
}

/** Every source that this machine's apt is set up with. */
export function configuredSources(folder = '/etc/apt'): AptSource[] {
  const files = [path.join(folder, 'sources.list')];
  try {
    files.push(
      ...readdirSync(path.join(folder, 'sources.list.d')).map(name => path.join(folder, 'sources.list.d', name)),
    );
  } catch {
    // Without the folder there is the file.
  }
  return files.flatMap(file => {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      return [];
    }
    if (file.endsWith('.sources')) return parseDeb822Sources(text);
    return file.endsWith('.list') ? parseOneLineSources(text) : [];
  });
}

/** The configured archive that carries `suite` with its component main. */
export function archiveOf(suite: string, sources: readonly AptSource[]): AptSource | undefined {
  return sources.find(source => source.components.includes('main') && source.suites.includes(suite));
}

/** This machine's release, such as `bookworm`, from os-release. */
export function releaseName(): string | undefined {
  try {
    return /^VERSION_CODENAME=["']?(\w+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

/** Package lists of a few suites in a folder of our own. */
export class PackageLists {
  private constructor(private readonly options: readonly string[]) {}

  /** Reads the lists from the network (about 10 MB a suite). */
  static async read(folder: string, archive: AptSource, suites: readonly string[]): Promise<PackageLists> {
    const options = archive.options.length ? `[${archive.options.join(' ')}] ` : '';
    mkdirSync(path.join(folder, 'lists/partial'), { recursive: true });
    mkdirSync(path.join(folder, 'cache/archives/partial'), { recursive: true });
    writeFileSync(
      path.join(folder, 'sources.list'),
      suites.map(s => `deb ${options}${archive.uri} ${s} main\n`).join(''),
    );
    const settings = {
      'Dir::Etc::sourcelist': path.join(folder, 'sources.list'),
      'Dir::Etc::sourceparts': '/dev/null',
      'Dir::State::lists': path.join(folder, 'lists'),
      'Dir::Cache': path.join(folder, 'cache'),
      'Dir::Cache::pkgcache': '',
      'Dir::Cache::srcpkgcache': '',
      'Debug::NoLocking': '1',
      'APT::Sandbox::User': '', // the folder may be readable for this user only
      'Acquire::Languages': 'none',
      'Acquire::Retries': '2',
      'Acquire::http::Timeout': '30',
      'Acquire::https::Timeout': '30',
    };
    const lists = new PackageLists(Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]));
    await run('apt-get', [...lists.options, '-q', '--error-on=any', 'update']);
    return lists;
  }

  /** Names of packages that start so. */
  async namesStarting(prefix: string): Promise<string[]> {
    return words(await run('apt-cache', [...this.options, 'pkgnames', prefix]));
  }

  /** Fields of the newest version of a package; undefined where no suite carries it. */
  async show(name: string): Promise<ReadonlyMap<string, string> | undefined> {
    const text = await run('apt-cache', [...this.options, '--no-all-versions', 'show', name]).catch(() => '');
    if (text.trim() === '') return undefined;
    return new Map(
      text.split('\n').flatMap(line => {
        const match = /^([A-Za-z0-9-]+): (.*)$/.exec(line);
        return match ? [[match[1] ?? '', match[2] ?? ''] as const] : [];
      }),
    );
  }

  /** Downloads packages and unpacks them (dpkg-deb -x) into `root`. */
  async unpack(names: readonly string[], folder: string, root: string): Promise<void> {
    mkdirSync(folder, { recursive: true });
    await run('apt-get', [...this.options, '-q', 'download', ...names], { cwd: folder, timeoutSeconds: 900 });
    for (const name of names) {
      const file = readdirSync(folder).find(candidate => candidate.startsWith(`${name}_`));
      if (!file) throw new Error(`apt-get downloaded no file for ${name}`);
      await run('dpkg-deb', ['-x', path.join(folder, file), root]);
    }
  }
}

/** Commands we run, and the Debian packages that bring them. */
const COMMANDS = [
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  { command: 'xz', package: 'xz-utils' },
  { command: 'zstd', package: 'zstd' },
] as const;

interface PackagedCommand {
  readonly command: string;
  readonly package: string;
}

/**
 * Installs what is missing of some commands, by default those that the machine needs.
 * @throws MachineUnavailable where that takes a root we are not, or the network fails
 */
export async function installMissingCommands(
  progress: (line: string) => void,
  commands: readonly PackagedCommand[] = COMMANDS,
): Promise<void> {
  const missing = commands.filter(row => !findCommand(row.command)).map(row => row.package);
  if (missing.length === 0) return;
  const byHand = `run as root: apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0) throw new MachineUnavailable(`${missing.join(', ')} not installed`, byHand);
  progress(`installing ${missing.join(', ')}`);
  const install = () =>
    run('apt-get', ['-q', '-y', '-o', 'DPkg::Lock::Timeout=300', 'install', '--no-install-recommends', ...missing], {
      timeoutSeconds: 900,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  try {
    await install().catch(async () => {
      await run('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', 'update']);
      await install();
    });
  } catch (error) {
    throw new MachineUnavailable(`${missing.join(', ')} could not be installed (${oneLine(error)})`, byHand);
  }
}

export function oneLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error)
    .replaceAll(/\s+/g, ' ')
    .slice(0, 300);
}
