// The public door of @bcachefs-ts/dump: commands that show what is on the devices.

export { dumpCommand } from './dump/command.ts';
export { explainCommand } from './explain/command.ts';
export { fsUsageCommand } from './fs-usage/command.ts';
export { type UsageField, usageFields, usageText } from './fs-usage/text.ts';
export { listCommand } from './list/command.ts';
export { listJournalCommand } from './list-journal/command.ts';
export { locateCommand } from './locate/command.ts';
export { undumpCommand } from './undump/command.ts';
