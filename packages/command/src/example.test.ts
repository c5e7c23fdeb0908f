// A complete command, as its author writes it, run the way golden tests run commands.

import { existsSync } from 'node:fs';
import { UsageError } from '@bcachefs-ts/core/engine';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { defineCommand, defineProgram, runCli } from './index.ts';

const mkfs = defineCommand({
  name: 'mkfs',
  summary: 'Make a filesystem of the example',
  description: 'Writes nothing: it shows how a command is declared.',
  examples: [{ command: 'example mkfs --fs_size=1G disk.img', does: 'Would make an image of 1 GiB' }],
  positionals: { devices: { count: 'some', file: true, help: 'devices or image files' } },
  options: {
    force: { type: 'flag', alias: 'f', help: 'overwrite what is there' },
    acl: { type: 'boolean', help: 'POSIX ACLs' },
    replicas: { type: 'number', min: 1, max: 4, default: 1, help: 'copies of everything' },
    fs_label: { type: 'string', alias: 'L', value: 'NAME', help: 'name of the filesystem' },
    checksum: { type: 'choice', choices: ['none', 'crc32c', 'crc64'], default: 'crc32c', help: 'checksum type' },
    label: { type: 'string', alias: 'l', each: 'devices', help: 'disk label' },
    fs_size: { type: 'size', each: 'devices', help: 'size on the device' },
  },
  async run(context, args) {
    expectTypeOf(args.force).toEqualTypeOf<boolean>();
    expectTypeOf(args.acl).toEqualTypeOf<boolean | undefined>();
    expectTypeOf(args.replicas).toEqualTypeOf<number>();
    expectTypeOf(args.fs_label).toEqualTypeOf<string | undefined>();
    expectTypeOf(args.checksum).toEqualTypeOf<'none' | 'crc32c' | 'crc64'>();
    expectTypeOf(args.devices[0]!.word).toEqualTypeOf<string>();
    expectTypeOf(args.devices[0]!.options.fs_size).toEqualTypeOf<number | undefined>();
    expectTypeOf<keyof typeof args>().toEqualTypeOf<
      'devices' | 'force' | 'acl' | 'replicas' | 'fs_label' | 'checksum'
    >();
    if (args.replicas > args.devices.length) {
      throw new UsageError(`${args.replicas} copies need as many devices, expected at least that many`, '--replicas');
    }
    if (existsSync('/nonexistent') && !args.force) await context.prompt.confirm('Overwrite?', { flag: '--force' });
    return {
      label: args.fs_label ?? null,
      devices: args.devices.map(({ word, options }) => ({ word, options })),
      sectors: 2n ** 60n,
    };
  },
  text(result, out) {
    for (const { word, options } of result.devices)
      out.line(`${word} ${options.label ?? '-'} ${options.fs_size ?? '-'}`);
  },
});

const example = defineProgram({
  name: 'example',
  version: '1.2.3',
  summary: 'shows how commands are written',
  commands: [{ name: 'mkfs', aliases: ['format'], summary: mkfs.summary, load: async () => mkfs }],
});

describe('a complete command', () => {
  test('options for each device apply to the devices after them', async () => {
    const words = 'mkfs --label=ssd --fs_size 1G a b -lhdd c -- -d'.split(' ');
    expect(await runCli(example, words)).toEqual({
      exitCode: 0,
      stdout: 'a ssd 1073741824\nb ssd 1073741824\nc hdd 1073741824\n-d hdd 1073741824\n',
      stderr: '',
    });
  });

  test('JSON carries schema and version, and u64 are never rounded', async () => {
    const { stdout } = await runCli(example, ['mkfs', '--json', 'a']);
    expect(stdout).toMatchInlineSnapshot(`
      "{
        "schema": "bcachefs-ts/mkfs",
        "version": 1,
        "label": null,
        "devices": [
          {
            "word": "a",
            "options": {}
          }
        ],
        "sectors": "1152921504606846976"
      }
      "
    `);
  });

  test('help', async () => {
    const { stdout } = await runCli(example, ['mkfs', '--help']);
    expect(stdout).toMatchInlineSnapshot(`
      "example mkfs: Make a filesystem of the example

      Usage: example mkfs [options] <devices>...

      Writes nothing: it shows how a command is declared.

      Arguments:
        <devices>...  devices or image files

      Options:
        -f, --force          overwrite what is there
            --[no_]acl       POSIX ACLs
            --replicas=N     copies of everything (default 1)
        -L, --fs_label=NAME  name of the filesystem
            --checksum=none|crc32c|crc64
                             checksum type (default crc32c)

      Options for the devices after them:
        -l, --label=TEXT    disk label
            --fs_size=SIZE  size on the device

      Common options:
            --json                      print one JSON document, and errors as JSON
        -q, --quiet                     print errors only
            --color=auto|always|never   colour the text (default auto)
            --progress=auto|json|never  report progress on stderr: on a terminal, or
                                        as JSON events (default auto)
        -h, --help                      show this help

      Examples:
        example mkfs --fs_size=1G disk.img
            Would make an image of 1 GiB
      "
    `);
    expect((await runCli(example, ['help', 'format'])).stdout).toBe(stdout);
  });

  test('the list of commands', async () => {
    const { stdout } = await runCli(example, ['--help']);
    expect(stdout).toMatchInlineSnapshot(`
      "example: shows how commands are written

      Usage: example <command> [options] ...

      Commands:
        mkfs, format  Make a filesystem of the example

      About this program:
        completions  Print a script that completes command lines in bash, zsh or fish
        help         Explain a command
        version      Print the version

      'example <command> --help' explains a command and gives examples.
      "
    `);
  });

  test('one clear line and exit code 2 for what is wrong', async () => {
    expect(await runCli(example, ['mkfs', '--fs-sise=1G', 'a'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "example mkfs: unknown option --fs-sise, did you mean --fs_size? (try 'example mkfs --help')
      ",
        "stdout": "",
      }
    `);
    expect(await runCli(example, ['mkfs', '--replicas=2', 'a'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "example mkfs: --replicas: 2 copies need as many devices, expected at least that many (try 'example mkfs --help')
      ",
        "stdout": "",
      }
    `);
    expect(await runCli(example, ['mkfs', '--replicas=2', 'a', '--json'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "{"schema":"bcachefs-ts/error","version":1,"program":"example","command":"mkfs","error":"usage","message":"--replicas: 2 copies need as many devices, expected at least that many","exit_code":2,"name":"command_line","option":"--replicas"}
      ",
        "stdout": "",
      }
    `);
  });
});
