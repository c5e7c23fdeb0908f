// Keys: crypt sections as the reference's tools wrote them (bytes of the fixtures named below, all with the passphrase
// `correct horse`), then sealing and opening, and derivations that are refused. The derivation is Node's scrypt; RFC 7914's
// vectors show that its parameters mean what they mean there.

import { scryptSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { IncompatibleError } from '../ondisk/errors.ts';
import { type BchSbCrypt, decodeCrypt, type KdfParameters, kdfParameters } from '../ondisk/sb-fields/crypt.ts';
import { clearKey, DEFAULT_KDF, deriveKey, isKeySealed, openKey, passphraseMatches, sealKey } from './keys.ts';
import { sbKeyNonce } from './nonce.ts';

const fromHex = (text: string) => Uint8Array.from(text.match(/../g)!, byte => Number.parseInt(byte, 16));
const hex = (bytes: Uint8Array) => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
const utf8 = (text: string) => new TextEncoder().encode(text);

/** The superblock's internal uuid, and the crypt section after its header. */
const stored = {
  encrypted: [
    '4e11906fcc1745ffa8619dcedd1705ef',
    '00000000000000000e00030004000000599e5d81da35fa51ff5655d157999e767c2dbc9e2c928906a008853ccce9352d73a6268780705420',
  ],
  'fresh-113-enc': [
    '0bdad909031f467582c956b13c5fee6f',
    '00000000000000000e000300040000000eea202b43e496933cf25b03970b6f87be0884a57b346fde8da00632df96c46602d79b3d23b5c273',
  ],
  'u136-enc': [
    'b74687c9c8b9491d8653df94797f2bb7',
    '00000000000000000e00030004000000b27558d2aa5df42eb2bdfbd4401f97f90af0b379c3a8cbd5d85d06a8bde210f554794fb59b8525ee',
  ],
} as const;

/** Of `u136-enc-nopass`: the key stands there in the clear. */
const unsealed =
  '000000000000000000000000000000006263682a2a6b65796961126af697159ef95f831d6dc13734e3080f61a160d2c11fc9a41b89c0d796';

describe('keys that the reference sealed', () => {
  const passphraseKey = deriveKey(utf8('correct horse'), DEFAULT_KDF);

  it.each(Object.entries(stored))('%s opens with its passphrase', (_, [uuid, section]) => {
    const crypt: BchSbCrypt = decodeCrypt(fromHex(section));
    const nonce = sbKeyNonce(fromHex(uuid));
    expect(kdfParameters(crypt)).toEqual(DEFAULT_KDF);
    expect(isKeySealed(crypt)).toBe(true);

    const key = openKey(crypt, passphraseKey, nonce);
    expect(key).toHaveLength(32);
    // The same seal, made by us.
    const { key_magic, key: sealed } = sealKey(key!, passphraseKey, nonce);
    expect([key_magic, hex(sealed)]).toEqual([crypt.key_magic, hex(crypt.key)]);
  });

  it('stay shut for another passphrase, and for another superblock', () => {
    const [uuid, section] = stored.encrypted;
    const crypt = decodeCrypt(fromHex(section));
    expect(passphraseMatches(utf8('correct horse'), crypt, DEFAULT_KDF, sbKeyNonce(fromHex(uuid)))).toBe(true);
    expect(passphraseMatches(utf8('correct horse\n'), crypt, DEFAULT_KDF, sbKeyNonce(fromHex(uuid)))).toBe(false);
    expect(openKey(crypt, passphraseKey, sbKeyNonce(fromHex(stored['u136-enc'][0])))).toBeUndefined();
  });

  it('are not sealed where there is no passphrase', () => {
    const crypt = decodeCrypt(fromHex(unsealed));
    expect(isKeySealed(crypt)).toBe(false);
    expect(clearKey(crypt.key)).toEqual({ key_magic: crypt.key_magic, key: crypt.key });
  });
});

describe('deriveKey', () => {
  it('uses what RFC 7914 calls N, r and p', () => {
    // RFC 7914, 12: two of the vectors.
    expect(hex(scryptSync('', '', 64, { N: 16, r: 1, p: 1 }))).toMatch(/^77d6576238657b203b19ca42c18a0497/);
    expect(hex(scryptSync('password', 'NaCl', 64, { N: 1024, r: 8, p: 16 }))).toMatch(
      /^fdbabe1c9d3472007856e7190d01e9fe/,
    );

    const parameters = { N: 1024, r: 8, p: 16 };
    const expected = scryptSync('password', 'bcache\0', 32, parameters);
    expect(hex(deriveKey(utf8('password'), { type: 0, n: 10, r: 3, p: 4 }))).toBe(hex(expected));
  });

  it.each([
    [{ n: 1, r: 0, p: 0 }],
    [{ n: 1, r: 0, p: 10 }],
    [{ n: 16, r: 3, p: 0 }], // 64 MiB, more than Node allows unless asked
  ])('takes unusual parameters: %j', ({ n, r, p }) => {
    expect(deriveKey(utf8('x'), { type: 0, n, r, p })).toHaveLength(32);
  });

  it.each<KdfParameters>([
    { type: 1, n: 14, r: 3, p: 4 },
    { type: 0, n: 0, r: 3, p: 4 },
    { type: 0, n: 40, r: 3, p: 4 },
    { type: 0, n: 0xffff, r: 0xffff, p: 0xffff },
    { type: 0, n: 1, r: 20, p: 20 },
    { type: 0, n: 14, r: 3, p: 20 },
  ])('refuses %j', kdf => {
    expect(() => deriveKey(utf8('x'), kdf)).toThrow(IncompatibleError);
  });
});
