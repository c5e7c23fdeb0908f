// `bcachefs version`, also reached by `bcachefs --version`.

import { type Command, defineCommand } from './command.ts';
import type { Program, SingleCommandProgram } from './program.ts';

export function versionCommand(program: Program | SingleCommandProgram): Command {
  return defineCommand({
    name: 'version',
    summary: 'Print the version',
    positionals: {},
    options: {},
    run: () => ({ program: program.name, program_version: program.version, node_version: process.versions.node }),
    text: (result, out) => out.line(result.program_version),
  });
}
