import { describe, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { sized } from '../../../../test/support/long.ts';
import { formattedImage, type MemoryImage, MIB, testImage } from '../../../../test/support/memory-images.ts';
import { FileEdit } from '../change/file-edit.ts';
import { readBytes } from '../device/block-device.ts';
import { OverlayDevice } from '../device/overlay-device.ts';
import { CorruptError, IncompatibleError, NoSpaceError, UsageError } from '../ondisk/errors.ts';
import { seededRandom } from '../util/random.ts';
import { damageRecipe, damageRecipes } from './recipes.ts';
import { DamageTarget, readableKeys } from './target.ts';

interface Copy {
  readonly devices: readonly OverlayDevice[];
  readonly key: Uint8Array | undefined;
}

/** An image whose changes are kept apart. */
const copyOf = ({ devices, key }: MemoryImage): Copy => ({ devices: devices.map(one => new OverlayDevice(one)), key });

const targetOf = ({ devices, key }: Copy, seed: string): DamageTarget =>
  new DamageTarget(devices, { key, random: seededRandom(seed), now: () => 1_800_000_000n });

const changesOf = ({ devices }: Copy) =>
  devices.flatMap((device, dev) =>
    device.changedRanges().map(({ offset, length }) => ({ dev, offset, bytes: readBytes(device, offset, length) })),
  );

/** Written with the same bytes does not count. */
const isDamaged = (copy: Copy, base: MemoryImage): boolean =>
  changesOf(copy).some(
    ({ dev, offset, bytes }) => Buffer.from(readBytes(base.devices[dev]!, offset, bytes.length)).compare(bytes) !== 0,
  );

/** Small nodes: several btrees have two levels. */
function deepImage(): MemoryImage {
  const image = formattedImage({ sizeBytes: 16 * MIB, options: { btree_node_size: '8192' } });
  const { writer, options } = writerOn(image.devices, image.key, 1);
  const edit = new FileEdit(writer, options);
  const text = new TextEncoder();
  for (let nr = 0; nr < 400; nr++) {
    const ref = edit.files.create(edit.files.root(), text.encode(`file ${nr}`), { mode: 0o100644 });
    edit.content.write(ref, 0, text.encode(`file ${nr} `.repeat(100)));
  }
  edit.commit();
  return image;
}

const bases = [testImage('basic'), testImage('multi'), deepImage()];

describe('recipes', () => {
  test('have names of their own', () => {
    expect(new Set(damageRecipes.map(({ name }) => name)).size).toBe(damageRecipes.length);
    expect(() => damageRecipe('leaf-zero')).toThrow('there is no recipe "leaf-zero"');
  });

  test.each(damageRecipes.map(({ name }) => [name]))('%s damages, or says that there is nothing', name => {
    for (const base of bases) {
      const image = copyOf(base);
      try {
        const hit = damageRecipe(name).run(targetOf(image, 'one'));
        expect(isDamaged(image, base), hit).toBe(true);
        return;
      } catch (thrown) {
        if (!(thrown instanceof UsageError)) throw thrown;
        expect([thrown.code, isDamaged(image, base)], thrown.message).toEqual(['nothing_to_damage', false]);
      }
    }
    expect.fail('no base has what this damages');
  });

  test('a seed makes the same damage again', () => {
    const runs = ['one', 'one', 'other'].map(seed => {
      const image = copyOf(bases[0]!);
      return { hit: damageRecipe('inode-nlink-high').run(targetOf(image, seed)), image };
    });
    expect(runs[1]!.hit).toBe(runs[0]!.hit);
    const [first, again, other] = runs.map(({ image }) => changesOf(image));
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });
});

describe('random damage', () => {
  test.each([
    ['basic', bases[0]!],
    ['multi', bases[1]!],
    ['deep', bases[2]!],
    ['encrypted', testImage('encrypted')],
    ['unclean', testImage('unclean')],
  ])('is made or refused, and what is left can be read: %s', (name, base) => {
    const refused: string[] = [];
    const rounds = sized(8, 40, 2000);
    for (let seed = 0; seed < rounds; seed++) {
      const image = copyOf(base);
      const target = targetOf(image, `${name} ${seed}`);
      try {
        damageRecipe('random').run(target);
      } catch (thrown) {
        if (!isRefusal(thrown)) throw thrown;
        expect(isDamaged(image, base), `seed ${seed}: ${thrown.message}`).toBe(false);
        refused.push(`${seed}: ${thrown.message}`);
        continue;
      }
      expect(isDamaged(image, base), `seed ${seed}`).toBe(true);
      try {
        const filesystem = target.filesystem();
        for (const { btree } of filesystem.replay.roots.values()) for (const _ of readableKeys(filesystem, btree));
      } catch (thrown) {
        if (!isRefusal(thrown)) throw thrown;
      }
    }
    expect(refused.length, refused.join('\n')).toBeLessThan(Math.ceil(rounds / 3));
  });
});

const isRefusal = (thrown: unknown): thrown is Error =>
  [CorruptError, IncompatibleError, NoSpaceError, UsageError].some(kind => thrown instanceof kind);
