// The public door of @bcachefs-ts/inspect: the commands that edit and damage by hand.

export { corruptCommand } from './corrupt.ts';
export { killBtreeNodeCommand } from './kill-btree-node.ts';
export { kvdbCommand } from './kvdb.ts';
