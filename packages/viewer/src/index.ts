// The public door of @bcachefs-ts/viewer: filesystems in a web page.

export { viewCommand } from './command.ts';
export { serveView, type ViewServer } from './server.ts';
