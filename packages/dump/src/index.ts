// The public door of @bcachefs-ts/dump: commands that show what is on the devices.

export { type ListItem, type ListRequest, listCommand, listItems } from './list/command.ts';
export { listJournalCommand } from './list-journal/command.ts';
