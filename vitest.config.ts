import { defineConfig } from 'vitest/config';

// Tests import the packages' sources directly: no build stands between an edit and its test.
export default defineConfig({
  resolve: { conditions: ['@bcachefs-ts/source'] },
  ssr: { resolve: { conditions: ['@bcachefs-ts/source', 'node', 'import', 'default'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'scripts/**/*.test.ts'],
    testTimeout: 20_000,
    pool: 'forks',
  },
});
