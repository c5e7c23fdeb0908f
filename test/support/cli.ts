// Runs a command of the program in this process, as a test: exit code, stdout and stderr come back as text.

import { type Collected, type RunOptions, runCli } from '@bcachefs-ts/command';
import {
  dataDropExtraReplicasCommand,
  dataRebalanceCommand,
  dataRereplicateCommand,
  deviceAddCommand,
  deviceEvacuateCommand,
  deviceListCommand,
  deviceRemoveCommand,
  deviceReplaceCommand,
  deviceResizeCommand,
  deviceResizeJournalCommand,
  deviceResyncCommand,
  deviceSetStateCommand,
  fsFailureDomainsCommand,
} from '@bcachefs-ts/device';
import {
  dumpCommand,
  explainCommand,
  fsUsageCommand,
  listCommand,
  listJournalCommand,
  locateCommand,
  undumpCommand,
} from '@bcachefs-ts/dump';
import { diffCommand, duCommand, journalRewindInfoCommand, mapCommand } from '@bcachefs-ts/explore';
import {
  catCommand,
  damageClearCommand,
  damageLsCommand,
  getCommand,
  getFileOptionCommand,
  lsCommand,
  mkdirCommand,
  mvCommand,
  putCommand,
  rmCommand,
  setFileOptionCommand,
  statCommand,
  subvolumeCreateCommand,
  subvolumeDeleteCommand,
  subvolumeListCommand,
  subvolumeListSnapshotsCommand,
  subvolumeSnapshotCommand,
  tarCommand,
  treeCommand,
} from '@bcachefs-ts/files';
import { formatCommand, imageCreateCommand, imageUpdateCommand } from '@bcachefs-ts/format';
import { fsckCommand, scrubCommand, upgradeCommand } from '@bcachefs-ts/fsck';
import { corruptCommand, killBtreeNodeCommand, kvdbCommand } from '@bcachefs-ts/inspect';
import {
  migrateFinishCommand,
  migrateRollbackCommand,
  migrateStartCommand,
  migrateStatusCommand,
  migrateSuperblockCommand,
} from '@bcachefs-ts/migrate';
import {
  recoverSuperCommand,
  recoveryPassCommand,
  removePassphraseCommand,
  resetCountersCommand,
  setFsOptionCommand,
  setPassphraseCommand,
  showSuperCommand,
  stripAllocCommand,
  undoCommand,
  unlockCommand,
} from '@bcachefs-ts/show-super';

const commands = {
  cat: catCommand,
  'data drop_extra_replicas': dataDropExtraReplicasCommand,
  'data rebalance': dataRebalanceCommand,
  'data rereplicate': dataRereplicateCommand,
  'device add': deviceAddCommand,
  'device evacuate': deviceEvacuateCommand,
  'device list': deviceListCommand,
  'device remove': deviceRemoveCommand,
  'device replace': deviceReplaceCommand,
  'device resize': deviceResizeCommand,
  'device resize-journal': deviceResizeJournalCommand,
  'device resync': deviceResyncCommand,
  'device set-state': deviceSetStateCommand,
  corrupt: corruptCommand,
  'damage clear': damageClearCommand,
  'damage ls': damageLsCommand,
  diff: diffCommand,
  du: duCommand,
  dump: dumpCommand,
  format: formatCommand,
  'image create': imageCreateCommand,
  'image update': imageUpdateCommand,
  explain: explainCommand,
  'fs failure-domains': fsFailureDomainsCommand,
  'fs usage': fsUsageCommand,
  fsck: fsckCommand,
  get: getCommand,
  'get-file-option': getFileOptionCommand,
  'strip-alloc': stripAllocCommand,
  'set-file-option': setFileOptionCommand,
  ls: lsCommand,
  map: mapCommand,
  migrate: migrateStartCommand,
  'migrate finish': migrateFinishCommand,
  'migrate rollback': migrateRollbackCommand,
  'migrate status': migrateStatusCommand,
  'migrate-superblock': migrateSuperblockCommand,
  mkdir: mkdirCommand,
  mv: mvCommand,
  put: putCommand,
  rm: rmCommand,
  stat: statCommand,
  'subvolume create': subvolumeCreateCommand,
  'subvolume delete': subvolumeDeleteCommand,
  'subvolume list': subvolumeListCommand,
  'subvolume list-snapshots': subvolumeListSnapshotsCommand,
  'subvolume snapshot': subvolumeSnapshotCommand,
  tar: tarCommand,
  tree: treeCommand,
  kill_btree_node: killBtreeNodeCommand,
  kvdb: kvdbCommand,
  list: listCommand,
  journal_rewind_info: journalRewindInfoCommand,
  list_journal: listJournalCommand,
  locate: locateCommand,
  'recover-super': recoverSuperCommand,
  'remove-passphrase': removePassphraseCommand,
  'recovery-pass': recoveryPassCommand,
  'reset-counters': resetCountersCommand,
  scrub: scrubCommand,
  'set-fs-option': setFsOptionCommand,
  'set-passphrase': setPassphraseCommand,
  'show-super': showSuperCommand,
  undo: undoCommand,
  undump: undumpCommand,
  unlock: unlockCommand,
  upgrade: upgradeCommand,
};
export type CommandName = keyof typeof commands;

/** Runs a command whatever comes out of it. */
export function run(command: CommandName, words: readonly string[], options?: RunOptions): Promise<Collected> {
  return runCli(commands[command], words, options);
}

/** Runs a command whose result is bytes. */
export async function runForBytes(command: CommandName, words: readonly string[], options?: RunOptions) {
  const { stdoutBytes = new Uint8Array(0), ...others } = await run(command, words, options);
  return { ...others, stdoutBytes };
}

/** Runs a command that must succeed, and gives back what it printed. */
export async function succeed(command: CommandName, words: readonly string[], options?: RunOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await run(command, words, options);
  if (exitCode !== 0) throw new Error(`${command} ${words.join(' ')}: exit code ${exitCode}\n${stderr}`);
  return stdout;
}
