// The public door of @bcachefs-ts/format.

export { formatCommand } from './command.ts';
export { imageCreateCommand } from './image-create.ts';
export { imageUpdateCommand } from './image-update.ts';
