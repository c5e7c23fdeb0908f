import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { patient } from './test/support/patience.ts';
import { SummaryReporter } from './test/support/summary-reporter.ts';
import { ALONE, isWhole, leftFiles, NAMED, SHARING, turnOf } from './test/support/whole-run.ts';

// Tests import the packages' sources directly: no build stands between an edit and its test.
const common = {
  resolve: { conditions: ['@bcachefs-ts/source'] },
  ssr: { resolve: { conditions: ['@bcachefs-ts/source', 'node', 'import', 'default'] } },
};

const gone = NAMED.filter(path => !existsSync(join(import.meta.dirname, path)));
if (gone.length > 0) throw new Error(`test/support/whole-run.ts names what is not there: ${gone.join(', ')}`);

const left = leftFiles();
const outside = ['**/node_modules/**', ...left];
const setupFiles = ['test/support/byte-equality.ts', 'test/support/derived-keys.ts'];
const unit = {
  setupFiles,
  testTimeout: patient(30_000),
  hookTimeout: patient(30_000),
  pool: 'forks',
  // Vitest would leave one core to itself.
  maxWorkers: availableParallelism(),
} as const;

/** The longest first, within each project. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const groupOf = ({ project }: TestSpecification) => project.config.sequence.groupOrder ?? 0;
    const turn = ({ moduleId }: TestSpecification) => turnOf(relative(import.meta.dirname, moduleId));
    return (await super.sort(files)).sort(
      (a, b) =>
        groupOf(a) - groupOf(b) ||
        Number(b.project.config.isolate) - Number(a.project.config.isolate) ||
        turn(a) - turn(b),
    );
  }
}

export default defineConfig({
  test: {
    // In a terminal the default one; the last lines are ours everywhere.
    reporters: ['default', new SummaryReporter(left)],
    ...(process.argv.some(word => word.startsWith('--sequence')) ? {} : { sequence: { sequencer: LongestFirst } }),
    projects: [
      {
        ...common,
        test: {
          ...unit,
          name: 'unit',
          include: [...(isWhole ? ALONE : SHARING), 'test/**/*.test.ts'],
          exclude: ['test/kernel/**', ...outside],
        },
      },
      // After those of their own: what shares a process must not be torn from each other.
      ...(isWhole
        ? [
            {
              ...common,
              test: {
                ...unit,
                name: 'unit-sharing',
                include: [...SHARING],
                exclude: [...ALONE, ...outside],
                isolate: false,
              },
            },
          ]
        : []),
      {
        ...common,
        test: {
          name: 'kernel',
          setupFiles,
          include: ['test/kernel/**/*.test.ts'],
          exclude: outside,
          // After everything else. An emulated kernel takes one core.
          sequence: { groupOrder: 1 },
          maxWorkers: Math.min(availableParallelism(), 4),
          testTimeout: patient(120_000),
          hookTimeout: patient(120_000),
          pool: 'forks',
        },
      },
    ],
  },
});
