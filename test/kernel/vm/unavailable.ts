// Why there is no kernel machine here: one line for a person, and what would change it.

/** Thrown where the kernel suite cannot run. `message` is one line: what is missing, and what would make it run. */
export class MachineUnavailable extends Error {
  override name = 'MachineUnavailable';
  constructor(
    readonly missing: string,
    readonly remedy: string,
  ) {
    super(`${missing}; ${remedy}`);
  }
}
