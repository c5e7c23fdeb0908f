// view: a filesystem in a browser on this machine. The page does all the work; what is served is the page and the bytes of the members.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  CommandFailed,
  type Context,
  defineStreamCommand,
  devicesPositional,
  filesystemOptions,
  findMembersForReading,
} from '@bcachefs-ts/command';
import { browserOpener, openBrowser } from './open-browser.ts';
import { serveView } from './server.ts';

const { passphrase_file: _, ...options } = filesystemOptions;

export const viewCommand = defineStreamCommand({
  name: 'view',
  summary: 'Show a filesystem in a browser',
  description:
    'Shows a filesystem in a web page: its files with a preview and downloads, its subvolumes, its superblock and members, and what is in ' +
    'the buckets of each device. Nothing is written, and a passphrase that the page asks for stays in the page.\n\n' +
    'The page is served on loopback until Ctrl-C. The address works once and leads to a secret one; who does not have it, other users of ' +
    'the machine included, gets nothing. A browser is opened where there is one; --no_open only prints the address.\n\n' +
    'The page is a file of the package, dist/viewer.html, and needs no server: opened from disk, it takes images that are dragged into it.',
  examples: [
    { command: 'bcachefs view disk.img', does: 'Opens a browser with what is in the image' },
    { command: 'bcachefs view --no_open sda.img:sdb.img', does: 'Prints the address for a browser' },
  ],
  positionals: devicesPositional,
  options: {
    no_open: { type: 'flag', help: 'print the address, and open no browser' },
    ...options,
  },
  live: true,
  async *run(context: Context, { no_open, ...args }) {
    const page = viewerPage();
    const set = findMembersForReading(context, { ...args, passphrase_file: undefined });
    const devices = set.members.map(({ device }) => device);
    const server = await serveView({ page, devices, degraded: args.degraded });
    let removeFile = () => {};
    context.onInterrupt(() => {
      server.close();
      removeFile();
      for (const device of devices) device.close();
    });
    const opener = no_open ? undefined : browserOpener(process.platform, context.env);
    yield { address: server.address, isOpened: opener !== undefined };
    if (opener !== undefined) {
      removeFile = openBrowser(opener, server.address, why => context.warn(`no browser was opened: ${why}`));
    }
    // Served until the process is asked to stop.
    await new Promise<never>(() => {});
  },
  text({ address, isOpened }, out) {
    out.line(
      isOpened
        ? 'The filesystem is shown in a browser. If none opens, this address works once:'
        : 'Open this address; it works once:',
    );
    out.line(`  ${address}`);
    out.line('Ctrl-C ends it.');
  },
  json: ({ address }) => ({ address }),
});

/** Beside this file, or beside the bundle that this is in. */
function viewerPage(): string {
  const place = `${import.meta.url.endsWith('.ts') ? '../dist' : '.'}/viewer.html`;
  const file = fileURLToPath(new URL(place, import.meta.url));
  if (!existsSync(file)) throw new CommandFailed(`${file} is not there: npm run build makes it`, { code: 'no_page' });
  return readFileSync(file, 'utf8');
}
