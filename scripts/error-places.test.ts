// Errors, the code that raises them and what is said of them stay together.

import { type FaultName, fsckErrors, loadExplanations, ownFaults } from '@bcachefs-ts/core/engine';
import { expect, test } from 'vitest';
import { errorPlaces } from './error-places.ts';

const places = errorPlaces();
const explanationOf = await loadExplanations();
const known = fsckErrors.rows.filter(({ since }) => since === '1.13');

test('every error of Linux 6.12 is either named by what raises it, or has a reason why it cannot occur', () => {
  const isNever = (name: FaultName) => 'whyNever' in (explanationOf(name) ?? {});
  expect(known).toHaveLength(290);
  expect(known.filter(({ name }) => isNever(name) && places.has(name)).map(({ name }) => name)).toEqual([]);
  expect(known.filter(({ name }) => !isNever(name) && !places.has(name)).map(({ name }) => name)).toEqual([]);
});

test('every error of our own is raised somewhere', () => {
  expect(ownFaults.rows.filter(({ name }) => !places.has(name)).map(({ name }) => name)).toEqual([]);
});

test('every error that is raised is explained, each time in short whole sentences', () => {
  const names = [...fsckErrors.rows, ...ownFaults.rows].map(({ name }) => name);
  const explained = names.flatMap(name => {
    const about = explanationOf(name);
    expect(about !== undefined || !places.has(name), `${name} is explained`).toBe(true);
    return about === undefined ? [] : [[name, Object.values(about) as readonly string[]] as const];
  });
  for (const [name, sentences] of explained) {
    for (const sentence of sentences) expect(sentence, name).toMatch(/^[A-Z`][^\n]{6,280}\.$/);
  }
});
