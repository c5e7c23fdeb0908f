import { expect, test } from 'vitest';
import { archiveOf, parseDeb822Sources, parseOneLineSources } from './apt.ts';

const DEB822 = `# comment
Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://archive.example/source
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://archive.example/off
Suites: bookworm
Components: main
`;

const ONE_LINE = `
# deb http://archive.example/commented bookworm main
deb-src http://archive.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://archive.example/debian trixie main contrib # why not
deb http://archive.example/debian trixie-updates main
`;

test('deb822 sources', () => {
  const sources = parseDeb822Sources(DEB822);
  expect(sources).toEqual([
    {
      uri: 'http://archive.example/debian',
      suites: ['bookworm', 'bookworm-updates'],
      components: ['main', 'contrib'],
      options: ['signed-by=/usr/share/keyrings/archive.gpg'],
    },
    { uri: 'http://archive.example/debian-security', suites: ['bookworm-security'], components: ['main'], options: [] },
  ]);
  expect(archiveOf('bookworm', sources)?.uri).toBe('http://archive.example/debian');
  expect(archiveOf('trixie', sources)).toBeUndefined();
});

test('one-line sources', () => {
  expect(parseOneLineSources(ONE_LINE)).toEqual([
    {
      uri: 'http://archive.example/debian',
      suites: ['trixie'],
      components: ['main', 'contrib'],
      options: ['arch=amd64', 'signed-by=/k.gpg'],
    },
    { uri: 'http://archive.example/debian', suites: ['trixie-updates'], components: ['main'], options: [] },
  ]);
});
