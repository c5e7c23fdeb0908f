// corrupt: damages an image on purpose, by recipes that have names and can be made again. The damage of the tests of what reads and repairs.

import { defineCommand, filesystemOptions, filesystemPositional, undoFileOption } from '@bcachefs-ts/command';
import {
  type DamageRecipe,
  damageRecipe,
  damageRecipes,
  seededRandom,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { forceOption, withTarget } from './hand.ts';

interface Damaged {
  readonly recipe: string;
  readonly hit: string;
}

type Result =
  | { readonly recipes: readonly Pick<DamageRecipe, 'name' | 'area' | 'does'>[] }
  | { readonly uuid: string; readonly members: readonly string[]; readonly damaged: readonly Damaged[] };

export const corruptCommand = defineCommand({
  name: 'corrupt',
  summary: 'Damage an image on purpose, for tests',
  description:
    'Damages a filesystem by named recipes, one after the other: a btree node, a key and what should follow from it, a journal entry, a superblock. ' +
    'What is hit of several is random, and the same again with --seed.\n\n' +
    'This destroys data. It is meant for copies of images, to see what a repair makes of them. Anything that stops the damage is an error: ' +
    'exit code 0 says that it was made. The recipes before one that fails have been carried out.',
  examples: [
    { command: 'bcachefs corrupt --list', does: 'Lists the recipes' },
    {
      command: 'bcachefs corrupt --seed=1 disk.img inode-nlink-high',
      does: 'Lets some file count more names than it has',
    },
    {
      command: 'bcachefs corrupt --seed=7 a.img:b.img random random',
      does: 'Damages two things, whatever they are',
    },
  ],
  positionals: {
    filesystem: { ...filesystemPositional, count: 'optional' },
    recipes: {
      count: 'any',
      hints: damageRecipes.map(({ name }) => name),
      help: 'what to do, in this order: see --list',
    },
  },
  options: {
    seed: { type: 'string', alias: 's', value: 'TEXT', help: 'damage the same again: the same seed on the same image' },
    list: { type: 'flag', alias: 'l', help: 'list the recipes, and damage nothing' },
    ...forceOption,
    ...undoFileOption,
    uuid: filesystemOptions.uuid,
    passphrase_file: filesystemOptions.passphrase_file,
  },
  async run(context, args): Promise<Result> {
    if (args.list) return { recipes: damageRecipes.map(({ name, area, does }) => ({ name, area, does })) };
    const { filesystem } = args;
    const recipes = args.recipes.map(damageRecipe);
    if (filesystem === undefined || recipes.length === 0) {
      throw new UsageError('name an image and what to do to it; --list lists the recipes');
    }
    const random = args.seed === undefined ? systemRandom : seededRandom(args.seed);
    return await withTarget(context, { ...args, devices: [filesystem] }, random, (target, set) => ({
      uuid: set.newest.sb.user_uuid,
      members: set.members.map(({ device }) => device.name),
      damaged: recipes.map(recipe => ({ recipe: recipe.name, hit: recipe.run(target) })),
    }));
  },
  text(result, out) {
    if ('damaged' in result) {
      for (const { recipe, hit } of result.damaged) out.line(`${recipe}: ${hit}`);
      return;
    }
    const width = Math.max(...result.recipes.map(({ name }) => name.length));
    let area = '';
    for (const recipe of result.recipes) {
      if (recipe.area !== area) out.line(`${area === '' ? '' : '\n'}${recipe.area}:`);
      ({ area } = recipe);
      out.line(`  ${recipe.name.padEnd(width)}  ${recipe.does}`);
    }
  },
});
