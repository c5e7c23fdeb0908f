// What format says when it is done: about six lines that fit any screen. Everything there is to know is show-super's, or --verbose.

import { bytesText, countsText, type FileCounts, type Out } from '@bcachefs-ts/command';
import {
  diskGroups,
  encryptionOf,
  fsLabelText,
  labelText,
  memberGroup,
  members,
  mountability,
  newFilesystemDefault,
  type OptionName,
  type OptionNumber,
  option,
  optionToText,
  printable,
  type Superblock,
  sectorsToBytes,
  versionNumber,
} from '@bcachefs-ts/core/engine';

export interface Summary {
  readonly sb: Superblock;
  readonly devices: readonly { readonly path: string; readonly sizeBytes: number; readonly isFile: boolean }[];
  /** What was asked for. */
  readonly options: ReadonlyMap<OptionName, OptionNumber>;
  readonly targets: Readonly<Partial<Record<OptionName, string>>>;
  readonly filled: FileCounts | undefined;
  /** Only superblocks were written. */
  readonly isUninitialized: boolean;
}

/** Of more devices, the first ones are shown. */
const DEVICES_SHOWN = 8;

export function printSummary(summary: Summary, out: Out): void {
  const { sb, devices, filled } = summary;
  const label = fsLabelText(sb.label);
  const name = label === '' ? '' : ` "${printable(label)}"`;
  out.line(`Made filesystem ${sb.user_uuid}${name}, version ${versionNumber(sb.version)}`);
  for (const [index, device] of devices.slice(0, DEVICES_SHOWN).entries())
    out.line(`  ${deviceText(sb, index, device)}`);
  if (devices.length > DEVICES_SHOWN)
    out.line(`  and ${devices.length - DEVICES_SHOWN} more devices (--verbose shows all)`);
  const chosen = chosenOptions(summary);
  out.line(`Options: ${chosen.length === 0 ? 'all as by default' : `${chosen.join(', ')}; the rest as by default`}`);
  out.line(`Encryption: ${encryptionText[encryptionOf(sb)]}`);
  out.line(`Kernels: ${kernelsText(sb)}`);
  if (filled !== undefined) out.line(`Files: ${countsText(filled)}`);
  for (const [i, step] of nextSteps(summary).entries()) out.line(`${i === 0 ? 'Next: ' : '  or, on Linux: '}${step}`);
}

function deviceText(sb: Superblock, index: number, { path, sizeBytes }: Summary['devices'][number]): string {
  const member = members(sb)[index]!;
  const group = memberGroup(member);
  const buckets = `${member.nbuckets} buckets of ${bytesText(sectorsToBytes(member.bucket_size))}`;
  const label = group === undefined ? '' : `, label ${labelText(diskGroups(sb), group)}`;
  return `${printable(path)}: ${bytesText(sizeBytes)}, ${buckets}${label}`;
}

/** Those that can mount it for writing; what they make of the version is only said where they go back. */
function kernelsText(sb: Superblock): string {
  const able = mountability(sb).filter(({ access }) => access === 'read-write');
  return able
    .map(({ kernel: { text, version } }) => (sb.version > version ? `${text} (as ${versionNumber(version)})` : text))
    .join(', ');
}

/** What was asked for and is not the default anyway, as it would be written on a command line. */
function chosenOptions({ options, targets }: Summary): string[] {
  const numbers = [...options].flatMap(([name, value]) => {
    // Their defaults depend on the devices.
    const isSized = name === 'block_size' || name === 'btree_node_size';
    if (!isSized && BigInt(value) === BigInt(newFilesystemDefault(name))) return [];
    return [`${name}=${optionToText(option(name), value, { choices: 'value' })}`];
  });
  return [...numbers, ...Object.entries(targets).map(([name, target]) => `${name}=${printable(target)}`)];
}

const encryptionText = {
  none: 'none',
  passphrase: 'yes, with a passphrase',
  'no passphrase': 'yes, but the key is in the clear (set-passphrase seals it)',
} as const;

function nextSteps({ sb, devices, filled, isUninitialized }: Summary): readonly string[] {
  const all = devices.length > DEVICES_SHOWN ? 'DEVICES' : printable(devices.map(({ path }) => path).join(':'));
  const unlock = encryptionOf(sb) === 'passphrase' ? `bcachefs unlock ${printable(devices[0]!.path)}; ` : '';
  const areFiles = devices.some(({ isFile }) => isFile);
  const mount =
    areFiles && devices.length > 1
      ? `${unlock}losetup -f each file, then mount -t bcachefs LOOP:LOOP DIR`
      : `${unlock}mount ${areFiles ? '-o loop ' : ''}-t bcachefs ${all} DIR`;
  if (isUninitialized) return [`${mount} (the first mount makes the rest)`];
  return [filled === undefined ? `bcachefs put ${all} FILE / (no mount needed)` : `bcachefs ls ${all}`, mount];
}
