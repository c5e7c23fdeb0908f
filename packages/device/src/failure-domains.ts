// fs failure-domains: what losing all members of a failure domain at once would cost: by the domains that members have (since 1.39), by their
// labels and each part of them, and by member. Reads only.

import { defineCommand, devicesPositional, EXIT, filesystemOptions, openForReading } from '@bcachefs-ts/command';
import {
  type DependentFile,
  type Filesystem,
  type Losses,
  loadChecksums,
  lossesOf,
  memberAlive,
  members,
  printable,
  readUsage,
} from '@bcachefs-ts/core/engine';
import { lossesJson, lossText, setLines } from './loss-text.ts';
import { lostFileJson, lostFileLines, lostFilesOf } from './lost-paths.ts';

interface Domain {
  readonly kind: 'failure_domain' | 'label' | 'member';
  readonly name: string;
  readonly devices: readonly number[];
}

interface JudgedDomain extends Domain {
  readonly losses: Losses;
  /** Undefined when it was not asked for. */
  readonly files: readonly DependentFile[] | undefined;
}

export const fsFailureDomainsCommand = defineCommand({
  name: 'failure-domains',
  summary: 'Say what the loss of each failure domain would cost',
  description:
    'A failure domain is what can be lost at once: all members with the same failure domain in the superblock (since 1.39), all with the same ' +
    'label or the same beginning of one, or a single member. For each it prints what would be lost and what would have fewer copies; members ' +
    'that are missing count as lost too.',
  examples: [
    { command: 'bcachefs fs failure-domains a.img:b.img', does: 'Says what each member, and each label, holds alone' },
    { command: 'bcachefs fs failure-domains --paths /dev/sda /dev/sdb', does: 'Lists the files as well' },
  ],
  positionals: devicesPositional,
  options: {
    paths: { type: 'flag', help: 'list the files that would lose data; erasure-coded ones are left out' },
    ...filesystemOptions,
  },
  async run(context, args) {
    await loadChecksums();
    const filesystem = await openForReading(context, args);
    try {
      let damages = 0;
      const warn = (message: string) => {
        damages++;
        context.warn(message);
      };
      const usage = readUsage(filesystem, damage => warn(damage.message));
      const { sb, set } = filesystem;
      // With counters that cannot be read, only the superblock says what is where.
      const counted = damages > 0 ? undefined : usage;
      const domains = domainsOf(
        filesystem,
        usage.devices.map(({ index, label }) => ({ index, label })),
      ).map((domain): JudgedDomain => {
        const others = set.missing.filter(missing => !domain.devices.includes(missing));
        const files = args.paths ? lostFilesOf(filesystem, [...domain.devices, ...others], warn) : undefined;
        return { ...domain, losses: lossesOf(counted, sb, domain.devices, others), files };
      });
      return { uuid: usage.uuid, domains, damages };
    } finally {
      filesystem.close();
    }
  },
  text({ domains }, out) {
    for (const { kind, name, devices, losses, files } of domains) {
      const what = { failure_domain: 'failure domain', label: 'label', member: 'member' }[kind];
      const of = kind === 'member' ? '' : ` (${devices.length === 1 ? 'member' : 'members'} ${devices.join(', ')})`;
      out.line(`${what} ${printable(name)}${of}: ${lossText(losses, false)}`);
      for (const line of setLines(losses)) out.line(`  ${line}`);
      for (const line of lostFileLines(files ?? [])) out.line(`  ${line}`);
    }
  },
  json: ({ uuid, domains }) => ({
    filesystem: uuid,
    domains: domains.map(({ kind, name, devices, losses, files }) => ({
      kind,
      name,
      devices,
      if_lost: lossesJson(losses),
      files: files?.map(lostFileJson) ?? null,
    })),
  }),
  exitCode: ({ damages }) => (damages > 0 ? EXIT.failed : EXIT.ok),
});

/** Domains, then labels (`ssd`, `ssd.a`), then members; each with at least one member. */
function domainsOf(
  { sb, set }: Filesystem,
  labels: readonly { readonly index: number; readonly label: string | undefined }[],
): readonly Domain[] {
  const grouped = (kind: Domain['kind'], namesOf: (index: number) => readonly string[]): readonly Domain[] => {
    const groups = new Map<string, number[]>();
    for (const { index } of labels)
      for (const name of namesOf(index)) groups.set(name, [...(groups.get(name) ?? []), index]);
    return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, devices]) => ({ kind, name, devices }));
  };
  const known = members(sb);
  const domainOf = (index: number): readonly string[] => {
    const member = known[index];
    if (member === undefined || !memberAlive(member)) return [];
    const end = member.failure_domain.indexOf(0);
    const name = new TextDecoder().decode(member.failure_domain.subarray(0, end < 0 ? undefined : end));
    return name === '' ? [] : [name];
  };
  const labelOf = new Map(labels.map(({ index, label }) => [index, label]));
  const partsOf = (index: number): readonly string[] => {
    const parts = labelOf.get(index)?.split('.') ?? [];
    return parts.map((_, i) => parts.slice(0, i + 1).join('.'));
  };
  const paths = new Map(set.members.map(({ device, sb: own }) => [own.dev_idx, device.name]));
  const each = labels.map(({ index }): Domain => {
    const path = paths.get(index);
    return { kind: 'member', name: `${index} (${path ?? 'missing'})`, devices: [index] };
  });
  return [...grouped('failure_domain', domainOf), ...grouped('label', partsOf), ...each];
}
