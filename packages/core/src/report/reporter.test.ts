import { describe, expect, test } from 'vitest';
import { answerGroups } from './answer-groups.ts';
import { type Finding, finding } from './finding.ts';
import { type Answer, type Decided, decidedJson, type Question, Reporter, type ReporterOptions } from './reporter.ts';

/** Safe by its row. */
const count = (found = 3): Finding =>
  finding('alloc_key_dirty_sectors_wrong', { btree: 'alloc', pos: '0:37:0' }, { found, expected: 128 });
const cached = (): Finding => finding('alloc_key_cached_sectors_wrong', {}, { found: 1, expected: 2 });
/** Not safe. */
const lost = (inum = 7n): Finding => finding('dir_loop', { path: `/d${inum}` }, { directories: 2 });
const size = (): Finding => finding('extent_past_end_of_inode', {}, { end: 9, most: 8, snapshot: 1 });

function reporter(policy: ReporterOptions['policy'], more: Partial<ReporterOptions> = {}) {
  const reported: Decided[] = [];
  return { reported, report: new Reporter({ policy, onFinding: one => reported.push(one), ...more }) };
}

/** Answers in order, and what was asked. */
function asked(...answers: readonly Answer[]) {
  const questions: Question[] = [];
  const left = [...answers];
  const ask = (question: Question): Answer => {
    questions.push(question);
    const answer = left.shift();
    if (answer === undefined) throw new Error('asked once too often');
    return answer;
  };
  return { questions, policy: { kind: 'ask', ask } as const };
}

describe('policies', () => {
  test('no: nothing is repaired, all is counted', () => {
    const { report } = reporter({ kind: 'no' });
    expect([report.found(count()), report.found(lost())]).toEqual(['ignore', 'ignore']);
    expect(report).toMatchObject({ foundCount: 2, fixedCount: 0, leftCount: 2, stopped: undefined });
  });

  test('yes: all is repaired that can be', () => {
    const { report } = reporter({ kind: 'yes' });
    expect([report.found(count()), report.found(lost()), report.found(lost(), { isRepairable: false })]).toEqual([
      'fix',
      'fix',
      'ignore',
    ]);
    expect(report).toMatchObject({ foundCount: 3, fixedCount: 2, leftCount: 1 });
  });

  test('preen: what is safe is repaired, and the first that is not ends it', () => {
    const { report } = reporter({ kind: 'preen' });
    expect(report.found(count())).toBe('fix');
    expect(report.found(lost())).toBe('ignore');
    expect(report.stopped).toBe('unsafe');
    expect(report.found(count())).toBe('ignore');
    expect(report).toMatchObject({ foundCount: 3, fixedCount: 1 });
  });

  test('preen: a repair may be safe although its error is not, and the other way round', () => {
    const { report, reported } = reporter({ kind: 'preen' });
    expect(report.found(lost(), { safe: true })).toBe('fix');
    expect(report.found(count(), { safe: false })).toBe('ignore');
    expect(report.stopped).toBe('unsafe');
    expect(reported.map(({ safe }) => safe)).toEqual([true, false]);
  });

  test('preen ends at what cannot be repaired, unless it is harmless', () => {
    const { report } = reporter({ kind: 'preen' });
    expect(report.found(count(), { isRepairable: false })).toBe('ignore');
    expect(report.stopped).toBeUndefined();
    expect(report.found(lost(), { isRepairable: false })).toBe('ignore');
    expect(report.stopped).toBe('unsafe');
  });
});

describe('findings with one repair', () => {
  test('one that is to stay keeps the others, and none of them is said to be repaired', () => {
    const { report, reported } = reporter({ kind: 'preen' });
    expect(report.foundTogether(() => [count(), lost(), cached()])).toBe(false);
    expect(reported.map(({ decision }) => decision)).toEqual(['ignore', 'ignore', 'ignore']);
    expect(report).toMatchObject({ foundCount: 3, fixedCount: 0, repairCount: 0, stopped: 'unsafe' });
  });

  test('all are repaired where all are to be', () => {
    const { report } = reporter({ kind: 'yes' });
    expect(report.foundTogether(() => [count(), lost()])).toBe(true);
    expect(report).toMatchObject({ foundCount: 2, fixedCount: 2, repairCount: 2 });
    expect(report.foundTogether(() => [])).toBe(true);
  });
});

describe('asking', () => {
  test('each finding by itself', () => {
    const { policy, questions } = asked('yes', 'no', 'yes');
    const { report } = reporter(policy);
    expect([report.found(lost(1n)), report.found(lost(2n)), report.found(size())]).toEqual(['fix', 'ignore', 'fix']);
    expect(questions.map(({ finding: { where } }) => where.path)).toEqual(['/d1', '/d2', undefined]);
    expect(questions[0]?.group).toBeUndefined();
  });

  test('all and none hold for an error, and for no other', () => {
    const { policy, questions } = asked('all', 'none');
    const { report } = reporter(policy);
    expect([report.found(lost()), report.found(lost()), report.found(size()), report.found(size())]).toEqual([
      'fix',
      'fix',
      'ignore',
      'ignore',
    ]);
    expect(questions).toHaveLength(2);
  });

  test('a group is asked about once, whatever of it comes first', () => {
    const { policy, questions } = asked('yes', 'no');
    const { report } = reporter(policy);
    expect([report.found(count()), report.found(cached()), report.found(count())]).toEqual(['fix', 'fix', 'fix']);
    expect(questions[0]?.group?.question).toBe('What buckets hold is not what is noted for them. Count it anew?');
    expect(report.found(lost())).toBe('ignore');
  });

  test('a group that is declined stays as it is', () => {
    const { policy } = asked('no');
    const { report } = reporter(policy);
    expect([report.found(count()), report.found(cached())]).toEqual(['ignore', 'ignore']);
  });

  test('nothing is asked or repaired after quitting', () => {
    const { policy } = asked('yes', 'quit');
    const { report } = reporter(policy);
    expect([report.found(count()), report.found(lost()), report.found(count()), report.found(size())]).toEqual([
      'fix',
      'ignore',
      'ignore',
      'ignore',
    ]);
    expect(report).toMatchObject({ stopped: 'quit', foundCount: 4, fixedCount: 1 });
  });

  test('there is no question about what cannot be repaired', () => {
    const { report } = reporter(asked().policy);
    expect(report.found(lost(), { isRepairable: false })).toBe('ignore');
  });
});

describe('counting and grouping', () => {
  test('many of one error are counted, and so many shown as are wanted', () => {
    const { report, reported } = reporter({ kind: 'yes' }, { shownPerError: 2 });
    for (let i = 0; i < 5; i++) report.found(count(i));
    report.found(lost());
    expect(reported).toHaveLength(3);
    expect(report.groups()).toEqual([
      { error: 'alloc_key_dirty_sectors_wrong', id: 108, severity: 'warning', found: 5, fixed: 5, shown: 2 },
      { error: 'dir_loop', id: 241, severity: 'error', found: 1, fixed: 1, shown: 1 },
    ]);
    expect([report.countOf('alloc_key_dirty_sectors_wrong'), report.countOf('inode_unreachable')]).toEqual([5, 0]);
  });

  test('so many are shown of all errors together, and all are counted', () => {
    const { report, reported } = reporter({ kind: 'yes' }, { shownPerError: 3, shownMax: 4 });
    for (let i = 0; i < 5; i++) report.found(count(i));
    for (let i = 0; i < 2; i++) report.found(lost());
    expect(reported).toHaveLength(4);
    expect(report.groups().map(({ found, shown }) => [found, shown])).toEqual([
      [5, 3],
      [2, 1],
    ]);
  });

  test('silent errors are repaired, not shown and not counted; without a repair they are like any other', () => {
    const silent = new Set(['alloc_key_dirty_sectors_wrong'] as const);
    const { report, reported } = reporter({ kind: 'preen' }, { silent });
    expect(report.found(count())).toBe('fix');
    expect({ reported: reported.length, count: report.foundCount }).toEqual({ reported: 0, count: 0 });
    const lossy = reporter({ kind: 'preen' }, { silent: new Set(['dir_loop'] as const) });
    expect(lossy.report.found(lost())).toBe('ignore');
    expect(lossy.reported).toHaveLength(1);
    const looking = reporter({ kind: 'no' }, { silent });
    expect(looking.report.found(count())).toBe('ignore');
    expect(looking.report.foundCount).toBe(1);
  });

  test('a finding belongs to the pass that runs, or to the one that it names', () => {
    const { report, reported } = reporter({ kind: 'no' });
    report.found(count());
    report.pass = 'check_allocations';
    report.found(count());
    report.found(count(), { pass: 'check_inodes' });
    expect(reported.map(({ pass }) => pass)).toEqual([undefined, 'check_allocations', 'check_inodes']);
  });
});

test('one line of JSON has everything that is known', () => {
  const { report, reported } = reporter({ kind: 'yes' });
  report.found(count(), { pass: 'check_allocations', before: 'dirty_sectors 3', after: 'dirty_sectors 128' });
  report.found(lost());
  expect(reported.map(one => JSON.stringify(decidedJson(one)))).toEqual([
    '{"id":"alloc_key_dirty_sectors_wrong","number":108,"pass":"check_allocations","severity":"warning","safe":true,' +
      '"where":{"btree":"alloc","pos":"0:37:0"},"path":null,"facts":{"found":3,"expected":128},"detail":"found 3, expected 128",' +
      '"before":"dirty_sectors 3","after":"dirty_sectors 128","decision":"fix"}',
    '{"id":"dir_loop","number":241,"pass":null,"severity":"error","safe":false,"where":{},"path":"/d7","facts":{"directories":2},' +
      '"detail":"found 2 directories above it lead back to it, expected a root","before":null,"after":null,"decision":"fix"}',
  ]);
});

test('an error is in one group of answers at most', () => {
  const errors = answerGroups.flatMap(group => group.errors as readonly string[]);
  expect(new Set(errors).size).toBe(errors.length);
});
