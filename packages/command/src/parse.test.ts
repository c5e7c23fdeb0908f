import { InvariantError, UsageError } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import type { CommandDeclaration } from './command.ts';
import { HelpAsked } from './errors.ts';
import { parseArguments } from './parse.ts';

const declaration: CommandDeclaration = {
  name: 'make',
  summary: '',
  positionals: { devices: { count: 'some', help: '' } },
  options: {
    force: { type: 'flag', alias: 'f', help: '' },
    verbose: { type: 'flag', alias: 'v', help: '' },
    acl: { type: 'boolean', help: '' },
    inline_data: { type: 'boolean', default: true, help: '' },
    fs_label: { type: 'string', alias: 'L', value: 'NAME', help: '' },
    replicas: { type: 'number', alias: 'r', min: 1, max: 4, default: 1, help: '' },
    block_size: { type: 'size', help: '' },
    checksum: { type: 'choice', choices: ['none', 'crc32c', 'crc64'], help: '' },
    option: { type: 'string', alias: 'o', repeat: true, parse: text => text.split(','), help: '' },
    wipe: { type: 'choice', alias: 'w', choices: ['names', 'all'], bare: 'names', help: '' },
    encrypted: { type: 'flag', conflictsWith: ['acl'], help: '' },
    passphrase_file: { type: 'string', needs: ['encrypted'], help: '' },
    exact: { type: 'flag', help: '' },
    exact_form: { type: 'flag', help: '' },
    exotic: { type: 'flag', hidden: true, help: '' },
    label: { type: 'string', alias: 'l', each: 'devices', help: '' },
    durability: { type: 'number', default: 1, each: 'devices', help: '' },
    fs_size: { type: 'size', each: 'devices', help: '' },
  },
};

const parse = (line: string, command = declaration) =>
  parseArguments(command, line === '' ? [] : line.split(' '), 'make [options] <devices>...');

describe('spelling', () => {
  test.each([
    ['--fs_label=x d', { fs_label: 'x' }],
    ['--fs-label=x d', { fs_label: 'x' }],
    ['--fs_label x d', { fs_label: 'x' }],
    ['-L x d', { fs_label: 'x' }],
    ['-Lx d', { fs_label: 'x' }],
    ['-L=x d', { fs_label: 'x' }],
    ['-fvLx d', { force: true, verbose: true, fs_label: 'x' }],
    ['-fvL x d', { force: true, verbose: true, fs_label: 'x' }],
    ['-vLf d', { force: false, verbose: true, fs_label: 'f' }],
    ['--fs_label= d', { fs_label: '' }],
    ['--fs_label=a=b d', { fs_label: 'a=b' }],
    ['--fs_label=-x d', { fs_label: '-x' }],
    ['--fs_label="x" d', { fs_label: '"x"' }],
    ['--fs_label=a --fs_label=b d', { fs_label: 'b' }],
    ['-r3 d', { replicas: 3 }],
    ['d', { wipe: undefined }],
    ['--wipe d', { wipe: 'names', devices: [{ word: 'd', options: expect.anything(), own: new Set() }] }],
    ['-fw d', { wipe: 'names', force: true }],
    ['--wipe=all d', { wipe: 'all' }],
    ['-wall d', { wipe: 'all' }],
    ['d', { replicas: 1, fs_label: undefined, option: [], inline_data: true, acl: undefined }],
    ['--acl d', { acl: true }],
    ['--acl=no d', { acl: false }],
    ['--no_acl d', { acl: false }],
    ['--no-acl --acl d', { acl: true }],
    ['--no-inline-data d', { inline_data: false }],
    ['--block_size=4k d', { block_size: 4096 }],
    ['-o a,b -oc d', { option: [['a', 'b'], ['c']] }],
    ['--checksum=crc64 d', { checksum: 'crc64' }],
    // As getopt_long: the beginning of a name will do, and an exact match wins.
    ['--encr d', { encrypted: true }],
    ['--check=crc64 d', { checksum: 'crc64' }],
    ['--fs-l x d', { fs_label: 'x' }],
    ['--no-in d', { inline_data: false }],
    ['--exact d', { exact: true, exact_form: false }],
    ['--exact_f d', { exact: false, exact_form: true }],
    ['--exo d', { exotic: true }],
    // As getopt_long: an option that needs a value takes the next word, whatever it looks like.
    ['-L -x d', { fs_label: '-x' }],
    ['--fs_label -5 d', { fs_label: '-5' }],
    ['--fs_label --force d', { fs_label: '--force', force: false }],
    ['-fL -- d', { fs_label: '--', force: true }],
    ['-o -extents,-5 -o --wipe d', { option: [['-extents', '-5'], ['--wipe']] }],
  ])('%s', (line, expected) => {
    expect(parse(line)).toMatchObject(expected);
  });

  test('flags do not swallow what follows', () => {
    expect(parse('--force d -v e')).toMatchObject({ force: true, verbose: true });
  });
});

describe('options for each device', () => {
  const devices = (line: string) =>
    (
      parse(line) as unknown as { devices: { word: string; options: Record<string, unknown>; own: Set<string> }[] }
    ).devices.map(({ word, options, own }) => [word, options.label, options.durability, options.fs_size, ...own]);

  test.each([
    [
      'a b',
      [
        ['a', undefined, 1, undefined],
        ['b', undefined, 1, undefined],
      ],
    ],
    [
      '--label=x a b',
      [
        ['a', 'x', 1, undefined, 'label'],
        ['b', 'x', 1, undefined],
      ],
    ],
    [
      'a --label=x b',
      [
        ['a', undefined, 1, undefined],
        ['b', 'x', 1, undefined, 'label'],
      ],
    ],
    [
      '--label ssd.a --durability=2 --fs_size=1k a -l hdd.b b -f c',
      [
        ['a', 'ssd.a', 2, 1024, 'label', 'durability', 'fs_size'],
        ['b', 'hdd.b', 2, 1024, 'label'],
        ['c', 'hdd.b', 2, 1024],
      ],
    ],
    ['-fl x a', [['a', 'x', 1, undefined, 'label']]],
    [
      '--label=x -- -a b',
      [
        ['-a', 'x', 1, undefined, 'label'],
        ['b', 'x', 1, undefined],
      ],
    ],
    [
      '--fs_size=1k a --label=y -- -b',
      [
        ['a', undefined, 1, 1024, 'fs_size'],
        ['-b', 'y', 1, 1024, 'label'],
      ],
    ],
    ['--fs_label a --label b c', [['c', 'b', 1, undefined, 'label']]],
    ['--label -b --fs_si 2k c', [['c', '-b', 1, 2048, 'label', 'fs_size']]],
  ])('%s', (line, expected) => {
    expect(devices(line)).toEqual(expected);
  });
});

describe('what is wrong, by name', () => {
  test.each([
    ['', '<devices> is missing; usage: make [options] <devices>...'],
    ['--fs_lable=x d', 'unknown option --fs_lable, did you mean --fs_label?'],
    ['--zzz d', 'unknown option --zzz'],
    ['--no_fs_label d', 'unknown option --no_fs_label, did you mean --fs_label?'],
    ['--noacl d', 'unknown option --noacl, did you mean --no_acl?'],
    ['--=x d', 'unknown option --'],
    ['--- d', 'unknown option ---'],
    ['--__proto__=1 d', 'unknown option --__proto__'],
    ['--constructor d', 'unknown option --constructor'],
    ['-x d', 'unknown option -x'],
    ['-fx d', 'unknown option -x in -fx'],
    ['-verbose d', 'unknown option -e in -verbose, did you mean --verbose?'],
    ['-5.img', 'unknown option -5 in -5.img'],
    ['--force=yes d', "--force: takes no value, but 'yes' was given"],
    ['--no_acl=yes d', "--no_acl: takes no value, but 'yes' was given"],
    ['--acl=perhaps d', "--acl: 'perhaps' is neither yes nor no, expected 1, yes, true, on or 0, no, false, off"],
    ['d --fs_label', '--fs_label: needs a value: --fs_label=NAME'],
    ['d -fL', '--fs_label: needs a value: --fs_label=NAME'],
    ['--fs_l', '--fs_label: needs a value: --fs_label=NAME'],
    ['--fs=x d', '--fs: can be --fs_label or --fs_size'],
    ['--ex d', '--ex: can be --exact or --exact_form'],
    ['--no_ d', '--no_: can be --no_acl or --no_inline_data'],
    ['--no_i=yes d', "--no_i: takes no value, but 'yes' was given"],
    ['--repl=9 d', '--replicas: 9 is out of range, expected a whole number from 1 to 4'],
    ['--replicas=9 d', '--replicas: 9 is out of range, expected a whole number from 1 to 4'],
    [
      '--block_size=big d',
      "--block_size: 'big' is not a size, expected a number of bytes such as 4096, 64k, 1.5G or 2T",
    ],
    ['--checksum=crc32 d', "--checksum: 'crc32' is not known, expected none, crc32c or crc64; did you mean crc32c?"],
    ['--checksum=toString d', "--checksum: 'toString' is not known, expected none, crc32c or crc64"],
    ['--encrypted --acl d', '--encrypted: cannot be given together with --acl'],
    ['--passphrase_file=p d', '--passphrase_file: makes sense only together with --encrypted'],
    ['d --label=x', '--label: applies to the devices that come after it, but none does'],
    ['--durability=x d', "--durability: 'x' is not a whole number, expected one of at least 0"],
  ])('%s', (line, message) => {
    expect(() => parse(line)).toThrow(expect.objectContaining({ name: 'UsageError', message }));
  });

  test('one word too many, and choices of words', () => {
    const command: CommandDeclaration = {
      ...declaration,
      options: { required: { type: 'string', required: true, help: '' } },
      positionals: {
        shell: { count: 'one', choices: ['bash', 'zsh'], help: '' },
        file: { count: 'optional', help: '' },
      },
    };
    expect(parse('--required=x zsh', command)).toMatchObject({ shell: 'zsh', file: undefined });
    expect(parse('--required=x zsh a', command)).toMatchObject({ shell: 'zsh', file: 'a' });
    expect(() => parse('--required=x zsh a b', command)).toThrow("'b' is one word too many; usage: make");
    expect(() => parse('--required=x csh', command)).toThrow("<shell>: 'csh' is not known, expected bash or zsh");
    expect(() => parse('zsh', command)).toThrow('--required: is required: --required=TEXT');
  });

  test('a command cannot redeclare a common option', () => {
    const command = { ...declaration, options: { json: { type: 'flag', help: '' } } } as const;
    expect(() => parse('d', command)).toThrow(InvariantError);
  });
});

test('any words give values or a UsageError, nothing else', () => {
  // A linear congruential generator with a fixed seed: failures repeat.
  let state = 20240101;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  const pieces = [
    '--',
    '-',
    '=',
    'fs_label',
    'label',
    'no_',
    'acl',
    'force',
    'l',
    'f',
    'v',
    '1',
    '.',
    '_',
    '"',
    'é',
    '\n',
    'x',
  ];
  const wholes = ['dev', '--label=x', '--label', '--fs_size=1k', '-fv', '--', '--acl', '-l'];
  for (let round = 0; round < 3000; round++) {
    const words = Array.from({ length: random(6) }, () =>
      random(2) === 0
        ? wholes[random(wholes.length)]!
        : Array.from({ length: random(5) }, () => pieces[random(pieces.length)]!).join(''),
    );
    try {
      parseArguments(declaration, words, 'usage');
    } catch (error) {
      if (error instanceof HelpAsked) continue;
      expect(error, `seed 20240101, words ${JSON.stringify(words)}`).toBeInstanceOf(UsageError);
    }
  }
});
