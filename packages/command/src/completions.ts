// Shell completions: scripts that complete commands, options, choices and files, generated whole from the commands' own
// declarations, so that pressing Tab does not start Node; but for paths in a filesystem, which the hidden command complete-path
// is asked about. One function for each shell; what they share is `Tree`.

import { defineCommand } from './command.ts';
import { isGroup, type Listed } from './command-list.ts';
import { type CommandDescription, describeTree, type OptionDescription } from './describe.ts';
import type { Program } from './program.ts';

export function completionsCommand(program: Program) {
  return defineCommand({
    name: 'completions',
    summary: 'Print a script that completes command lines in bash, zsh or fish',
    description:
      `bash: put  source <(${program.name} completions bash)  into ~/.bashrc.\n\n` +
      `zsh: save the script as  _${program.name}  in a folder of your $fpath, or source it after compinit.\n\n` +
      `fish: save the script as  ~/.config/fish/completions/${program.name}.fish`,
    examples: [
      { command: `source <(${program.name} completions bash)`, does: 'Completes in this shell from now on' },
      {
        command: `${program.name} completions fish > ~/.config/fish/completions/${program.name}.fish`,
        does: 'Completes in every fish shell',
      },
    ],
    positionals: { shell: { count: 'one', choices: ['bash', 'zsh', 'fish'], help: 'the shell to write for' } },
    options: {},
    async run(_context, { shell }) {
      const tree = { program: program.name, nodes: await nodesOf(program) };
      const script = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](tree);
      return { shell, script };
    },
    text: (result, out) => out.write(result.script),
  });
}

/** One place on the command line where words are expected: the program itself, a group, or a command. */
interface Node {
  /** The words that lead here; none for the program itself. */
  readonly path: readonly string[];
  /** What may follow: the names of a group's commands. */
  readonly entries: readonly { readonly names: readonly string[]; readonly summary: string }[];
  /** Undefined for the program and its groups. */
  readonly command: CommandDescription | undefined;
}

interface Tree {
  readonly program: string;
  readonly nodes: readonly Node[];
}

async function nodesOf(program: Program): Promise<Node[]> {
  const descriptions = await describeTree(program, program.commands, []);
  const walk = (entries: readonly Listed[], path: readonly string[]): Node[] => {
    const listed = entries.filter(entry => !entry.hidden);
    const here: Node = {
      path,
      entries: listed.map(entry => ({ names: [entry.name, ...(entry.aliases ?? [])], summary: entry.summary })),
      command: undefined,
    };
    const below = listed.flatMap(entry => {
      const words = [...path, entry.name];
      if (isGroup(entry)) return walk(entry.commands, words);
      return { path: words, entries: [], command: descriptions.find(each => each.command === words.join(' ')) };
    });
    return [here, ...below];
  };
  return walk(program.commands, []);
}

/** The words that may stand first among a command's positionals, such as the shells here. */
function positionalWords(node: Node): readonly string[] {
  if (node.command?.command === 'help') return [];
  return node.command?.positionals[0]?.choices ?? [];
}

/** Whether paths in a filesystem are among the words of its command. */
function hasPathsInside(node: Node): boolean {
  return node.command?.positionals.some(({ inside }) => inside !== null) ?? false;
}

/** How an option is offered: with `=` where it takes a value. */
function offered(option: OptionDescription): string[] {
  if (option.value !== null) return [`--${option.name}=`];
  return option.type === 'boolean' ? [`--${option.name}`, `--no_${option.name}`] : [`--${option.name}`];
}

function quoted(words: Iterable<string>): string {
  return `'${[...words].join(' ').replaceAll("'", `'\\''`)}'`;
}

function bashScript({ program, nodes }: Tree): string {
  const fn = `_${program.replaceAll(/\W/g, '_')}`;
  const key = (path: readonly string[], last: string) => quoted([[program, ...path, last].join(' ')]);
  const steps = nodes.flatMap(({ path, entries }) =>
    entries.map(({ names }) => {
      const to = [program, ...path, names[0]].join(' ');
      return `      ${names.map(name => key(path, name)).join('|')}) path=${quoted([to])} ;;`;
    }),
  );
  // `--acl` takes a value in the same word only, which readline breaks into words all the same.
  const joined = nodes.flatMap(({ path, command }) =>
    (command?.options ?? []).flatMap(option => {
      if (option.type !== 'boolean') return [];
      const spelled = new Set([`--${option.name}`, `--${option.name.replaceAll('_', '-')}`]);
      return `    ${[...spelled].map(name => key(path, name)).join('|')}) ${fn}_words 'yes no'; return ;;`;
    }),
  );
  const values = nodes.flatMap(({ path, command }) =>
    (command?.options ?? []).flatMap(option => {
      if (option.value === null) return [];
      const names = [`--${option.name}`, ...(option.letter === null ? [] : [`-${option.letter}`])];
      const spelled = new Set(names.flatMap(name => [name, name.replace(/(?<=\w)_/g, '-')]));
      const found = option.choices === null ? (option.file ? 'files' : ':') : `words ${quoted(option.choices)}`;
      return `    ${[...spelled].map(name => key(path, name)).join('|')}) ${fn}_${found === ':' ? 'none' : found}; return ;;`;
    }),
  );
  const places = nodes.map(node => {
    const options = quoted((node.command?.options ?? []).flatMap(offered));
    const words = quoted([...node.entries.flatMap(entry => entry.names), ...positionalWords(node)]);
    // The first word of such a command names the filesystem, a file.
    const inside = hasPathsInside(node) ? ` inside=${node.path.length + 1}` : '';
    return `    ${quoted([[program, ...node.path].join(' ')])}) options=${options} words=${words}${inside} ;;`;
  });
  const helpNode = quoted([`${program} help`]);
  const allCommands = quoted(nodes[0]?.entries.flatMap(entry => entry.names) ?? []);

  return `# bash completion for ${program}, generated by '${program} completions bash'
${fn}_words() {
  COMPREPLY=($(compgen -W "$1" -- "$cur"))
  if [[ \${COMPREPLY[0]-} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}

${fn}_files() {
  compopt -o filenames 2>/dev/null
  local IFS=$'\\n'
  COMPREPLY=($(compgen -f -- "$cur"))
}

${fn}_none() { COMPREPLY=(); }

# Sets plain to what a typed word means.
${fn}_plain() {
  plain=$1
  case $plain in
    \\'*) plain=\${plain#\\'} plain=\${plain%\\'} ;;
    '"'*) plain=\${plain#'"'} plain=\${plain%'"'} ;;
    *\\\\*) IFS= read plain <<< "$plain" ;;
  esac
  if [[ $1 == '~/'* ]]; then plain=$HOME/\${plain#'~/'}; fi
}

# Paths in a filesystem, which the program is asked for.
${fn}_paths() {
  local typed=() piece last='' plain program word kind='' i
  for ((i = 1; i <= COMP_CWORD; i++)); do
    piece=\${COMP_WORDS[i]}
    # Readline breaks words at = and : too.
    if ((\${#typed[@]} > 0)) && [[ $piece == [=:]* || $last == *[=:] ]]; then
      typed[\${#typed[@]} - 1]+=$piece
    else
      typed+=("$piece")
    fi
    last=$piece
  done
  # What is replaced is the piece that the cursor is in, which = and : are not part of.
  word=\${typed[\${#typed[@]} - 1]} piece=$cur
  [[ $piece == *[!=:]* ]] || piece=''
  ${fn}_plain "\${word%"$piece"}"
  local before=$plain
  for ((i = 0; i < \${#typed[@]}; i++)); do
    ${fn}_plain "\${typed[i]}"
    typed[i]=$plain
  done
  ${fn}_plain "\${COMP_WORDS[0]}"
  program=$plain
  COMPREPLY=()
  while IFS= read -r piece; do
    if [[ -z $kind ]]; then kind=$piece
    else COMPREPLY+=("\${piece#"$before"}")
    fi
  done < <("$program" complete-path -- "\${typed[@]}" 2>/dev/null </dev/null)
  if [[ $kind == files ]]; then ${fn}_files; return; fi
  compopt -o filenames 2>/dev/null
  if [[ \${#COMPREPLY[@]} == 1 && \${COMPREPLY[0]} == */ ]]; then compopt -o nospace 2>/dev/null; fi
  if [[ $kind == both ]]; then
    while IFS= read -r piece; do COMPREPLY+=("$piece"); done < <(compgen -f -- "$cur")
  fi
}

${fn}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} path=${quoted([program])} options='' words='' joined='' inside='' i
  # Readline breaks --option=value into three words.
  if [[ $cur == = ]]; then
    cur='' joined=1
  elif [[ $previous == = ]] && ((COMP_CWORD > 2)); then
    previous=\${COMP_WORDS[COMP_CWORD - 2]} joined=1
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path \${COMP_WORDS[i]}" in
${steps.join('\n')}
    esac
  done
  case "$path $previous" in
${values.join('\n')}
  esac
  if [[ -n $joined ]]; then
    case "$path $previous" in
${joined.join('\n')}
    esac
  fi
  case "$path" in
${places.join('\n')}
  esac
  if [[ $cur == -* ]]; then ${fn}_words "$options"
  elif [[ $path == ${helpNode} ]]; then ${fn}_words ${allCommands}
  elif [[ -n $words ]]; then ${fn}_words "$words"
  elif [[ -n $inside ]] && ((COMP_CWORD > inside)); then ${fn}_paths
  else ${fn}_files
  fi
}

complete -F ${fn} ${program}
`;
}

/** For `_arguments`: what stands in brackets and after colons must not contain either unescaped. */
function zshText(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, '\\$&').replaceAll("'", `'\\''`);
}

function zshScript({ program, nodes }: Tree): string {
  const root = `_${program.replaceAll(/\W/g, '_')}`;
  const name = (path: readonly string[]) => [root, ...path.map(word => word.replaceAll(/\W/g, '_'))].join('__');
  const functions = nodes.map(node => {
    const { path, entries, command } = node;
    if (command !== undefined) {
      const specs = command.options.flatMap(zshOption);
      const words = path.join(' ') === 'help' ? (nodes[0]?.entries.flatMap(e => e.names) ?? []) : positionalWords(node);
      const inside = `'1:filesystem:_files' '*:path:{${root}_paths ${path.join(' ')}}'`;
      const rest =
        words.length > 0 ? `'*:word:(${words.join(' ')})'` : hasPathsInside(node) ? inside : `'*:file:_files'`;
      return `${name(path)}() {\n  _arguments -s -S \\\n    ${[...specs, rest].join(' \\\n    ')}\n}\n`;
    }
    const described = entries.flatMap(({ names, summary }) => names.map(each => `    '${each}:${zshText(summary)}'`));
    const cases = entries.map(({ names }) => `        ${names.join('|')}) ${name([...path, names[0]!])} ;;`);
    return `${name(path)}() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands=(
${described.join('\n')}
  )
  _arguments -C '1: :->command' '*:: :->rest'
  case $state in
    command) _describe command commands ;;
    rest)
      case $words[1] in
${cases.join('\n')}
      esac ;;
  esac
}
`;
  });
  return `#compdef ${program}
# zsh completion for ${program}, generated by '${program} completions zsh'
# Paths in a filesystem, which the program is asked for.
${root}_paths() {
  local -a typed=("\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}") answer folders others
  answer=("\${(@f)$(command ${program} complete-path -- "$@" "\${typed[@]}" 2>/dev/null </dev/null)}")
  local kind=$answer[1]
  shift answer
  folders=("\${(@M)answer:#*/}") others=("\${(@)answer:#*/}")
  ((\${#folders})) && compadd -S '' -a folders
  ((\${#others})) && compadd -a others
  [[ $kind == (files|both) ]] && _files
}
${functions.reverse().join('\n')}
if [[ $funcstack[1] == ${root} ]]; then ${root} "$@"; else compdef ${root} ${program}; fi
`;
}

function zshOption(option: OptionDescription): string[] {
  const help = `[${zshText(option.help)}]`;
  const many = option.repeat || option.each !== null ? '*' : '';
  if (option.type === 'boolean') {
    // The value is optional, and only joined to the option.
    return [`'${many}--${option.name}=-${help}::yes or no:(yes no)'`, `'${many}--no_${option.name}${help}'`];
  }
  if (option.value === null) return [`'${many}--${option.name}${help}'`];
  const action = option.choices !== null ? `(${option.choices.join(' ')})` : option.file ? '_files' : ' ';
  const value = `:${zshText(option.value)}:${action}`;
  const long = `'${many}--${option.name}=${help}${value}'`;
  return option.letter === null ? [long] : [`'${many}-${option.letter}+${help}${value}'`, long];
}

function fishScript({ program, nodes }: Tree): string {
  const line = (condition: string, rest: string) => `complete -c ${program} -n '${condition}' ${rest}`;
  const text = (words: string) => `'${words.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const paths = `__${program.replaceAll(/\W/g, '_')}_paths`;
  const lines = nodes.flatMap(node => {
    const { path, entries, command } = node;
    // The words so far, in order: `device` and then `add`.
    const seen = path.map(word => {
      const parent = nodes.find(each => each.entries.some(entry => entry.names[0] === word));
      const names = parent?.entries.find(entry => entry.names[0] === word)?.names ?? [word];
      return `__fish_seen_subcommand_from ${names.join(' ')}`;
    });
    if (command === undefined) {
      const own = entries.flatMap(entry => entry.names).join(' ');
      const condition = [...seen, `not __fish_seen_subcommand_from ${own}`].join('; and ');
      return entries.flatMap(({ names, summary }) =>
        names.map(name => line(condition, `-f -a ${name} -d ${text(summary)}`)),
      );
    }
    const condition = seen.join('; and ');
    const words = path.join(' ') === 'help' ? (nodes[0]?.entries.flatMap(e => e.names) ?? []) : positionalWords(node);
    return [
      ...(words.length > 0 ? [line(condition, `-f -a ${text(words.join(' '))}`)] : []),
      ...(hasPathsInside(node) ? [line(condition, `-f -a '(${paths})'`)] : []),
      ...command.options.flatMap(option => {
        const letter = option.letter === null ? '' : ` -s ${option.letter}`;
        const value =
          option.value === null
            ? ''
            : option.choices !== null
              ? ` -x -a ${text(option.choices.join(' '))}`
              : option.file
                ? ' -r -F'
                : ' -x';
        const spelled = option.type === 'boolean' ? [option.name, `no_${option.name}`] : [option.name];
        return spelled.map((name, i) =>
          line(condition, `${i === 0 ? letter : ''} -l ${name}${value} -d ${text(option.help)}`.trim()),
        );
      }),
    ];
  });
  return `# fish completion for ${program}, generated by '${program} completions fish'
# Paths in a filesystem, which the program is asked for.
function ${paths}
  set -l typed (commandline -opc)
  set -l current (commandline -ct)
  set -l plain (string unescape -- "$current")
  or set plain "$current"
  set -l answer (command ${program} complete-path -- $typed[2..] "$plain" 2>/dev/null </dev/null)
  if contains -- "$answer[1]" files both
    __fish_complete_path "$current"
  end
  string join \\n -- $answer[2..]
end
${lines.join('\n')}
`;
}
