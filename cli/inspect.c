// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The commands that look: opt, explain, check, fmt, list.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static int one_file(const command *c, const strings *files) {
  if (files->count == 1) return EXIT_DONE;
  complain("%s takes one file: tcc-fuse %s", c->name, c->usage);
  return EXIT_USAGE;
}

/// The program becomes that of the parts of the function that is named, or of the only one.
static int split_chosen(tcf_session *s, tcf_program **p, const char *name, const char *wrt,
                        const tcf_size *dims, size_t ndims) {
  tcf_function *f = choose_function(*p, name);
  if (!f || !dims_are_known(*p, f, dims, ndims)) return EXIT_USAGE;
  return split_program(s, f, wrt, dims, ndims, p);
}

// ---- opt

typedef struct opt_options {
  common common;
  const char *passes, *to, *print_after, *split;
} opt_options;

static bool parse_stage(const char *name, tcf_stage *out) {
  static const char *const names[] = {"graph", "fused", "plan", "tile", "llvm", "asm"};
  for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
    if (!strcmp(name, names[i])) return *out = (tcf_stage)i, true;
  if (!strcmp(name, "ptx")) return *out = TCF_STAGE_ASM, true;  // what it is for CUDA targets
  complain("--to is graph, fused, plan, tile, llvm or asm, not '%s'", name);
  return false;
}

static void print_after(void *user, const char *pass, const char *text) {
  const char *only = user;
  if (*only && strcmp(only, pass)) return;
  printf("// after %s\n%s\n", pass, text);
}

static bool pass_exists(const char *wanted) {
  const char *name, *summary;
  for (size_t i = 0; tcf_list_row(TCF_LIST_PASSES, i, NULL, &name, &summary); i++)
    if (!strcmp(name, wanted)) return true;
  complain("there is no pass %s; `tcc-fuse list passes` shows them", wanted);
  return false;
}

static int emit(const opt_options *o, const char *file, tcf_session *s, const tcf_size *dims,
                size_t ndims) {
  tcf_program *p;
  tcf_status status = tcf_program_load_file(s, file, &p);
  if (status) return report(s, status);
  if (!dims_are_known(p, NULL, dims, ndims)) return EXIT_USAGE;
  tcf_emit_options e = {.size = sizeof e,
                        .function = o->common.function,
                        .passes = o->passes,
                        .sizes = dims,
                        .nsizes = ndims};
  if (o->common.function && !choose_function(p, o->common.function)) return EXIT_USAGE;
  bool tile = tcf_program_is_tile(p);
  if (tile && o->passes)
    return complain("--passes: passes work on graphs, %s is tile IR", file), EXIT_USAGE;
  int split = o->split ? split_chosen(s, &p, o->common.function, o->split, dims, ndims) : EXIT_DONE;
  if (split) return split;
  if (o->split) e.function = NULL;
  e.stage = tile ? TCF_STAGE_TILE : o->passes ? TCF_STAGE_GRAPH : TCF_STAGE_FUSED;
  if (o->to && !parse_stage(o->to, &e.stage)) return EXIT_USAGE;
  if (o->print_after) {
    if (*o->print_after && !pass_exists(o->print_after)) return EXIT_USAGE;
    e.after_pass = print_after;
    e.user = (void *)o->print_after;
  }
  char *text;
  status = tcf_program_emit(p, &e, &text);
  if (status) return report(s, status);
  // What is printed after one pass can be given to a command again, unless more follows.
  if (o->to || !o->print_after || !*o->print_after) fputs(text, stdout);
  tcf_text_free(text);
  return EXIT_DONE;
}

int opt_command(int argc, char **argv) {
  opt_options o = {0};
  const option options[] = {
      {"--function", 'e', OPTION_VALUE, "FN", "only this function", &o.common.function},
      {"--passes", 0, OPTION_VALUE, "A,B,...", "these passes instead of the pipeline", &o.passes},
      {"--print-after", 0, OPTION_OPTIONAL, "PASS",
       "print the graph after each pass, or only after PASS", &o.print_after},
      {"--to", 0, OPTION_VALUE, "STAGE", "graph, fused, plan, tile, llvm or asm", &o.to,
       "graph fused plan tile llvm asm ptx"},
      SPLIT_OPTION(o.split),
      COMMON_OPTIONS(o.common),
      {0}};
  const command *c = find_command("opt");
  strings files = {0};
  bool help = false;
  tcf_session *s = NULL;
  tcf_size *dims = NULL;
  size_t ndims = 0;
  int status = parse_options(c, options, argc, argv, &files, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help) {
    status = one_file(c, &files);
    if (!status) status = parse_dims(&o.common, &dims, &ndims);
    if (!status) status = open_session(&o.common, NULL, &s);
    if (!status) status = emit(&o, files.items[0], s, dims, ndims);
  }
  tcf_session_free(s);
  if (dims) free_dims(dims, ndims);
  common_free(&o.common);
  strings_free(&files);
  return flushed(status);
}

// ---- explain

/// The format's number; -1: there is none, said.
static int explain_format(const char *format, bool remat) {
  static const char *const formats[] = {"text", "json", "html", "svg"};
  for (int f = 0; f < 4; f++)
    if (!strcmp(format, formats[f]) && f != (remat ? TCF_HTML : TCF_SVG)) return f;
  complain("--format is text, json or %s, not '%s'%s", remat ? "svg" : "html", format,
           !remat && !strcmp(format, "svg") ? "; svg is a format of --remat" : "");
  return -1;
}

static int explain(const common *c, const char *file, const char *format, bool remat,
                   const char *out, const char *wrt, tcf_session *s, const tcf_size *dims,
                   size_t ndims) {
  int f = explain_format(format, remat);
  if (f < 0) return EXIT_USAGE;
  if (remat && wrt)
    return complain("--remat is of a whole function, not of the parts of --split-backward"), EXIT_USAGE;
  tcf_program *p;
  tcf_status status = tcf_program_load_file(s, file, &p);
  if (status) return report(s, status);
  if ((c->function || !tcf_program_count(p)) && !choose_function(p, c->function)) return EXIT_USAGE;
  if (!dims_are_known(p, NULL, dims, ndims)) return EXIT_USAGE;
  int split = wrt ? split_chosen(s, &p, c->function, wrt, dims, ndims) : EXIT_DONE;
  if (split) return split;
  char *text;
  status = (remat ? tcf_program_explain_recomputation : tcf_program_explain)(
      p, wrt ? NULL : c->function, dims, ndims, (tcf_format)f, &text);
  if (status) return report(s, status);
  status = tcf_save(s, &(tcf_output){.path = out, .data = text, .size = strlen(text)}, 1);
  tcf_text_free(text);
  return report(s, status);
}

int explain_command(int argc, char **argv) {
  common o = {0};
  const char *format = "text", *out = "-", *split = NULL;
  bool remat = false;
  const option options[] = {
      {"--function", 'e', OPTION_VALUE, "FN", "only this function", &o.function},
      SPLIT_OPTION(split),
      {"--format", 0, OPTION_VALUE, "FORMAT", "text, json or html; with --remat svg for html", &format,
       "text json html svg"},
      {"--remat", 0, OPTION_FLAG, NULL, "what gradients keep and compute again, and at what memory",
       &remat},
      {"--output", 'o', OPTION_VALUE, "OUT", "a file instead of standard output", &out},
      COMMON_OPTIONS(o),
      {0}};
  const command *c = find_command("explain");
  strings files = {0};
  bool help = false;
  tcf_session *s = NULL;
  tcf_size *dims = NULL;
  size_t ndims = 0;
  int status = parse_options(c, options, argc, argv, &files, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help) {
    status = one_file(c, &files);
    if (!status) status = parse_dims(&o, &dims, &ndims);
    if (!status) status = open_session(&o, NULL, &s);
    if (!status) status = explain(&o, files.items[0], format, remat, out, split, s, dims, ndims);
  }
  tcf_session_free(s);
  if (dims) free_dims(dims, ndims);
  common_free(&o);
  strings_free(&files);
  return flushed(status);
}

// ---- check

/// Loads and verifies a file for one target. *again: it was loaded, so that other targets may say more.
static int check_for(const common *o, const char *file, bool *again) {
  tcf_session *s;
  tcf_program *p;
  bool json = o->quiet;
  int status = open_session(o, NULL, &s);
  if (status) return status;
  tcf_status loaded = tcf_program_load_file(s, file, &p);
  *again = !loaded;
  if (!loaded) loaded = tcf_program_check(p);
  bool checked = !loaded || loaded == TCF_WRONG_PROGRAM;
  status = json && checked ? exit_of(loaded) : report(s, loaded);
  if (json && checked) fputs(tcf_session_diagnostics_json(s), stdout);
  tcf_session_free(s);
  return status;
}

/// What is wrong for several targets is said once.
static int check_file(common *o, const strings *targets, const char *file) {
  int status = EXIT_DONE, at = 0;
  bool again = true;
  strings said = {0};
  o->said = &said;
  do {
    if (targets->count) o->target = targets->items[at];
    int one = check_for(o, file, &again);
    if (one > status) status = one;
  } while (again && status < EXIT_USAGE && ++at < targets->count);
  for (int i = 0; i < said.count; i++) free((char *)said.items[i]);
  strings_free(&said);
  return status;
}

int check_command(int argc, char **argv) {
  const char *format = "text";
  common o = {0};
  strings targets = {0};
  const option options[] = {
      {"--format", 0, OPTION_VALUE, "FORMAT", "text (on stderr) or json (on standard output)",
       &format, "text json"},
      {"--target", 0, OPTION_LIST, "TARGET",
       "for which contracts are verified, as often as there are (default: cpu)", &targets},
      RULE_OPTIONS(o),
      {0}};
  const command *c = find_command("check");
  strings files = {0};
  bool help = false;
  int status = parse_options(c, options, argc, argv, &files, &help) ? EXIT_DONE : EXIT_USAGE;
  o.quiet = !strcmp(format, "json");
  if (!status && !help && !files.count) {
    complain("check takes files: tcc-fuse %s", c->usage);
    status = EXIT_USAGE;
  }
  if (!status && !o.quiet && strcmp(format, "text")) {
    complain("--format is text or json, not '%s'", format);
    status = EXIT_USAGE;
  }
  for (int i = 0; !help && status < EXIT_USAGE && i < files.count; i++) {
    int one = check_file(&o, &targets, files.items[i]);
    if (one > status) status = one;
  }
  strings_free(&targets);
  common_free(&o);
  strings_free(&files);
  return flushed(status);
}

// ---- fmt

static int format_file(tcf_session *s, const char *path, bool only_check, bool diff) {
  size_t size;
  char *text = read_text(path, &size), *formatted;
  if (!text) return EXIT_ENVIRONMENT;
  int status = EXIT_DONE;
  tcf_status done =
      tcf_format_source(s, strcmp(path, "-") ? path : "<stdin>", text, size, &formatted);
  if (done) {
    status = report(s, done);
  } else {
    bool same = strlen(formatted) == size && !memcmp(formatted, text, size);
    if (only_check && !same) {
      status = EXIT_CHECK;
      if (!diff) printf("%s\n", path);
      else if (!print_diff(path, text, size, formatted, strlen(formatted))) status = no_memory();
    } else if (!only_check && (!same || !strcmp(path, "-"))) {
      tcf_output out = {.path = path, .data = formatted, .size = strlen(formatted)};
      status = report(s, tcf_save(s, &out, 1));
    }
    tcf_text_free(formatted);
  }
  free(text);
  return status;
}

int fmt_command(int argc, char **argv) {
  bool only_check = false, diff = false;
  const option options[] = {
      {"--check", 0, OPTION_FLAG, NULL,
       "change nothing; print files that would change, exit status 4", &only_check},
      {"--diff", 0, OPTION_FLAG, NULL, "as --check, but print what would change", &diff},
      {0}};
  const command *c = find_command("fmt");
  strings files = {0};
  bool help = false;
  int status = parse_options(c, options, argc, argv, &files, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help && !files.count) {
    complain("fmt takes files: tcc-fuse %s", c->usage);
    status = EXIT_USAGE;
  }
  tcf_session *s = NULL;
  if (!status && !help) status = open_session(&(common){0}, "interp", &s);
  for (int i = 0; s && i < files.count; i++) {
    int one = format_file(s, files.items[i], only_check || diff, diff);
    if (one > status) status = one;
  }
  tcf_session_free(s);
  strings_free(&files);
  return flushed(status);
}

// ---- list

static void list_rows(tcf_list which) {
  const char *name, *summary;
  int number;
  for (size_t i = 0; tcf_list_row(which, i, &number, &name, &summary); i++) {
    if (number)
      printf("%c%04d %-20s %s\n", number / 100 == 8 ? 'W' : 'E', number, name, summary);
    else
      printf("%-18s %s\n", name, summary);
  }
}

static int list_functions(const char *file, bool json) {
  tcf_session *s;
  tcf_program *p;
  char *text = NULL;
  int status = open_session(&(common){0}, "interp", &s);
  if (status) return status;
  status = report(s, tcf_program_load_file(s, file, &p));
  if (!status) status = report(s, tcf_program_signatures(p, json ? TCF_JSON : TCF_TEXT, &text));
  if (!status && !tcf_program_count(p) && !json)
    complain("%s has no function with a concrete signature", file);
  if (text) fputs(text, stdout);
  tcf_text_free(text);
  tcf_session_free(s);
  return status;
}

/// The number of what is listed; -1: wrong words, said.
static int listed(const strings *words, const char *format) {
  static const char *const names[] = {"passes", "ops", "targets", "errors", "functions"};
  enum { COUNT = sizeof names / sizeof *names, FUNCTIONS = COUNT - 1 };
  const char *word = words->count ? words->items[0] : "";
  int which = 0;
  while (which < COUNT && strcmp(word, names[which])) which++;
  if (which == FUNCTIONS && words->count != 2)
    return complain("list functions takes one file: tcc-fuse list functions FILE"), -1;
  if (which == COUNT || (which < FUNCTIONS && words->count != 1)) {
    const char *near = words->count ? nearest(word, names, COUNT) : NULL;
    if (which < COUNT) near = NULL;
    complain("list takes passes, ops, targets, errors or functions FILE%s%s%s",
             near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return -1;
  }
  if (format && which < FUNCTIONS) return complain("--format is for list functions"), -1;
  if (!format || !strcmp(format, "text") || !strcmp(format, "json")) return which;
  return complain("--format is text or json, not '%s'", format), -1;
}

int list_command(int argc, char **argv) {
  const char *format = NULL;
  const option options[] = {
      {"--format", 0, OPTION_VALUE, "FORMAT", "of functions: text or json", &format, "text json"},
      {0}};
  const command *c = find_command("list");
  strings words = {0};
  bool help = false;
  int status = parse_options(c, options, argc, argv, &words, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help) {
    int which = listed(&words, format);
    if (which < 0) status = EXIT_USAGE;
    else if (which <= TCF_LIST_ERRORS) list_rows((tcf_list)which);
    else status = list_functions(words.items[1], format && !strcmp(format, "json"));
  }
  strings_free(&words);
  return flushed(status);
}
