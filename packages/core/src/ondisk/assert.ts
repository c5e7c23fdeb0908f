// What is to be true whatever an image holds. A file of its own, since the tables that errors are named by assert things too.

/** A broken assumption of ours. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** States an invariant of our own state; it stays on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
