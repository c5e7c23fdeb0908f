// The public door of @bcachefs-ts/format.

export { formatCommand } from './command.ts';
