// Asking, one finding after the other. The passes cannot wait for a person, so they run over devices whose writes stay in memory, as if
// what was not asked yet were answered with yes; then it is asked, and they run again, until nothing is open. Only then the answers are
// carried out. Stopping in between changes nothing.

import type { Context } from '@bcachefs-ts/command';
import {
  type Answer,
  type ExplanationOf,
  factsJson,
  locationText,
  type Policy,
  type Question,
} from '@bcachefs-ts/core/engine';
import { findingId } from './finding-id.ts';
import { explanationLines, findingText } from './text.ts';

/** So many are asked for before what the answers lead to is computed. */
const OPEN_MAX = 1000;

export class Questions {
  readonly #answers = new Map<string, 'yes' | 'no'>();
  #open = new Map<string, Question>();
  #yesCount = 0;
  readonly #explanationOf: ExplanationOf | undefined;

  constructor(explanationOf?: ExplanationOf) {
    this.#explanationOf = explanationOf;
  }

  /** Answers what was asked, and takes note of what was not. */
  readonly asking: Policy = {
    kind: 'ask',
    ask: question => {
      const known = this.#answerOf(question);
      if (known === undefined && this.#open.size < OPEN_MAX) this.#open.set(keyOf(question), question);
      return known ?? 'yes';
    },
  };

  /** Answers what was asked; everything else stays as it is. */
  readonly answering: Policy = { kind: 'ask', ask: question => this.#answerOf(question) ?? 'no' };

  /** Whether anything is to be repaired. */
  get isAnyYes(): boolean {
    return this.#yesCount > 0;
  }

  /**
   * Asks for what the last run has left open.
   * @returns nothing: there was nothing open; asked: run again; quit: the person stopped
   */
  async ask(context: Context): Promise<'nothing' | 'asked' | 'quit'> {
    const open = [...this.#open.values()];
    this.#open = new Map();
    if (open.length === 0) return 'nothing';
    for (const question of open) {
      if (this.#answerOf(question) !== undefined) continue;
      const answer = await askOne(context, question, this.#explanationOf);
      if (answer === 'quit') return 'quit';
      const holdsForAll = answer === 'all' || answer === 'none';
      const decided = answer === 'yes' || answer === 'all' ? 'yes' : 'no';
      if (decided === 'yes') this.#yesCount++;
      this.#answers.set(holdsForAll ? kindOf(question) : keyOf(question), decided);
      // The others were found as if it were answered with yes.
      if (question.group?.isDecisive === true && decided === 'no') return 'asked';
    }
    return 'asked';
  }

  #answerOf(question: Question): 'yes' | 'no' | undefined {
    return this.#answers.get(keyOf(question)) ?? this.#answers.get(kindOf(question));
  }
}

const kindOf = ({ group, finding }: Question): string => group?.name ?? finding.error;
/** One answer is that of a whole group. */
const keyOf = (question: Question): string => question.group?.name ?? findingId(question);

async function askOne(
  { prompt }: Context,
  question: Question,
  explanationOf: ExplanationOf | undefined,
): Promise<Answer> {
  const { group, finding } = question;
  const flag = { flag: '-y or -n' };
  prompt.say('', findingText(finding));
  for (;;) {
    const answer =
      group === undefined
        ? await prompt.choose('Repair it?', ['y', 'n', 'Y', 'N', 'm', 'q'], flag)
        : await prompt.choose(group.question, ['y', 'n', 'm', 'q'], flag);
    switch (answer) {
      case 'y':
        return 'yes';
      case 'n':
        return 'no';
      case 'Y':
        return 'all';
      case 'N':
        return 'none';
      case 'm':
        prompt.say(...moreOf(question, explanationOf));
        break;
      case 'q':
      case undefined:
        return 'quit';
    }
  }
}

function moreOf(
  { finding, severity, safe, pass, before, after }: Question,
  explanationOf: ExplanationOf | undefined,
): readonly string[] {
  return [
    `  error:  ${finding.error} (${severity}${safe ? ', repairing it loses nothing' : ''})`,
    ...[...explanationLines(finding.error, explanationOf)].slice(1),
    `  found:  ${finding.detail}`,
    `  where:  ${locationText(finding.where)}`,
    ...(pass === undefined ? [] : [`  pass:   ${pass}`]),
    `  facts:  ${JSON.stringify(factsJson(finding.facts))}`,
    `  before: ${before ?? 'not given for this error'}`,
    `  after:  ${after ?? 'not given for this error'}`,
    '  y: yes, n: no, Y and N: the same for all of this kind, m: more, q: stop, and change nothing',
  ];
}
