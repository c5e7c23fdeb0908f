// The list of commands agrees with the commands, and every command says what a user needs.

import { commandToMarkdown, listedEntries, runCli } from '@bcachefs-ts/command';
import { describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { elsewhere } from '../../packages/bcachefs/src/programs/elsewhere.ts';
import { parseArguments } from '../../packages/command/src/parse.ts';

const entries = [...listedEntries(bcachefs.commands)];

describe.each(entries.map(each => [each.words.join(' '), each] as const))('%s', (_name, { words, entry }) => {
  test('is listed by its own name and summary', async () => {
    const { name, summary } = await entry.load();
    expect({ name: entry.name, summary: entry.summary }).toEqual({ name, summary });
    expect(summary).toMatch(/^[A-Z].*[^.]$/);
  });

  test('explains itself', async () => {
    const command = await entry.load();
    const { exitCode, stdout, stderr } = await runCli(bcachefs, [...words, '--help']);
    expect({ exitCode, stderr }).toEqual({ exitCode: entry.helpExitCode ?? 0, stderr: '' });
    expect(stdout).toContain(`Usage: bcachefs ${words.join(' ')} [options]`);
    for (const [option, spec] of Object.entries(command.options)) {
      expect(spec.help.length, `--${option} has a help text`).toBeGreaterThan(4);
      expect(spec.help, `--${option}: a phrase without a full stop`).not.toMatch(/\.$/);
    }
    for (const example of command.examples ?? []) {
      expect(example.command).toMatch(/\bbcachefs /);
    }
    expect(commandToMarkdown('bcachefs', words, command)).toContain(`# bcachefs ${words.join(' ')}\n`);
  });

  test('has examples, if it works on devices', async () => {
    const command = await entry.load();
    if (Object.values(command.positionals).some(spec => spec.file)) expect(command.examples?.length).toBeGreaterThan(0);
  });
});

/** A command's arguments, as its own declarations read them. */
async function argumentsOf(name: string, line: string): Promise<object> {
  const found = entries.find(({ words }) => words.join(' ') === name);
  if (found === undefined) throw new Error(`no command ${name}`);
  return parseArguments(await found.entry.load(), line.split(' '), name);
}

test('the command line takes what getopt_long takes: beginnings, and values that begin with a dash', async () => {
  expect(await argumentsOf('format', '--encrypt --bucket=128k disk.img')).toMatchObject({
    encrypted: true,
    devices: [{ word: 'disk.img', options: { bucket_size: 131072 } }],
  });
  await expect(argumentsOf('format', '--metadata=1 d')).rejects.toThrow(
    /^--metadata: can be --metadata_replicas, --metadata_replicas_required, --metadata_checksum or /,
  );
  expect(await argumentsOf('list_journal', '-b -extents disk.img')).toEqual(
    await argumentsOf('list_journal', '--btree=-extents disk.img'),
  );
});

test.each(elsewhere)('$words, which is not here, says what to use', async ({ words, instead }) => {
  const { exitCode, stdout, stderr } = await runCli(bcachefs, [...words.split(' '), '--whatever', 'disk.img']);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toMatch(/^bcachefs [^\n]+\n$/);
  expect(stderr.endsWith(`; ${instead}\n`)).toBe(true);
});

test("the reference's aliases", async () => {
  const same = ['subvolume snapshot', 'subvol snap', 'subvol snapshot'].map(words => [...words.split(' '), '--help']);
  const helps = await Promise.all(same.map(words => runCli(bcachefs, words)));
  expect(new Set(helps.map(({ stdout }) => stdout)).size).toBe(1);
  for (const words of [
    ['subvol', 'new'],
    ['subvol', 'del'],
    ['subvol', 'ls'],
    ['mkfs'],
    ['list-journal'],
    ['show_super'],
  ]) {
    expect((await runCli(bcachefs, [...words, '--help'])).exitCode, words.join(' ')).toBe(0);
  }
});

test('the list of commands', async () => {
  const { stdout } = await runCli(bcachefs, ['--help']);
  expect(stdout).toMatchInlineSnapshot(`
    "bcachefs: make and look into bcachefs filesystems, without the kernel and without root

    Usage: bcachefs <command> [options] ...

    Making filesystems:
      format, mkfs        Make a new filesystem on one or more devices or image
                          files
      image               Make images, and bring them up to date
      migrate             Turn an ext4 filesystem into bcachefs in place, and back
      migrate-superblock  Give a filesystem that bcachefs-tools has migrated its
                          superblocks at the usual places

    Superblock:
      show-super      Print the superblock of a device or image
      recover-super   Restore a damaged superblock from one of its copies
      set-fs-option   Change options that are stored in the superblock
      reset-counters  Set the counters in the superblock back to zero
      recovery-pass   List, schedule or cancel recovery passes of the next mount
      upgrade         Take a filesystem to another metadata version, up or down
      strip-alloc     Drop the allocation info of a filesystem that is only read
      undo            Undo a command, from the file that its --undo_file made

    Members of filesystems:
      device, dev  Look at the members of a filesystem, and change them
      mount        Mount a filesystem with the driver of the running kernel
      data         Bring data to where it is to be, in as many copies as wanted

    Looking into filesystems:
      explore              Look around in a filesystem, on a terminal
      list                 Print the keys of a btree, or its nodes
      list_journal         Print the contents of the journal
      journal_rewind_info  List the earlier states that the journal still reaches
      dump                 Write the metadata of a filesystem to qcow2 files
      undump               Turn qcow2 files of dump back into images
      explain              Say what lies at a byte of a device
      locate               Say where on the devices files are
      fs                   Show filesystem-wide information
      map                  Draw what is in the buckets of every device
      view                 Show a filesystem in a browser
      du                   Say what files and directories take, and what is theirs
                           alone
      diff                 Say what differs between two filesystems, or two
                           snapshots of one

    Files without a mount:
      ls               List files and directories
      tree             Draw the tree of directories and files
      stat             Show everything that is known about files
      cat              Write the contents of files to standard output
      get-file-option  Print the options of files and directories
      get              Copy files out of a filesystem to where they are wanted
      restore          Copy files out of a filesystem, and say whether they are
                       whole
      tar              Write files as a tar archive
      shell            Look at files and change them, one command after the other

    Changing files without a mount:
      put                Copy files of the host into a filesystem
      rm                 Remove files and directories
      mkdir              Make directories
      mv                 Rename or move a file or directory
      set-file-option    Set options on files and directories
      subvolume, subvol  Make, delete and list subvolumes and snapshots

    Encryption:
      unlock             Hand the key of an encrypted filesystem to the kernel, or
                         check a passphrase
      set-passphrase     Change the passphrase of an encrypted filesystem
      remove-passphrase  Store the key of an encrypted filesystem without a
                         passphrase

    Checking and repairing:
      fsck    Check a filesystem, and repair it
      scrub   Verify all checksums, and repair bad copies from good ones
      damage  Show what a filesystem has recorded as damaged

    By hand, for tests and experts:
      corrupt          Damage an image on purpose, for tests
      kill_btree_node  Damage single btree nodes on purpose, for tests
      kvdb             Look at keys and edit them by hand, by the names of their
                       fields

    About this program:
      completions  Print a script that completes command lines in bash, zsh or fish
      help         Explain a command
      version      Print the version

    They need a running kernel; each says what to use:
      device online, device offline, data scrub, data job, fs top, fs timestats,
      fusemount, wait-devices, reconcile status, reconcile wait,
      reflink-option-propagate, data-read, unpoison

    'bcachefs <command> --help' explains a command and gives examples.
    "
  `);
});
