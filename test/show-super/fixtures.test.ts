// show-super's text against the reference's own, line for line, for every fixture and device. Where the reference printed an error
// (encrypted, damaged), the text is held against what an older release or an undamaged sibling says.

import {
  MemoryDevice,
  readSuperblock,
  type SbFieldName,
  type Superblock,
  superblockText,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { imageHead, whyNoFixtures } from '../support/fixtures.ts';
import { type ReferenceRun, showSuperFixtures } from './reference-runs.ts';

if (whyNoFixtures !== undefined) console.warn(`show-super fixtures skipped: ${whyNoFixtures}`);

/** The dates were printed in this zone. */
beforeAll(() => {
  process.env.TZ = 'UTC';
});

function readHead(image: string): Superblock {
  return readSuperblock(MemoryDevice.from(imageHead(image))).sb;
}

function ourText(run: ReferenceRun, { all = false, named = true } = {}): string {
  const sb = readHead(run.image);
  const fields = run.args[run.args.indexOf('-f') + 1];
  return superblockText(sb, {
    layout: run.args.includes('-l'),
    ...(run.args.includes('-f') && fields !== undefined ? { fields: fields.split(',') as SbFieldName[] } : {}),
    ...(all ? { fields: 'all' } : {}),
    memberName: index => (named && index === sb.dev_idx ? run.image : undefined),
  });
}

/** The reference looks a member's name up among block devices, where it found none. */
const withoutMemberNames = (text: string) => text.replace(/^(Device \d+:).*$/gm, '$1');

const matched = ['1.36.1', '1.39.2'];
const fixtures = whyNoFixtures === undefined ? showSuperFixtures() : [];
const runs = fixtures.flatMap(fixture => fixture.runs.map(run => ({ ...run, fixture })));
const runName = (run: ReferenceRun) => `${run.image} ${run.args.slice(0, 2).join(' ')}`;

describe.skipIf(whyNoFixtures !== undefined)('the reference’s text', () => {
  const printed = runs.filter(run => matched.includes(run.tool) && !run.failed);

  test('there is enough of it', () => {
    expect(fixtures.length).toBeGreaterThanOrEqual(72);
    expect(printed.length).toBeGreaterThanOrEqual(156);
  });

  test.each(printed.map(run => ({ name: runName(run), run })))('$name', ({ run }) => {
    expect(withoutMemberNames(ourText(run))).toBe(withoutMemberNames(run.output));
    const memberLines = (text: string) => text.match(/^Device \d+:.*$/gm);
    expect(memberLines(ourText(run, { named: false }))).toEqual(memberLines(run.output));
  });
});

describe.skipIf(whyNoFixtures !== undefined)('where the reference failed', () => {
  const failed = runs.filter(run => run.tool === '1.36.1' && run.failed);

  test('damaged superblocks print as their undamaged sibling does', () => {
    const damaged = failed.filter(run => run.fixture.name.startsWith('sb-'));
    expect(damaged).toHaveLength(6);
    const sibling = runs.filter(run => run.fixture.name === 'sb-backup-bitflip' && run.tool === '1.36.1');
    for (const run of damaged) {
      const expected = sibling.find(other => other.args.join() === run.args.join())!;
      const text = ourText(run).replaceAll(run.image, expected.image.padStart(6));
      expect(withoutMemberNames(text)).toBe(withoutMemberNames(expected.output));
    }
  });

  test('encrypted filesystems print, with the facts of v1.13.0 where it could read them', () => {
    const encrypted = failed.filter(run => !run.fixture.name.startsWith('sb-'));
    expect(encrypted).toHaveLength(12);
    for (const run of encrypted) {
      const text = ourText(run);
      expect(text).not.toContain('damaged');
      expect(text).toMatch(/^Sections: +.*\bcrypt\b/m);
      const older = run.fixture.runs.find(other => other.tool === '1.13.0');
      if (older === undefined || older.failed) continue;
      const ours = factsOf(ourText(run, { all: true }));
      const shared = [...factsOf(older.output)].filter(([label]) => ours.has(label));
      expect(shared.length).toBeGreaterThan(50);
      for (const [label, values] of shared)
        expect([label, ...[...ours.get(label)!].toSorted()]).toEqual([label, ...[...values].toSorted()]);
    }
  });
});

/** What both releases write the same way, by label: values without a unit, and the sequence numbers of btree roots. */
function factsOf(text: string): Map<string, Set<string>> {
  const facts = new Map<string, Set<string>>();
  const add = (label: string, value: string) => facts.set(label, (facts.get(label) ?? new Set()).add(value));
  for (const line of text.split('\n')) {
    const [, label = '', value = ''] = /^ *([A-Za-z][\w ]*?)(?::[ \t]+| {2,})(\S.*)$/.exec(line) ?? [];
    const isSize =
      /\b(B|[KMGT]iB)\b|^\d+(\.\d+)?[kMGT]$/.test(value) || /size$|^gc_reserve_bytes|blocksize$/i.test(label);
    if (label !== '' && !isSize && !/^(Device|Version|Oldest|version|btree_root)/.test(label)) add(label, value);
  }
  for (const [, btree, seq, written] of text.matchAll(
    /btree=(\w+) l(?:evel)?=\d .*\s+seq ([0-9a-f]+) written (\d+)/g,
  )) {
    add(`root ${btree}`, `${seq} ${written}`);
  }
  return facts;
}
