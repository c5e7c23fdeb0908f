// A program for terminal.test.ts: it waits with something to clean up, or asks for a passphrase.

import { defineCommand, defineProgram, main } from '@bcachefs-ts/command';

const wait = defineCommand({
  name: 'wait',
  summary: 'Wait to be stopped',
  positionals: {},
  options: { forgetful: { type: 'flag', help: 'have nothing to clean up' } },
  async run(context, { forgetful }) {
    if (!forgetful) {
      context.onInterrupt(() => context.warn('first registered'));
      context.onInterrupt(() => context.warn('last registered'));
    }
    context.warn('ready');
    await new Promise(resolve => setTimeout(resolve, 600_000));
    return {};
  },
  text: () => {},
});

const ask = defineCommand({
  name: 'ask',
  summary: 'Ask for a passphrase',
  positionals: {},
  options: {},
  run: async context => ({
    passphrase: await context.prompt.newPassphrase('Passphrase', { flag: '--passphrase_file' }),
    sure: await context.prompt.confirm('Sure?', { flag: '--yes' }),
  }),
  text: (result, out) => out.line(JSON.stringify(result)),
});

await main(
  defineProgram({
    name: 'terminal-program',
    version: '0',
    summary: 'waits and asks',
    commands: [
      { name: 'wait', summary: wait.summary, load: async () => wait },
      { name: 'ask', summary: ask.summary, load: async () => ask },
    ],
  }),
);
