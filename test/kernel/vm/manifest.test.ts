import { expect, test } from 'vitest';
import { compareManifests, type ManifestEntry } from './manifest.ts';

const entry: ManifestEntry = {
  ...{ path: 'a', type: 'reg', ino: '5', mode: '0644', uid: 0, gid: 0, size: 3, nlink: 1, blocks: 8 },
  ...{ mtime_ns: '1', ctime_ns: '2', btime_ns: '3', sha256: 'aa', xattrs: { 'user.b': 'Yg==', 'user.a': 'YQ==' } },
};

test('agreement does not depend on the order of paths or attributes', () => {
  const other = { ...entry, xattrs: { 'user.a': 'YQ==', 'user.b': 'Yg==' } };
  const second = { ...entry, path: 'b' };
  expect(compareManifests([entry, second], [second, other])).toEqual([]);
});

test('differences say which field of which path', () => {
  const { path: _path, ...rest } = entry;
  const found = [
    { ...entry, size: 4, ctime_ns: '9' },
    { ...rest, path_b64: '6Q==' },
  ];
  expect(compareManifests(found, [entry, { ...entry, path: 'b' }], { ignore: ['ctime_ns'] })).toEqual([
    'a: size 4, expected 3',
    'b: missing',
    'base64:6Q==: not expected',
  ]);
});
