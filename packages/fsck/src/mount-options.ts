// What -o takes: the mount options of Linux 6.12 that concern a check. Each means here what it means there, or is refused in a line.

import { CommandLineError, parseMountOptions } from '@bcachefs-ts/command';
import { type PassName, passes, UsageError } from '@bcachefs-ts/core/engine';

export interface CheckOptions {
  /** `fix_errors` and what amounts to it. */
  readonly repairs: 'no' | 'yes' | 'safe' | 'ask' | undefined;
  readonly verbose: boolean;
  readonly reconstructAlloc: boolean;
  /** Members may be missing. */
  readonly degraded: boolean;
  readonly isWanted: ((pass: PassName) => boolean) | undefined;
}

const KNOWN =
  'fix_errors, recovery_passes, recovery_passes_exclude, recovery_pass_last, ratelimit_errors, reconstruct_alloc, nochanges, errors, ' +
  'degraded, very_degraded, verbose, fsck';

/** Passes without a row of their own here: the shape of the btrees and what follows from pointers are always looked at. */
const ALWAYS: ReadonlySet<PassName> = new Set([
  'scan_for_btree_nodes',
  'check_topology',
  'check_allocations',
  'check_alloc_info',
  'check_lrus',
  'check_btree_backpointers',
  'check_backpointers_to_extents',
  'check_extents_to_backpointers',
  'check_alloc_to_lru_refs',
  'journal_replay',
]);

/** @param texts what was given with each -o @throws CommandLineError for what is not known, or cannot be done */
export function checkOptions(texts: readonly string[]): CheckOptions {
  let repairs: CheckOptions['repairs'];
  let isDry = false;
  let verbose = false;
  let reconstructAlloc = false;
  let degraded = false;
  const excluded = new Set<PassName>();
  let last: PassName | undefined;
  for (const text of texts) {
    for (const { name, value } of parsed(text)) {
      switch (name) {
        case 'fix_errors':
          repairs = fixErrors(value);
          break;
        case 'errors':
          repairs ??= errorAction(value);
          break;
        case 'recovery_passes':
          // Every pass of a check runs in any case.
          passNames(value);
          break;
        case 'recovery_passes_exclude':
          for (const pass of passNames(value)) excluded.add(excludable(pass));
          break;
        case 'recovery_pass_last':
          [last] = passNames(value);
          break;
        case 'nochanges':
          isDry = isYes(name, value);
          break;
        case 'reconstruct_alloc':
          reconstructAlloc = isYes(name, value);
          break;
        case 'ratelimit_errors':
          verbose = !isYes(name, value);
          break;
        case 'verbose':
          verbose = isYes(name, value);
          break;
        case 'degraded':
        case 'very_degraded':
          degraded = isYes(name, value);
          break;
        case 'fsck':
          // A check is one.
          isYes(name, value);
          break;
        case 'norecovery':
          throw refused('norecovery leaves the journal out, and a check without it would be of another filesystem');
        default:
          throw refused(`'${name}' is not known, expected some of ${KNOWN}`);
      }
    }
  }
  return {
    repairs: isDry ? 'no' : repairs,
    verbose,
    reconstructAlloc,
    degraded,
    isWanted: excluded.size === 0 && last === undefined ? undefined : wanted(excluded, last),
  };
}

function parsed(text: string): ReturnType<typeof parseMountOptions> {
  try {
    return parseMountOptions(text);
  } catch (thrown) {
    if (thrown instanceof UsageError) throw refused(thrown.message);
    throw thrown;
  }
}

function wanted(excluded: ReadonlySet<PassName>, last: PassName | undefined): (pass: PassName) => boolean {
  const order = new Map(passes.rows.map(({ name }, index) => [name, index]));
  const end = last === undefined ? Number.POSITIVE_INFINITY : order.get(last)!;
  return pass => !excluded.has(pass) && order.get(pass)! <= end;
}

function fixErrors(value: string | undefined): CheckOptions['repairs'] {
  if (value === undefined) return 'yes';
  if (value === 'yes' || value === 'no' || value === 'ask') return value;
  if (value === 'exit')
    throw refused('fix_errors=exit stops at the first error; -n names all of them and changes nothing');
  throw refused(`fix_errors is '${value}', expected yes, no or ask`);
}

/** What a mount does about errors that it meets: of a check, only that it repairs what is safe. */
function errorAction(value: string | undefined): CheckOptions['repairs'] {
  if (value === 'fix_safe') return 'safe';
  if (value === 'continue' || value === 'ro') return undefined;
  if (value === 'panic') throw refused('errors=panic is for a mounted filesystem; nothing panics here');
  throw refused(`errors is '${value ?? ''}', expected continue, ro or fix_safe`);
}

function passNames(value: string | undefined): readonly PassName[] {
  // A comma would end the option.
  return (value ?? '').split(';').map(name => {
    const row = passes.rows.find(pass => pass.name === name);
    if (row === undefined) throw refused(`there is no recovery pass '${name}'; recovery-pass lists them`);
    return row.name as PassName; // of the table
  });
}

function excludable(pass: PassName): PassName {
  if (ALWAYS.has(pass)) throw refused(`${pass} is part of every check and cannot be left out`);
  return pass;
}

function isYes(name: string, value: string | undefined): boolean {
  if (value === undefined || value === '1' || value === 'yes' || value === 'true') return true;
  if (value === '0' || value === 'no' || value === 'false') return false;
  throw refused(`${name} is '${value}', expected yes or no`);
}

const refused = (detail: string): CommandLineError => new CommandLineError(detail, '-o');
