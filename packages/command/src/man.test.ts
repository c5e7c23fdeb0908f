// What roff would read as its own, and the pages as groff shows them.

import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { defineCommand, defineProgram } from './index.ts';
import { manPages, roffText, singleManPage } from './man.ts';

const hostile = `.so /etc/passwd \\n(.g 'x' "y" \`z\` ~^ -a –`;

const make = defineCommand({
  name: 'make',
  summary: ".Make a thing's parts",
  description: `'start\n\n.TH of \`--force\` and an \`odd one\n\nTABLE  \\fBa\\fR\n.ab    'b'`,
  examples: [{ command: `tool make '.a' \\\\x | sed "s/-/\\\\/"`, does: "'Makes' `it`" }],
  positionals: { '.devices': { count: 'some', help: hostile } },
  options: {
    force: { type: 'flag', alias: 'f', help: "don't ask" },
    '.odd': { type: 'string', value: "\\-'.", help: '.', heading: '"Odd" \\ones' },
  },
  exitCodes: [{ code: 0, means: '.' }],
  run: () => ({}),
  text: () => {},
});

const program = defineProgram({
  name: 'tool',
  version: '1.0.0',
  summary: "a tool's \\tool",
  commands: [
    { name: 'make', aliases: ['mk'], summary: make.summary, load: async () => make },
    {
      name: 'device',
      summary: 'Devices',
      heading: "'More'",
      commands: [{ name: 'add_one', summary: 'Add', load: async () => make }],
    },
    { name: 'internal', hidden: true, summary: 'Hidden', load: async () => make },
  ],
});

/** The page as a terminal without bold shows it, every run of white space as one blank. */
function shown(page: string): string {
  const run = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-P-c', '-P-b', '-P-u', '-rLL=200n'], {
    input: page,
    encoding: 'utf8',
  });
  expect(run.stderr).toBe('');
  return run.stdout.replaceAll(/\s+/g, ' ');
}

const noGroff = spawnSync('groff', ['--version']).status === 0 ? '' : ' (skipped: groff is not installed)';

test.each([
  ['', ''],
  ['.TH', '\\&.TH'],
  ["'br", '\\(aqbr'],
  ['a.b', 'a.b'],
  ['\\fB', '\\(rsfB'],
  ['--no-color', '\\-\\-no\\-color'],
  ['"a"', '\\(dqa\\(dq'],
  ['`~^', '\\(ga\\(ti\\(ha'],
  ['ä–𝄞', '\\[u00E4]\\[u2013]\\[u1D11E]'],
  ['\t\x1b', '\\[u0009]\\[u001B]'],
])('%j is written as %j', (text, written) => {
  expect(roffText(text)).toBe(written);
});

test('there is a page for each listed command, each group and the program', async () => {
  expect([...(await manPages(program)).keys()]).toEqual([
    'tool.8',
    'tool-make.8',
    'tool-device.8',
    'tool-device-add_one.8',
    'tool-completions.8',
    'tool-help.8',
    'tool-version.8',
  ]);
});

test('no line begins with a request that is not ours', async () => {
  const known = /^\.(TH|SH|SS|PP|TP|RS|RE|nf|fi|nh|ad)( |$)/;
  for (const [name, page] of await manPages(program)) {
    for (const line of page.split('\n')) expect(line.match(/^[.']/) && !known.test(line) ? line : '', name).toBe('');
    expect(page, name).toMatch(/^[ -~\n]*$/);
  }
});

describe.skipIf(noGroff)(`as groff shows it${noGroff}`, () => {
  test('every character of a declaration is there', async () => {
    const page = shown((await manPages(program)).get('tool-make.8')!);
    for (const text of [
      "tool-make - .Make a thing's parts",
      "'start .TH of `--force` and an `odd one TABLE \\fBa\\fR .ab 'b'",
      `<.devices>... ${hostile.replaceAll('`', '')}`,
      `--.odd=\\-'. .`,
      '"Odd" \\ones',
      `tool make '.a' \\\\x | sed "s/-/\\\\/"`,
      "'Makes' it:",
      "-f, --force don't ask",
    ]) {
      expect(page).toContain(text);
    }
  });

  test('a program that is a single command has a page of its own', async () => {
    const single = { name: 'mk.tool', version: '1.0.0', summary: 'make it', load: async () => make };
    const { name, page } = await singleManPage(single);
    expect(name).toBe('mk.tool.8');
    expect(shown(page)).toMatch(/mk\.tool - make it SYNOPSIS mk\.tool \[options\] <\.devices>\.\.\. DESCRIPTION/);
  });

  test('the list has every command with its aliases and page', async () => {
    const page = shown((await manPages(program)).get('tool.8')!);
    expect(page).toContain("make .Make a thing's parts. Also mk. See tool-make(8).");
    expect(page).toContain("'MORE' device Devices. See tool-device(8).");
    expect(page).not.toContain('internal');
  });
});
