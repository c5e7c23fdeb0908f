// list's text against the reference's own, section by section, for every reference image: keys at all levels, nodes, and formats. Where the
// reference did not read what is there (accounting keys and sums of them in old filesystems, roots and nodes that are damaged,
// filesystems that no kernel has completed), the differences are held to exactly that.

import {
  type Filesystem,
  keyLines,
  keyTypes,
  type ListRequest,
  listItems,
  loadChecksums,
  openFilesystem,
  POS_MIN,
  SPOS_MAX,
  versionOf,
  type WalkOptions,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Fixture, fixture, fixtureNames, whyNoFixtures } from '../support/fixtures.ts';

if (whyNoFixtures !== undefined) console.warn(`list fixtures skipped: ${whyNoFixtures}`);

interface Section {
  readonly mode: 'keys' | 'nodes' | 'formats';
  readonly btree: string;
  readonly level: number;
  readonly text: string;
}

/** Texts were decoded as UTF-8; ours print names and values in the same way here. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const HEADING = /^=== (keys|nodes|formats) btree=(\w+) level=(\d+).*\n/m;

function sectionsOf(text: string): Section[] {
  // The 1.39 listings have sections of another form between the others.
  const listed = text.split(/^(?==== |##### )/m).filter(piece => piece.startsWith('=== '));
  const pieces = listed.join('').split(HEADING);
  const sections: Section[] = [];
  for (let i = 1; i + 3 < pieces.length; i += 4) {
    const [mode, btree, level, body] = pieces.slice(i, i + 4);
    sections.push({ mode: mode as Section['mode'], btree: btree!, level: Number(level), text: body! });
  }
  return sections;
}

function ourText(filesystem: Filesystem, section: Section, onDamage: NonNullable<WalkOptions['onDamage']>): string {
  const known = filesystem.textContext();
  const request: ListRequest = {
    mode: section.mode,
    btree: filesystem.btree(section.btree as Parameters<Filesystem['btree']>[0]),
    type: undefined,
    level: section.level,
    from: POS_MIN,
    to: SPOS_MAX,
    context: {
      ...known,
      bytesText: bytes => utf8.decode(bytes),
      // The 1.39 listings call a single device dev0.
      device(index) {
        const device = known.device(index);
        return device === undefined
          ? undefined
          : { ...device, name: device.name.replace('-1.39.img', '-1.39.dev0.img') };
      },
    },
  };
  let text = '';
  for (const item of listItems(filesystem, request, onDamage)) text += `${item.text()}\n`;
  if (section.mode === 'keys') {
    const quick = [...keyLines(filesystem, request, () => {})].map(lines => `${lines}\n`).join('');
    expect(quick === text, `the quick text of ${section.btree}`).toBe(true);
  }
  return text;
}

const INODE_V3 = keyTypes.idOf('inode_v3');

function accountingText(filesystem: Filesystem): string {
  const section = { mode: 'keys', btree: 'accounting', level: 0, text: '' } as const;
  return ourText(filesystem, section, () => {});
}

/** v1.13's listing of accounting keys in v1.36's form. */
function accountingOf113(image: Fixture): string | undefined {
  if (image.json.on_disk_version !== '1.13') return undefined;
  const section = sectionsOf(image.readText('list-1.13.txt')).find(({ btree }) => btree === 'accounting');
  return (section?.text ?? '').replace(/( ver \d+): /g, '$1  : ');
}

const FRAGMENTATION = /^ +fragmentation +\d+$/gm;

const headersOf = (text: string) => text.match(/^u64s .* ver /gm);

/** Filesystems of superblocks only: the reference made btrees in memory to list them, with random numbers in them. */
const UNINITIALIZED = new Set(['fresh-136-enc']);
/** Of these the reference could not open a device, or printed no list. */
const WITHOUT_LIST = new Set([
  'fresh-113-enc',
  'fresh-113-noinit',
  'fresh-136-noinit',
  'sb-head-zeroed',
  'sb-primary-bitflip',
  'sb-primary-zeroed',
]);
/** Of these the reference lost a node; by btree. */
const DAMAGED: Readonly<Record<string, { readonly btree: string; readonly error: string; readonly isRead: boolean }>> =
  {
    'dmg-alloc-root': { btree: 'alloc', error: 'bset_bad_csum', isRead: true },
    'dmg-dirents-root': { btree: 'dirents', error: 'btree_node_bad_magic', isRead: false },
    'dmg-leaf-csum': { btree: 'dirents', error: 'bset_bad_csum', isRead: true },
    'dmg-root': { btree: 'inodes', error: 'btree_node_bad_magic', isRead: false },
  };

const names =
  whyNoFixtures === undefined ? fixtureNames().filter(name => !WITHOUT_LIST.has(name) && !UNINITIALIZED.has(name)) : [];

function open({ images, json }: Fixture): Filesystem {
  const passphrase = json.passphrase === null ? undefined : new TextEncoder().encode(json.passphrase);
  return openFilesystem(images, { passphrase });
}

describe.skipIf(whyNoFixtures !== undefined)('the reference’s listings', () => {
  let zone: string | undefined;
  beforeAll(async () => {
    zone = process.env.TZ;
    process.env.TZ = 'UTC';
    await loadChecksums();
  });
  afterAll(() => {
    process.env.TZ = zone;
  });

  test('there is enough of them', () => {
    expect(names.length).toBeGreaterThanOrEqual(63);
  });

  test.each(names)('%s', name => {
    const image = fixture(name);
    const filesystem = open(image);
    try {
      const damaged = DAMAGED[name];
      const losses: { readonly btree: string; readonly error: string }[] = [];
      const sections = sectionsOf(image.readText('list.txt'));
      expect(sections.length).toBeGreaterThan(20);
      const isClean = filesystem.replay.from === 'clean';
      const isOldAlloc = filesystem.sb.version < versionOf('bucket_stripe_sectors');
      const isOldBackpointer = filesystem.sb.version < versionOf('backpointer_bucket_gen');
      const isOldAccounting = filesystem.sb.version < versionOf('disk_accounting_big_endian');
      for (const section of sections) {
        const { mode, btree, level, text } = section;
        const ours = ourText(filesystem, section, damage => {
          losses.push({ btree, error: 'kind' in damage ? damage.kind : damage.error });
        });
        const where = `${mode} ${btree} level ${level}`;
        if (btree === damaged?.btree && level === 0 && mode !== 'formats') {
          // What the reference shows before it gives up, or instead of the root, is less than what is there.
          const kept = text.replace(/^ERROR .*\n/m, '');
          if (mode === 'keys') expect(ours.slice(0, kept.length), where).toBe(kept);
          expect(ours.length > kept.length || mode === 'nodes', where).toBe(damaged.isRead || mode === 'nodes');
        } else if (btree === 'accounting' && isOldAccounting) {
          if (mode === 'nodes') expect(ours, where).toBe(text);
          // Of keys the reference kept one of many; v1.13's are what counts, where the journal does not have to be added up.
          // v1.13 had begun to repair the damaged ones when it listed them.
          const expected = mode === 'keys' && isClean && damaged === undefined ? accountingOf113(image) : undefined;
          if (expected !== undefined) expect(ours, where).toBe(expected);
        } else if (btree === 'accounting' && mode === 'keys' && !isClean) {
          // The reference prints the journal's differences by themselves; the counters are their sums.
          expect(headersOf(ours), where).toEqual(headersOf(text));
        } else if (btree === 'backpointers' && mode === 'keys' && isOldBackpointer) {
          // Where later versions have a generation there was a part of an offset, which the reference takes for one.
          expect(ours, where).toBe(text.replace(/ gen=\d+ /g, ' gen=0 '));
        } else if (btree === 'alloc' && mode === 'keys' && isOldAlloc) {
          // The reference reads a member that these keys do not have yet from past their end, and computes with it.
          expect(ours.replace(FRAGMENTATION, ''), where).toBe(text.replace(FRAGMENTATION, ''));
        } else {
          expect(ours, where).toBe(text);
        }
      }
      const inodes = [...filesystem.btree('inodes').keys({ onDamage() {} })].filter(
        ({ k }) => k.type === INODE_V3,
      ).length;
      const counted = /: nr_inodes +(\d+)$/m.exec(accountingText(filesystem))?.[1];
      if (counted !== undefined && !isClean) expect(Number(counted)).toBe(inodes);
      if (damaged === undefined) expect(losses).toEqual([]);
      else expect(losses).toContainEqual({ btree: damaged.btree, error: damaged.error });
      expect(losses.every(loss => loss.btree === damaged?.btree)).toBe(true);
    } finally {
      filesystem.close();
    }
  });
});
