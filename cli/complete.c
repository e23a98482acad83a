// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Completion of words in shells, from the tables of commands and options.
//
// bash:  _tcc_fuse_options run -> what may stand there; _tcc_fuse_values run --to -> its values
// zsh:   one _arguments call per command
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/// What completes a value, by the name that the help gives it.
static const struct {
  const char *value_name, *bash, *zsh;
} kinds[] = {
    {"FN", "_tcc_fuse_functions", "_tcc_fuse_functions"},
    {"TARGET", "_tcc_fuse_list targets", "_tcc_fuse_list targets"},
    {"PASS", "_tcc_fuse_list passes", "_tcc_fuse_list passes"},
    {"A,B,...", "_tcc_fuse_list passes", "_sequence _tcc_fuse_list passes"},
    {"DIR", "compgen -d -- \"$cur\"", "_directories"},
    {"FILE", "compgen -f -- \"$cur\"", "_files"},
    {"OUT", "compgen -f -- \"$cur\"", "_files"},
    {"OUT.h", "compgen -f -- \"$cur\"", "_files"},
    {"NAME=ARR", "compgen -f -- \"$cur\"", "_tcc_fuse_named_file"},
    {"NAME=FILE", "compgen -f -- \"$cur\"", "_tcc_fuse_named_file"},
};

static int kind_of(const option *o) {
  for (size_t i = 0; o->value_name && i < sizeof kinds / sizeof *kinds; i++)
    if (!strcmp(o->value_name, kinds[i].value_name)) return (int)i;
  return -1;
}

/// "a|b" with spaces instead.
static void put_words(const char *words, int length) {
  for (; length--; words++) putchar(*words == '|' ? ' ' : *words);
}

// ---- bash

void bash_options(const command *c, const option *options) {
  for (const option *o = options; o->name; o++) {
    int kind = kind_of(o);
    if (!o->choices && kind < 0) continue;
    printf("    '%s %s'", c->name, o->name);
    if (o->letter) printf(" | '%s -%c'", c->name, o->letter);
    if (o->choices) printf(") compgen -W '%s' -- \"$cur\" ;;\n", o->choices);
    else printf(") %s ;;\n", kinds[kind].bash);
  }
  // Options that take no value, or need none.
  printf("    '%s flags') echo '--help", c->name);
  for (const option *o = options; o->name; o++)
    if (o->kind == OPTION_FLAG || o->kind == OPTION_OPTIONAL) printf(" %s", o->name);
  printf("' ;;\n    '%s options') echo '--help", c->name);
  for (const option *o = options; o->name; o++) {
    printf(" %s", o->name);
    if (o->letter) printf(" -%c", o->letter);
  }
  printf("' ;;\n    '%s arguments') ", c->name);
  int length;
  const char *words = argument_words(c, &length);
  fputs("compgen", stdout);
  if (words) {
    fputs(" -W '", stdout);
    put_words(words, length);
    putchar('\'');
  }
  printf("%s -- \"$cur\" ;;\n", takes_files(c) ? " -f" : "");
}

static const char bash_helpers[] =
    "_tcc_fuse_list() {\n"
    "  local names\n"
    "  names=$(\"${COMP_WORDS[0]}\" list \"$1\" 2>/dev/null | sed 's/[ ,].*//; /NN$/d')\n"
    "  compgen -W \"$names\" -- \"$cur\"\n"
    "}\n"
    "_tcc_fuse_functions() {\n"
    "  local word names=\n"
    "  for word in \"${COMP_WORDS[@]:2}\"; do\n"
    "    [ ! -f \"$word\" ] ||\n"
    "      names+=\" $(sed -n 's/^ *fn  *\\([A-Za-z_][A-Za-z_0-9]*\\).*/\\1/p' \"$word\")\"\n"
    "  done\n"
    "  compgen -W \"$names\" -- \"$cur\"\n"
    "}\n";

/// The word before the cursor is taken from the line: bash splits words at = and :, and replaces
/// what is behind the last of them.
static const char bash_main[] =
    "_tcc_fuse() {\n"
    "  local line=${COMP_LINE:0:COMP_POINT} command=${COMP_WORDS[1]} cur option='' reply before\n"
    "  COMPREPLY=()\n"
    "  cur=${line##*[[:space:]]}\n"
    "  if [ \"$COMP_CWORD\" -le 1 ]; then\n"
    "    reply=$(compgen -W \"$(_tcc_fuse_values commands) --help --version\" -- \"$cur\")\n"
    "  else\n"
    "    case $cur in\n"
    "      --*=*) option=${cur%%=*} cur=${cur#*=} ;;\n"
    "      *) line=${line%\"$cur\"} line=${line%\"${line##*[![:space:]]}\"}\n"
    "         option=${line##*[[:space:]]}\n"
    "         case \" $(_tcc_fuse_values \"$command flags\") \" in\n"
    "           *\" $option \"*) option='' ;;\n"
    "         esac ;;\n"
    "    esac\n"
    "    case $option in\n"
    "      -*) case $cur in *=*) cur=${cur#*=} ;; esac\n"
    "          reply=$(_tcc_fuse_values \"$command $option\") ;;\n"
    "      *) case $cur in\n"
    "           -*) reply=$(compgen -W \"$(_tcc_fuse_values \"$command options\")\" \\\n"
    "                 -- \"$cur\") ;;\n"
    "           *) reply=$(_tcc_fuse_values \"$command arguments\") ;;\n"
    "         esac ;;\n"
    "    esac\n"
    "  fi\n"
    "  before=${cur%\"${cur##*:}\"}\n"
    "  [ -z \"$before\" ] || reply=$(cut -c \"$((${#before} + 1))-\" <<<\"$reply\")\n"
    "  [ -z \"$reply\" ] || mapfile -t COMPREPLY <<<\"$reply\"\n"
    "}\n"
    "complete -o filenames -F _tcc_fuse tcc-fuse\n";

static void print_bash(void) {
  fputs("# Completion of tcc-fuse in bash, made by tcc-fuse --help=bash.\n", stdout);
  fputs(bash_helpers, stdout);
  fputs("_tcc_fuse_values() {\n  case $1 in\n    commands) echo 'help", stdout);
  for (int i = 0; i < command_count; i++) printf(" %s", commands[i]->name);
  fputs("' ;;\n    'help arguments') compgen -W \"$(_tcc_fuse_values commands)\" -- \"$cur\" ;;\n",
        stdout);
  for (int i = 0; i < command_count; i++) commands[i]->run(1, (char *[]){"--help=bash", NULL});
  fputs("  esac\n}\n", stdout);
  fputs(bash_main, stdout);
}

// ---- zsh

/// In single quotes; what means something in a specification of _arguments is escaped.
static void put_zsh(const char *text) {
  for (; *text; text++) {
    if (*text == '\'') fputs("'\\'", stdout);
    else if (strchr("[]:\\", *text)) putchar('\\');
    putchar(*text);
  }
}

void zsh_options(const command *c, const option *options) {
  printf("    %s)\n      _arguments \\\n", c->name);
  for (const option *o = options; o->name; o++) {
    bool value = o->kind != OPTION_FLAG;
    int kind = kind_of(o);
    fputs("        ", stdout);
    if (o->kind == OPTION_LIST) fputs("'*'", stdout);
    else if (o->letter) printf("'(-%c %s)'", o->letter, o->name);
    if (o->letter) printf("{-%c+,%s=}", o->letter, o->name);
    else printf("'%s%s'", o->name, !value ? "" : o->kind == OPTION_OPTIONAL ? "=-" : "=");
    fputs("'[", stdout);
    put_zsh(o->help);
    putchar(']');
    if (value) {
      fputs(o->kind == OPTION_OPTIONAL ? "::" : ":", stdout);
      put_zsh(o->value_name);
      if (o->choices) printf(":(%s)", o->choices);
      else printf(":%s", kind < 0 ? " " : kinds[kind].zsh);
    }
    fputs("' \\\n", stdout);
  }
  fputs("        '(- *)--help[print what there is]' ", stdout);
  int length;
  const char *words = argument_words(c, &length);
  if (words) {
    fputs("'1:word:(", stdout);
    put_words(words, length);
    fputs(")'", stdout);
  }
  printf("%s ;;\n", takes_files(c) ? " '*:file:_files'" : "");
}

static const char zsh_helpers[] =
    "_tcc_fuse_list() {\n"
    "  local -a names\n"
    "  names=(${${(f)\"$(tcc-fuse list $1 2>/dev/null)\"}%%[ ,]*})\n"
    "  compadd -a names\n"
    "}\n"
    "_tcc_fuse_functions() {\n"
    "  local word\n"
    "  local -a names\n"
    "  for word in $words; do\n"
    "    [[ ! -f $word ]] ||\n"
    "      names+=(${(f)\"$(sed -n 's/^ *fn  *\\([A-Za-z_][A-Za-z_0-9]*\\).*/\\1/p' $word)\"})\n"
    "  done\n"
    "  compadd -a names\n"
    "}\n"
    "_tcc_fuse_named_file() {\n"
    "  compset -P '*='\n"
    "  _files\n"
    "}\n";

static void print_zsh(void) {
  fputs("#compdef tcc-fuse\n", stdout);
  fputs("# Completion of tcc-fuse in zsh, made by tcc-fuse --help=zsh.\n", stdout);
  fputs(zsh_helpers, stdout);
  fputs("_tcc_fuse() {\n  local -a commands\n  commands=(\n", stdout);
  for (int i = 0; i < command_count; i++) {
    printf("    '%s:", commands[i]->name);
    put_zsh(commands[i]->summary);
    fputs("'\n", stdout);
  }
  fputs(
      "    'help:tell more about a command'\n  )\n"
      "  if (( CURRENT == 2 )); then\n    _describe command commands\n    return\n  fi\n"
      "  shift words\n  (( CURRENT-- ))\n  case $words[1] in\n"
      "    help) (( CURRENT == 2 )) && _describe command commands ;;\n",
      stdout);
  for (int i = 0; i < command_count; i++) commands[i]->run(1, (char *[]){"--help=zsh", NULL});
  fputs("  esac\n}\n_tcc_fuse \"$@\"\n", stdout);
}

int print_completion(const char *shell) {
  if (!strcmp(shell, "bash")) return print_bash(), EXIT_DONE;
  if (!strcmp(shell, "zsh")) return print_zsh(), EXIT_DONE;
  complain("--help is in text, man, bash or zsh, not '%s'", shell);
  return EXIT_USAGE;
}
