// mount, and mount.bcachefs, which mount(8) calls: finds the members of a filesystem, says why a kernel would not mount them, hands over the key of
// an encrypted one, and has the host's mount program mount them, with -i, so that it does not call mount.bcachefs again.
// Source: mount.rs and mount.bcachefs.sh, v1.36.1; mount(8) of util-linux for how it calls a helper.

import { resolve } from 'node:path';
import {
  addKeyOf,
  CommandFailed,
  CommandLineError,
  type Context,
  defineCommand,
  type MountHost,
  type MountOption,
  neededAddKey,
  type OptionSpecs,
  type Out,
  parseMountOptions,
  passphraseOption,
  readPassphrase,
  thisMountHost,
} from '@bcachefs-ts/command';
import {
  encryptionOf,
  keyringDescription,
  loadChecksums,
  type MemberSet,
  memberStandings,
  printable,
  type Superblock,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { refusalOf } from './refusal.ts';
import { membersToMount, mountSpec } from './spec.ts';

/** The exit codes of mount(8). */
const MOUNT = { ok: 0, usage: 1, system: 2, failed: 32 } as const;

const exitCodes = [
  { code: MOUNT.ok, means: 'mounted' },
  { code: MOUNT.usage, means: 'the command line is wrong, or what it names is not there' },
  { code: MOUNT.system, means: 'there is no mount program, or no kernel with a driver for bcachefs' },
  { code: MOUNT.failed, means: 'not mounted; other numbers are those of mount(8)' },
];

const keyLocations = ['fail', 'wait', 'ask', 'stdin'] as const;

interface MountArgs {
  readonly spec: string;
  readonly mountpoint: string | undefined;
  /** What was given with each -o. */
  readonly options: readonly string[];
  readonly type: string;
  readonly key_location: (typeof keyLocations)[number] | undefined;
  readonly passphrase_file: string | undefined;
  readonly verbose: boolean;
  /** Everything but the mount, and the key. */
  readonly fake: boolean;
  /** Words that go to the mount program as they are. */
  readonly passed: readonly string[];
}

interface Mounted {
  readonly uuid: string;
  readonly members: readonly string[];
  readonly mountpoint: string | undefined;
  /** The mount program and its arguments; undefined without a mountpoint. */
  readonly program: readonly string[] | undefined;
  readonly isMounted: boolean;
  readonly isVerbose: boolean;
}

const description =
  'Mounts a filesystem with the driver of the running kernel, on Linux, as root. It is named by its UUID, by its label, by one of its ' +
  'members, whose others are then looked for on all block devices, or by all of its members, joined by colons.\n\n' +
  'What is known against it is said before it is tried: no driver, a version that the kernel does not know, members that are missing. The ' +
  'key of an encrypted filesystem is looked for in the keyrings of the kernel; otherwise the passphrase is asked for, and the key added to ' +
  'the keyring of the user, as unlock does.\n\n' +
  'The mount itself is done by the mount program of the system, which gets the options as they are.';

const positionals = {
  spec: {
    count: 'one',
    file: true,
    help: 'UUID=…, LABEL=…, a member, or several members joined by colons',
  },
  mountpoint: {
    count: 'optional',
    file: true,
    help: 'where it is mounted; without, everything is done but that',
  },
} as const;

const commonMountOptions = {
  options: {
    type: 'string',
    alias: 'o',
    value: 'OPTIONS',
    repeat: true,
    help: 'mount options, with commas between; the kernel and mount(8) say what there is',
  },
  type: {
    type: 'string',
    alias: 't',
    value: 'TYPE',
    default: 'bcachefs',
    help: 'the type of the filesystem: bcachefs',
  },
  verbose: { type: 'flag', alias: 'v', help: 'say which program is run' },
} as const satisfies OptionSpecs;

/** @param host the machine on which it is mounted */
export function mountCommandOn(host: MountHost) {
  return defineCommand({
    name: 'mount',
    summary: 'Mount a filesystem with the driver of the running kernel',
    description,
    examples: [
      {
        command: 'bcachefs mount UUID=0c6be8a5-6a3c-4c9a-8f7e-0d2f6d3a1b2c /mnt',
        does: 'Finds all members by the UUID',
      },
      { command: 'bcachefs mount -o ro,degraded /dev/sda /mnt', does: 'Finds the members that /dev/sda belongs to' },
      { command: 'bcachefs mount -f pw /dev/sda:/dev/sdb /mnt', does: 'Mounts these, unlocked with a passphrase' },
      { command: 'bcachefs mount -v LABEL=backup', does: 'Finds and unlocks it, and mounts nothing' },
    ],
    positionals,
    options: {
      ...commonMountOptions,
      passphrase_file: { ...passphraseOption.passphrase_file, alias: 'f' },
      key_location: {
        type: 'choice',
        alias: 'k',
        choices: keyLocations,
        conflictsWith: ['passphrase_file'],
        help: 'where the key comes from: fail and wait take it from the keyring only, ask and stdin from a passphrase only',
      },
      colorize: { type: 'string', alias: 'c', value: 'WHEN', hidden: true, help: 'taken for the sake of scripts' },
    },
    exitCodes,
    exitCodeOf,
    run: (context, { colorize: _, ...args }) => mount(context, host, { ...args, fake: false, passed: [] }),
    text: print,
    json: mounted => mountedJson(mounted),
  });
}

export const mountCommand = mountCommandOn(thisMountHost);

/** The same as mount(8) calls it: `mount.bcachefs SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`. */
export function mountHelperOn(host: MountHost) {
  return defineCommand({
    name: 'mount.bcachefs',
    summary: 'Mount a filesystem with the driver of the running kernel',
    description,
    examples: [{ command: 'mount.bcachefs LABEL=backup /mnt -o ro', does: 'Mounts what has this label' }],
    positionals,
    options: {
      ...commonMountOptions,
      passphrase_file: passphraseOption.passphrase_file,
      fake: { type: 'flag', alias: 'f', help: 'do everything but mount' },
      sloppy: { type: 'flag', alias: 's', help: 'as in mount(8), which gets it' },
      no_mtab: { type: 'flag', alias: 'n', help: 'as in mount(8), which gets it' },
      namespace: { type: 'string', alias: 'N', value: 'NAMESPACE', help: 'as in mount(8), which gets it' },
    },
    exitCodes,
    exitCodeOf,
    run: (context, { sloppy, no_mtab, namespace, ...args }) =>
      mount(context, host, {
        ...args,
        key_location: undefined,
        passed: [
          ...(sloppy ? ['-s'] : []),
          ...(no_mtab ? ['-n'] : []),
          ...(namespace === undefined ? [] : ['-N', namespace]),
        ],
      }),
    text: print,
    json: mounted => mountedJson(mounted),
  });
}

export const mountHelper = mountHelperOn(thisMountHost);

function exitCodeOf(error: unknown): number | undefined {
  if (error instanceof UsageError) return MOUNT.usage;
  return error instanceof CommandFailed ? undefined : MOUNT.failed;
}

async function mount(context: Context, host: MountHost, args: MountArgs): Promise<Mounted> {
  if (args.type !== '' && args.type !== 'bcachefs')
    throw new CommandLineError(`is ${JSON.stringify(args.type)}, and only bcachefs is mounted here`, '--type');
  const options = optionsOf(args.options);
  const kernelVersion = driverOf(host);
  await loadChecksums();
  const found = membersToMount(mountSpec(args.spec, host), host);
  let mounted: ReturnType<typeof membersGiven>;
  try {
    const isRemount = options.some(({ name }) => name === 'remount');
    const refusal = isRemount ? undefined : refusalOf({ set: found, options, kernelVersion });
    if (refusal !== undefined) throw failed(`the kernel would not mount it: ${refusal}`, 'not_mountable');
    mounted = membersGiven(context, found, host);
    if (!args.fake && !isRemount) await unlock(context, found.newest.sb, host, args);
  } finally {
    for (const { device } of found.members) device.close();
  }
  const { uuid, names, isFile } = mounted;
  const { mountpoint } = args;
  const texts = args.options.filter(text => text !== '');
  const given = [...texts, ...(isFile && !options.some(({ name }) => name === 'loop') ? ['loop'] : [])].join(',');
  const program =
    mountpoint === undefined
      ? undefined
      : [
          'mount',
          '-i',
          ...(args.verbose ? ['-v'] : []),
          ...args.passed,
          '-t',
          'bcachefs',
          ...(given === '' ? [] : ['-o', given]),
          names.join(':'),
          // Absolute, so that no name of a directory is taken for an option.
          resolve(mountpoint),
        ];
  const isMounted = program !== undefined && !args.fake;
  if (isMounted) runMount(context, host, program);
  return { uuid, members: names, mountpoint, program, isMounted, isVerbose: args.verbose };
}

function optionsOf(texts: readonly string[]): readonly MountOption[] {
  for (const text of texts) if (/[\0\n]/.test(text)) throw new CommandLineError('has a line end or a NUL', '-o');
  return texts.flatMap(text => text.split(',').flatMap(one => (one === '' ? [] : parseMountOptions(one))));
}

/** The newest metadata version that the driver knows; undefined when it does not say. @throws CommandFailed without a driver */
function driverOf({ platform, text, run }: MountHost): number | undefined {
  if (platform !== 'linux') {
    throw new CommandFailed('mounting takes Linux; ls, restore, put and the like need no mount', {
      exitCode: MOUNT.system,
      code: 'no_driver',
    });
  }
  const isKnown = () => /^(nodev)?\s*bcachefs$/m.test(text('/proc/filesystems') ?? '');
  // As a mount would have the kernel do, but for what it says.
  if (!isKnown()) run('modprobe', ['bcachefs']);
  if (!isKnown()) {
    const release = text('/proc/sys/kernel/osrelease')?.trim();
    throw new CommandFailed(
      `the running kernel${release === undefined ? '' : ` (${printable(release)})`} has no driver for bcachefs: it is not in ` +
        '/proc/filesystems, and no module of that name can be loaded. Since Linux 6.18 the driver is a package of its own; ls, restore, ' +
        'put and the like need none',
      { exitCode: MOUNT.system, code: 'no_driver' },
    );
  }
  const version = text('/sys/module/bcachefs/parameters/version')?.trim();
  return version !== undefined && /^\d+$/.test(version) ? Number(version) : undefined;
}

interface Given {
  readonly uuid: string;
  readonly names: readonly string[];
  /** An image, for which the mount program makes a loop device. */
  readonly isFile: boolean;
}

/** Which devices the kernel is given. */
function membersGiven(context: Context, set: MemberSet, { look }: MountHost): Given {
  const given = memberStandings(set).flatMap(({ member, standing }) => {
    if (member === undefined) return [];
    if (standing === 'removed') context.warn(`${member.device.name} was removed from the filesystem, and is left out`);
    return standing === 'removed' ? [] : [member.device.name];
  });
  const colon = given.find(name => name.includes(':'));
  if (colon !== undefined)
    throw failed(`${colon} has a colon in its name, where a kernel ends it: give it a link without`, 'not_mountable');
  const file = given.find(name => look(name)?.kind === 'file');
  if (file !== undefined && given.length > 1) {
    throw failed(
      `${file} is a file, and several members have to be block devices: losetup makes one of each`,
      'not_mountable',
    );
  }
  return { uuid: set.newest.sb.user_uuid, names: given, isFile: file !== undefined };
}

const failed = (message: string, code: string): CommandFailed =>
  new CommandFailed(message, { exitCode: MOUNT.failed, code });

/** Sees to it that the kernel has the key. */
async function unlock(context: Context, sb: Superblock, host: MountHost, args: MountArgs): Promise<void> {
  if (encryptionOf(sb) !== 'passphrase') return;
  const { key_location: from, passphrase_file: file } = args;
  const description = keyringDescription(sb);
  const hasKey = () => host.hasKey()?.(description) ?? false;
  if (from === 'wait') {
    while (!hasKey()) await host.wait(1000);
    return;
  }
  if (from === 'fail') {
    if (hasKey()) return;
    throw failed(`the key ${description} is in no keyring of the kernel; unlock adds it`, 'no_key');
  }
  if (from === undefined && file === undefined && hasKey()) return;
  // Before anybody types a passphrase for nothing.
  const addKey = neededAddKey(host.addKey());
  const source = from === 'stdin' ? '-' : file;
  const passphrase = await readPassphrase(context, {
    file: source,
    flag: '--passphrase_file',
    question: 'Enter passphrase',
    ignoresEnvironment: from === 'ask',
  });
  addKeyOf(sb, passphrase, 'user', addKey);
}

/** @throws CommandFailed with what the mount program says */
function runMount(context: Context, host: MountHost, [name = '', ...args]: readonly string[]): void {
  const ran = host.run(name, args);
  if (ran === undefined)
    throw new CommandFailed(`there is no program ${name} here`, { exitCode: MOUNT.system, code: 'no_mount_program' });
  const lines = ran.output.split('\n').flatMap(line => (line.trim() === '' ? [] : [line.trim()]));
  if (ran.status === 0) {
    for (const line of lines) context.warn(line);
    return;
  }
  const said = lines.length === 0 ? 'it says nothing' : lines.join('; ');
  throw new CommandFailed(`the mount program failed: ${said}; the kernel says more in its log (dmesg)`, {
    exitCode: ran.status ?? MOUNT.failed,
    code: 'mount_failed',
  });
}

function print({ program, members, isMounted, isVerbose, mountpoint }: Mounted, out: Out): void {
  if (!isVerbose && mountpoint !== undefined) return;
  if (program === undefined) out.line(`would mount ${members.map(printable).join(':')}`);
  else out.line(`${isMounted ? 'ran' : 'would run'}: ${program.map(printable).join(' ')}`);
}

const mountedJson = ({ uuid, members, mountpoint, program, isMounted }: Mounted): object => ({
  filesystem: uuid,
  members,
  mountpoint: mountpoint ?? null,
  program: program ?? null,
  mounted: isMounted,
});
