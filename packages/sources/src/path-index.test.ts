import { expect, test } from 'vitest';
import { PathIndex } from './path-index.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

test('the same as a sorted list of paths', () => {
  const index = new PathIndex(0);
  const paths: string[] = [];
  // 7919 is prime to the count: a fixed shuffle.
  for (let i = 0; i < 5000; i++) {
    const number = (i * 7919) % 5000;
    const [directory, name] = [`d${number % 70}`, `${number}-é`];
    const parent = index.find(0, bytes(directory)) ?? index.add(0, bytes(directory), 1);
    expect(index.find(parent, bytes(name))).toBeUndefined();
    const node = index.add(parent, bytes(name), number);
    expect(index.find(parent, bytes(name))).toBe(node);
    paths.push(`${directory}/${name}`);
  }
  const walked = index
    .sortedChildren(0)
    .flatMap(node => index.sortedChildren(node).map(child => Buffer.from(index.pathOf(child)).toString()));
  const separately = (path: string) => Buffer.from(path.replace('/', '\0'));
  expect(walked).toEqual(paths.toSorted((a, b) => Buffer.compare(separately(a), separately(b))));
  expect(index.count).toBe(5071);
});

test('the root, values, names of 255 bytes', () => {
  const index = new PathIndex(7);
  expect([index.valueOf(0), index.pathOf(0).length, index.hasChildren(0)]).toEqual([7, 0, false]);
  const node = index.add(0, bytes('n'.repeat(255)), 0xffff_fffe);
  index.setValue(node, 3);
  expect([index.valueOf(node), index.nameOf(node).length, index.hasChildren(0)]).toEqual([3, 255, true]);
});
