// The public door of @bcachefs-ts/command: what a command is, and how one is run. Nothing else is imported from outside.

export { changeRandom } from './change-random.ts';
export type { DotColor, Palette } from './color.ts';
export {
  type Command,
  type CommandDeclaration,
  type Delivery,
  defineCommand,
  defineStreamCommand,
  type Example,
} from './command.ts';
export { type CommandEntry, type CommandGroup, type Listed, listedEntries } from './command-list.ts';
export { commonOptions } from './common-options.ts';
export type { Context } from './context.ts';
export { type CreationTime, creationTime, noLaterThan, secondsOf } from './creation-time.ts';
export { DamageLog } from './damage-log.ts';
export type { ElsewhereRow } from './elsewhere.ts';
export { CommandFailed, CommandLineError, describeError, type ErrorReport } from './errors.ts';
export { EXIT, type ExitCodeRow, exitCodeTable } from './exit-codes.ts';
export { countFile, countsText, type FileCounts, noCounts } from './file-counts.ts';
export {
  allowMissingOption,
  devicesPositional,
  type FilesystemArgs,
  filesystemOptions,
  filesystemPositional,
  findMembersForReading,
  type MembersRequest,
  masterKeyOf,
  openEachForReading,
  openForLooking,
  openForReading,
  openForWriting,
  passphraseFor,
  passphraseOption,
  withDevice,
  withMembers,
  withMembersOpen,
} from './filesystem-argument.ts';
export { GarbageLimit } from './host/garbage.ts';
export { KeptHoles } from './host/kept-holes.ts';
export { type AddKey, type HasKey, type KeyringName, keyringNames, loadAddKey } from './host/keyring.ts';
export { type BlockDeviceName, blockDevicesOf, type MountHost, thisMountHost } from './host/mount-host.ts';
export { type CallTarget, HostCallError, loadNativeCalls, type NativeCalls } from './host/native-calls.ts';
export { hostIdentity, SteadyFile } from './host/steady-file.ts';
export { type ByteSink, Interrupted } from './host.ts';
export { bytesFields } from './json.ts';
export { addKeyOf, neededAddKey } from './kernel-key.ts';
export { type FoundPath, lookUp, unescapedBytes } from './look-up.ts';
export { manPages, singleManPage } from './man.ts';
export { commandToMarkdown } from './markdown.ts';
export { main } from './node-host.ts';
export { type OpenedTree, openTree, type TreeArgs } from './opened-tree.ts';
export type { Args, OptionSpec, OptionSpecs, OptionValue, ParsedArgs, PositionalSpec, WithOptions } from './option.ts';
export { type TableOptionsRequest, tableOptions, tableOptionValues, valueHints } from './option-table.ts';
export type { Out, TableSpec } from './out.ts';
export { parseArguments } from './parse.ts';
export { PASSPHRASE_VARIABLE, type PassphraseSource, readNewPassphrase, readPassphrase } from './passphrase.ts';
export { isRootPattern, type PathPattern, type PathWords, pathPattern, pathWords } from './path-pattern.ts';
export { defineProgram, locate, type Program, type SingleCommandProgram, usageLine } from './program.ts';
export { bytesText, durationText, type Progress, type Task, type TaskSpec } from './progress.ts';
export { type Interruption, runSteps, Turns } from './steps.ts';
export { type Collected, type RunOptions, runCli } from './testing.ts';
export { atOption, filesystemWord, filterOptions, parseMoment, treeOptions } from './tree-options.ts';
export { type TypedWord, typedWord } from './typed-word.ts';
export { identifyMember, type UndoFileArgs, type UndoWrap, undoFileOption, undoWrap } from './undo-file.ts';
export {
  ID_MAX,
  type MountOption,
  type Owner,
  parseBoolean,
  parseInteger,
  parseMode,
  parseMountOptions,
  parseOwner,
  parseSize,
  parseUuid,
} from './values.ts';
