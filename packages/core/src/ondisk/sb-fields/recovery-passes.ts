// Section `recovery_passes` (since 1.21): when each recovery pass last ran and how long it took, by stable pass id, so that costly
// ones are not run too often. Source: init/passes_format.h and init/passes.c, v1.36.1.

import { durationText } from '../../util/time.ts';
import { at, i64, layout, type Struct, u32, viewOf } from '../layout.ts';
import { passes } from '../passes.ts';
import { nameAt } from '../releases.ts';
import type { SbFieldKind } from './kind.ts';

/** struct recovery_pass_entry. */
const RecoveryPassEntry = layout('recovery_pass_entry', 16, {
  last_run: at(0, i64), // seconds since 1970; 0: never
  last_runtime: at(8, u32), // seconds
  flags: at(12, u32), // see NO_RATELIMIT
});
type RecoveryPassEntry = Struct<typeof RecoveryPassEntry>;

/** Bit of `flags`: run it again whenever it is asked for. */
const NO_RATELIMIT = 1;

export const recoveryPassesField: SbFieldKind<readonly RecoveryPassEntry[]> = {
  name: 'recovery_passes',
  decode(payload) {
    const view = viewOf(payload);
    const count = Math.floor(payload.length / RecoveryPassEntry.size);
    return Array.from({ length: count }, (_, i) => RecoveryPassEntry.get(view, i * RecoveryPassEntry.size));
  },
  validate: () => [],
  text(out, value, { style, dateTime }) {
    // Left behind for the sections that follow, as in the reference.
    while (out.tabStopCount < 2) out.pushTabStop(32);
    out.print('Pass\tLast run\tLast runtime\n');
    value.forEach(({ last_run, last_runtime, flags }, id) => {
      if (last_run === 0n) return;
      const row = passes.byId(id);
      out.print(`${row === undefined ? `unknown(${id})` : nameAt(style, row)}\t${dateTime(last_run)}`).tab();
      out.print(`${durationText(last_runtime)}${flags & NO_RATELIMIT ? ' (no ratelimit)' : ''}\n`);
    });
  },
  json: value => ({
    passes: value.flatMap(({ last_run, last_runtime, flags }, id) =>
      last_run === 0n
        ? []
        : [
            {
              pass: passes.nameOf(id),
              last_run,
              last_runtime_seconds: last_runtime,
              no_ratelimit: (flags & NO_RATELIMIT) !== 0,
            },
          ],
    ),
  }),
};
