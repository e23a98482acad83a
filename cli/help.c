// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Help from the tables of commands and options: as text, and as the manual page.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

const named_text exit_statuses[] = {
    {"0", "done"},
    {"1", "the program is wrong, or its data is"},
    {"2", "usage"},
    {"3", "the environment failed (file, device, memory)"},
    {"4", "a check failed"},
    {0}};

const named_text environment[] = {
    {"TCF_TARGET", "default of --target"},
    {"TCF_THREADS", "default of --threads"},
    {"TCF_CACHE_DIR", "default of --cache-dir; empty: no cache"},
    {"XDG_CACHE_HOME", "where the cache is, in tcc-fuse; default: ~/.cache"},
    {"TCF_CUDA_LIBRARY", "the driver's file, where it is not libcuda.so.1 on the library path"},
    {"TCF_CUDA_SYNC", "not empty and not 0: every kernel is waited for, so that an error names it"},
    {"CUDA_HOME", "the CUDA toolkit, for ptxas; default: /usr/local/cuda"},
    {"NO_COLOR", "no colours on a terminal"},
    {0}};

// ---- text

static void text_options(const command *c, const option *options) {
  printf("usage: tcc-fuse %s\n\n%s\n", c->usage, c->summary);
  if (options->name) fputs("\noptions:\n", stdout);
  for (const option *o = options; o->name; o++) {
    char left[80];
    int n = o->letter ? snprintf(left, sizeof left, "-%c, ", o->letter) : 0;
    n += snprintf(left + n, sizeof left - (size_t)n, "%s", o->name);
    if (o->value_name)
      snprintf(left + n, sizeof left - (size_t)n, o->kind == OPTION_OPTIONAL ? "[=%s]" : " %s",
               o->value_name);
    printf("  %-28s %s\n", left, o->help);
  }
  if (c->details) printf("\n%s", c->details);
}

static void print_summary(FILE *to) {
  fputs("usage: tcc-fuse COMMAND ...\n\n", to);
  for (int i = 0; i < command_count; i++)
    fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
  fputs("\n`tcc-fuse COMMAND --help` tells more. Exit status:\n", to);
  for (const named_text *t = exit_statuses; t->name; t++)
    fprintf(to, "  %s %s\n", t->name, t->text);
  fputs("Environment:\n", to);
  for (const named_text *t = environment; t->name; t++)
    fprintf(to, "  %-17s %s\n", t->name, t->text);
}

// ---- the manual page

/// Text in roff: nothing of it is markup.
static void put_roff(const char *text) {
  bool begins = true;
  for (const char *at = text; *at; begins = *at++ == '\n') {
    if (begins && (*at == '.' || *at == '\'')) fputs("\\&", stdout);
    if (*at == '\\') fputs("\\e", stdout);
    else if (*at == '-') fputs("\\-", stdout);
    else putchar(*at);
  }
}

static void put_font(char font, const char *text) {
  printf("\\f%c", font);
  put_roff(text);
  fputs("\\fR", stdout);
}

static void man_options(const command *c, const option *options) {
  fputs(".SS ", stdout);
  put_roff(c->usage);
  putchar('\n');
  printf("%c", toupper((unsigned char)*c->summary));
  put_roff(c->summary + 1);
  fputs(".\n", stdout);
  for (const option *o = options; o->name; o++) {
    fputs(".TP\n", stdout);
    if (o->letter) {
      put_font('B', (char[]){'-', o->letter, 0});
      fputs(", ", stdout);
    }
    put_font('B', o->name);
    if (o->value_name) {
      fputs(o->kind == OPTION_OPTIONAL ? "[=" : " ", stdout);
      put_font('I', o->value_name);
      if (o->kind == OPTION_OPTIONAL) putchar(']');
    }
    putchar('\n');
    put_roff(o->help);
    putchar('\n');
  }
  if (!c->details) return;
  fputs(".PP\n", stdout);
  put_roff(c->details);
}

static void man_rows(const char *title, const named_text *rows) {
  printf(".SH %s\n", title);
  for (; rows->name; rows++) {
    fputs(".TP\n", stdout);
    put_font('B', rows->name);
    putchar('\n');
    put_roff(rows->text);
    putchar('\n');
  }
}

static void print_manual(void) {
  fputs(".\\\" Made by tcc-fuse --help=man.\n", stdout);
  printf(".TH TCC-FUSE 1 \"\" \"tcc-fuse %s\"\n", tcf_version());
  fputs(
      ".SH NAME\ntcc-fuse \\- compiler of tensor programs that fuses operations\n"
      ".SH SYNOPSIS\n.B tcc-fuse\n.I COMMAND\n.RI [ ARGUMENTS ]\n"
      ".SH DESCRIPTION\n"
      "A program is mathematics with named axes; it becomes a few fused kernels of vector\n"
      "code for CPUs, or PTX for NVIDIA GPUs.\n"
      "Options may be written \\fB\\-\\-name value\\fR or \\fB\\-\\-name=value\\fR;\n"
      "\\fB\\-\\-\\fR ends them.\n"
      "A FILE is a program, or IR text of any level as the command opt prints it; \\- is standard "
      "input.\n"
      ".SH COMMANDS\n",
      stdout);
  for (int i = 0; i < command_count; i++) commands[i]->run(1, (char *[]){"--help=man", NULL});
  man_rows("EXIT STATUS", exit_statuses);
  man_rows("ENVIRONMENT", environment);
}

// ----

const char *argument_words(const command *c, int *length) {
  const char *second = strchr(c->usage, ' ');
  if (!second) return NULL;
  *length = (int)strcspn(++second, " ");
  return memchr(second, '|', (size_t)*length) && strncmp(second, "FILE", 4) ? second : NULL;
}

bool takes_files(const command *c) { return strstr(c->usage, "FILE") != NULL; }

static const struct {
  const char *name;
  void (*print)(const command *c, const option *options);
} formats[] = {{"text", text_options}, {"man", man_options}, {"bash", bash_options},
               {"zsh", zsh_options}};

bool print_help(const command *c, const option *options, const char *format) {
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (!strcmp(format, formats[i].name)) return formats[i].print(c, options), true;
  complain("--help is in text, man, bash or zsh, not '%s'", format);
  return false;
}

int print_all_help(const char *format) {
  if (!strcmp(format, "usage")) return print_summary(stderr), EXIT_USAGE;
  if (!strcmp(format, "text")) return print_summary(stdout), EXIT_DONE;
  if (!strcmp(format, "man")) return print_manual(), EXIT_DONE;
  return print_completion(format);
}
