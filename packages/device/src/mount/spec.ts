// What is to be mounted, found on this machine: by UUID, by label, all members of which one is named, or those that are named. Devices are only
// read. Labels are compared and never become part of a command line.
// Source: device_scan.rs, v1.36.1; the label is ours.

import { CommandLineError, type MountHost, parseUuid } from '@bcachefs-ts/command';
import {
  type BlockDevice,
  CorruptError,
  DeviceError,
  filesystemText,
  fsLabelText,
  groupMembers,
  IncompatibleError,
  leadingMember,
  listedPaths,
  type MemberSet,
  memberAlive,
  memberSetOf,
  members,
  type OpenMember,
  openDevice,
  openMember,
  type Superblock,
  UsageError,
} from '@bcachefs-ts/core/engine';

/** How a filesystem is named. */
export type MountSpec =
  | { readonly by: 'uuid'; readonly uuid: string }
  | { readonly by: 'label'; readonly label: string }
  /** One stands for all members of its filesystem, several for themselves. */
  | { readonly by: 'devices'; readonly paths: readonly string[] };

/** @throws UsageError for a tag that is not known, or a value that cannot be one */
export function mountSpec(word: string, { look }: Pick<MountHost, 'look'>): MountSpec {
  const tag = /^([A-Z_]+)=("?)(.*)\2$/s.exec(word);
  if (tag !== null && look(word) === undefined) {
    const [, name, , value = ''] = tag;
    if (name === 'UUID' || name === 'OLD_BLKID_UUID') return { by: 'uuid', uuid: parseUuid(value) };
    if (name === 'LABEL' && value !== '') return { by: 'label', label: value };
    throw new CommandLineError(`cannot look for ${JSON.stringify(word)}, expected UUID=…, LABEL=… or devices`);
  }
  const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(word) && look(word) === undefined;
  return isUuid
    ? { by: 'uuid', uuid: parseUuid(word) }
    : { by: 'devices', paths: listedPaths(word, { platform: 'linux', exists: path => look(path) !== undefined }) };
}

/**
 * Opens the members for reading. The caller closes their devices.
 * @throws UsageError when there is no such filesystem, or several; DeviceError, CorruptError, IncompatibleError of devices that were named
 */
export function membersToMount(spec: MountSpec, host: MountHost): MemberSet {
  if (spec.by === 'uuid')
    return scan(host, sb => sb.user_uuid === spec.uuid, `no block device belongs to filesystem ${spec.uuid}`);
  if (spec.by === 'label') {
    const text = `no block device belongs to a filesystem with the label ${JSON.stringify(spec.label)}`;
    return scan(host, sb => fsLabelText(sb.label) === spec.label, text);
  }
  const named = openNamed(spec.paths, host);
  const [only] = named;
  if (only === undefined || named.length > 1 || memberCount(only.sb) < 2) return setOf(named);
  const { uuid } = only.sb;
  only.device.close();
  return scan(host, sb => sb.uuid === uuid, '', spec.paths);
}

const memberCount = (sb: Superblock): number => members(sb).filter(memberAlive).length;

/** Those that were named: each must be a member. */
function openNamed(paths: readonly string[], { look }: MountHost): readonly OpenMember[] {
  const opened: BlockDevice[] = [];
  try {
    return [...new Set(paths.map(path => look(path)?.realPath ?? path))].map(path => {
      const device = openDevice(path, { write: false });
      opened.push(device);
      return openMember(device);
    });
  } catch (thrown) {
    for (const device of opened) device.close();
    throw thrown;
  }
}

/** Those of all block devices, and of others, that are wanted. @param none what to say when there is none */
function scan(
  host: MountHost,
  isWanted: (sb: Superblock) => boolean,
  none: string,
  others: readonly string[] = [],
): MemberSet {
  const parts = new Set<string>();
  const paths = new Set(others.map(path => host.look(path)?.realPath ?? path));
  for (const { path, isPartOfAnother } of host.blockDevices()) {
    const real = host.look(path)?.realPath ?? path;
    paths.add(real);
    if (isPartOfAnother) parts.add(real);
  }
  const found: OpenMember[] = [];
  let denied = 0;
  for (const path of paths) {
    const member = tryOpen(path, () => denied++);
    if (member === undefined) continue;
    if (isWanted(member.sb)) found.push(member);
    else member.device.close();
  }
  if (found.length === 0) {
    throw new UsageError(denied > 0 ? `${none}; ${denied} of them may not be read by this user` : none);
  }
  // One disk that is reached in several ways: the device that is made of the others is the one that is meant.
  const twins = (one: OpenMember) =>
    found.filter(({ sb }) => sb.uuid === one.sb.uuid && sb.dev_idx === one.sb.dev_idx).length > 1;
  const kept = found.filter(one => !(parts.has(one.device.name) && twins(one)));
  for (const one of found) if (!kept.includes(one)) one.device.close();
  return setOf(kept);
}

function tryOpen(path: string, onDenied: () => void): OpenMember | undefined {
  let device: BlockDevice | undefined;
  try {
    device = openDevice(path, { write: false });
    return openMember(device);
  } catch (thrown) {
    device?.close();
    if (thrown instanceof DeviceError && thrown.kind === 'permission') onDenied();
    const isOfTheDevice =
      thrown instanceof DeviceError ||
      thrown instanceof CorruptError ||
      thrown instanceof IncompatibleError ||
      thrown instanceof UsageError;
    if (!isOfTheDevice) throw thrown;
    return undefined;
  }
}

function setOf(opened: readonly OpenMember[]): MemberSet {
  try {
    const groups = groupMembers(opened);
    const [only] = groups;
    if (only === undefined || groups.length > 1) {
      throw new UsageError(
        `${groups.length} filesystems are meant: ${groups.map(filesystemText).join('; ')}; name the devices of one`,
      );
    }
    const set = memberSetOf(only);
    return { ...set, newest: leadingMember(set) };
  } catch (thrown) {
    for (const { device } of opened) device.close();
    throw thrown;
  }
}
