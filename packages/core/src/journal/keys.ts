// The keys of a journal entry's sub-entry, taken apart as far as it goes. A key that cannot be one is left out, as the reference
// deletes what does not pass its checks when it reads the journal. Mirrors journal_validate_key (journal_io.c, v1.13.0).

import { BKEY_U64S, Bkey, KEY_FORMAT_CURRENT, type Key } from '../ondisk/bkey.ts';
import { type KeyPlace, keyProblems } from '../ondisk/bkey-validate.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import type { JsetEntry } from '../ondisk/jset-entries.ts';
import type { KeyProblem, KeyValidateContext } from '../ondisk/keys/kind.ts';
import { viewOf } from '../ondisk/layout.ts';

/**
 * The keys that are sound.
 * @param place where they are judged to be: a root's level is one above the root itself
 * @param refuse called with each that is not, and why: the key, or the bytes where one should be; after a wrong length all that follows
 */
export function journalKeys(
  entry: JsetEntry,
  place: KeyPlace,
  context: KeyValidateContext,
  refuse: (error: FaultName, detail: string, what: Key | Uint8Array) => void,
): readonly Key[] {
  const { payload } = entry;
  const view = viewOf(payload);
  const judge: Judge = { place, context, refuse };
  const keys: Key[] = [];
  for (let start = 0; start < payload.length; ) {
    const u64s = view.getUint8(start);
    if (u64s === 0) {
      refuse('journal_entry_bkey_u64s_0', `key ${keys.length}: u64s is 0`, payload.subarray(start));
      break;
    }
    const end = start + 8 * u64s;
    if (end > payload.length) {
      refuse(
        'journal_entry_bkey_past_end',
        `key ${keys.length} is ${8 * u64s} bytes, ${payload.length - start} are left`,
        payload.subarray(start),
      );
      break;
    }
    const key = keyAt(view, payload, start, end, judge);
    if (key !== undefined) keys.push(key);
    start = end;
  }
  return keys;
}

/** What keys are judged by, as journalKeys has it. */
interface Judge {
  readonly place: KeyPlace;
  readonly context: KeyValidateContext;
  refuse(error: FaultName, detail: string, what: Key | Uint8Array): void;
}

function keyAt(view: DataView, payload: Uint8Array, start: number, end: number, judge: Judge): Key | undefined {
  const bytes = payload.subarray(start, end);
  if (end - start < 8 * BKEY_U64S) {
    judge.refuse('bkey_u64s_too_small', `u64s is ${(end - start) / 8}, expected ${BKEY_U64S} or more`, bytes);
    return undefined;
  }
  const k = Bkey.get(view, start);
  if ((k.format & 0x7f) !== KEY_FORMAT_CURRENT) {
    judge.refuse('journal_entry_bkey_bad_format', `format ${k.format}, expected ${KEY_FORMAT_CURRENT}`, bytes);
    return undefined;
  }
  const key = { k, value: payload.subarray(start + Bkey.size, end) };
  const problem = firstProblem(key, judge);
  if (problem === undefined) return key;
  judge.refuse(problem.error, problem.detail, key);
  return undefined;
}

function firstProblem(key: Key, { place, context }: Judge): KeyProblem | undefined {
  try {
    return keyProblems(key, place, context)[0];
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return thrown;
  }
}
