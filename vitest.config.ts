import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Tests import the packages' sources directly: no build stands between an edit and its test.
const common = {
  resolve: { conditions: ['@bcachefs-ts/source'] },
  ssr: { resolve: { conditions: ['@bcachefs-ts/source', 'node', 'import', 'default'] } },
};

export default defineConfig({
  test: {
    projects: [
      {
        ...common,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['test/kernel/**', '**/node_modules/**'],
          testTimeout: 30_000,
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
          testTimeout: 120_000,
          pool: 'forks',
        },
      },
    ],
  },
});
