import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { patient } from './test/support/patience.ts';
import { SummaryReporter } from './test/support/summary-reporter.ts';

// Tests import the packages' sources directly: no build stands between an edit and its test.
const common = {
  resolve: { conditions: ['@bcachefs-ts/source'] },
  ssr: { resolve: { conditions: ['@bcachefs-ts/source', 'node', 'import', 'default'] } },
};

export default defineConfig({
  test: {
    // In a terminal the default one; the last lines are ours everywhere.
    reporters: ['default', new SummaryReporter()],
    projects: [
      {
        ...common,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['test/kernel/**', '**/node_modules/**'],
          testTimeout: patient(30_000),
          hookTimeout: patient(30_000),
          pool: 'forks',
          // Vitest would leave one core to itself.
          maxWorkers: availableParallelism(),
        },
      },
      {
        ...common,
        test: {
          name: 'kernel',
          include: ['test/kernel/**/*.test.ts'],
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
