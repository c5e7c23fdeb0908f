// Says where in the tree of files something was lost, and says it once: a lost node of a btree is met again by every file that needs it.

import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import type { Damage } from '../report/finding.ts';
import type { OnDamage } from '../snapshots/damage.ts';
import { printableBytes } from '../util/byte-text.ts';

/** How many losses are remembered; after that, some may be reported again. */
const REPORTED_MAX = 10_000;

export class DamageReporter {
  readonly #onDamage: OnDamage | undefined;
  readonly #reported = new Set<string>();
  #count = 0;
  #missing: DeviceError | undefined;

  constructor(onDamage: OnDamage | undefined) {
    this.#onDamage = onDamage;
  }

  /** How often something was met that is lost, also where it was reported before: whether an absence can be believed. */
  get count(): number {
    return this.#count;
  }

  /**
   * What an absence means: damage, or no more than that a member is missing that it may be on.
   * @param damage what it is on a filesystem that is all there
   */
  lossOf(damage: CorruptError): Damage {
    const missing = this.#missing;
    if (missing === undefined) return damage;
    const detail = `it is not among the devices that were given, and what is needed may be on it (${damage.message})`;
    return new DeviceError('missing', missing.device, detail, { cause: missing });
  }

  /** A listener for what is met at a path, from the root; undefined where there is none. */
  at(path: Uint8Array | undefined): OnDamage | undefined {
    const listener = this.#onDamage;
    if (listener === undefined) return undefined;
    return damage => {
      this.#count++;
      if (damage instanceof DeviceError && damage.kind === 'missing') this.#missing ??= damage;
      const { message } = damage;
      if (this.#reported.has(message)) return;
      if (this.#reported.size >= REPORTED_MAX) this.#reported.clear();
      this.#reported.add(message);
      listener(path === undefined ? damage : withPath(damage, path));
    };
  }
}

function withPath(damage: Damage, path: Uint8Array): Damage {
  if (!(damage instanceof CorruptError) || damage.where.path !== undefined) return damage;
  return new CorruptError(damage.error, { path: `/${printableBytes(path)}`, ...damage.where }, damage.detail);
}
