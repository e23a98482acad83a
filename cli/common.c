// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sessions, messages and text files, as every command needs them.
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static int errors_shown;       // by the diagnostics callback
static char wrong_option[256];  // what is wrong with the options of a session

void complain(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fputs("tcc-fuse: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

int no_memory(void) { return complain("out of memory"), EXIT_ENVIRONMENT; }

bool stderr_color(void) {
  const char *no = getenv("NO_COLOR");
  return !(no && *no) && isatty(STDERR_FILENO);
}

int exit_of(tcf_status status) {
  switch (status) {
    case TCF_OK:
      return EXIT_DONE;
    case TCF_WRONG_PROGRAM:
    case TCF_WRONG_DATA:
      return EXIT_PROGRAM;
    case TCF_WRONG_USE:
      return EXIT_USAGE;
    default:
      return EXIT_ENVIRONMENT;
  }
}

int report(tcf_session *s, tcf_status status) {
  bool said = (status == TCF_WRONG_PROGRAM || status == TCF_WRONG_DATA) && errors_shown;
  if (status && !said) complain("%s", tcf_session_message(s));
  return exit_of(status);
}

static void show_diagnostic(void *user, const tcf_diagnostic *d) {
  strings *said = user;
  if (!d->code) {
    snprintf(wrong_option, sizeof wrong_option, "%s", d->message);
    return;
  }
  if (d->severity == TCF_ERROR) errors_shown++;
  for (int i = 0; said && i < said->count; i++)
    if (!strcmp(said->items[i], d->text)) return;
  char *kept = said ? strdup(d->text) : NULL;
  if (kept) strings_add(said, kept);
  fflush(stdout);
  fputs(d->text, stderr);
}

/// "autotune softmax: trial 3, rows=4: 23.1 us, slower (best 20.5 us)"
static void show_trial(void *user, const tcf_trial *t) {
  (void)user;
  bool kept = strstr(t->outcome, "kept") != NULL;
  fflush(stdout);
  fprintf(stderr, "autotune %s: ", t->function);
  if (kept) fprintf(stderr, "after %d trials", t->number);
  else if (t->number) fprintf(stderr, "trial %d", t->number);
  if (*t->schedule) fprintf(stderr, ", %s", t->schedule);
  if (t->number) fputs(": ", stderr);
  if (t->seconds > 0) fprintf(stderr, "%.4g us, ", t->seconds * 1e6);
  fprintf(stderr, "%s", t->outcome);
  if (t->number && !kept) fprintf(stderr, " (best %.4g us)", t->best_seconds * 1e6);
  fputc('\n', stderr);
}

static bool parse_threads(const char *text, int *out) {
  uint64_t v;
  if (!parse_whole(text, 4096, &v) || !v) return false;
  *out = (int)v;
  return true;
}

double plain_nan(double v) { return isnan(v) ? (double)NAN : v; }

static void unknown_target(const char *target) {
  enum { MOST = 256 };
  const char *names[MOST], *summary;
  int count = 0;
  bool cpu = !strncmp(target, "cpu:", 4);
  // Processors are told apart by their names, not by what all of them begin with.
  while (count < MOST && tcf_list_row(TCF_LIST_TARGETS, (size_t)count, NULL, &names[count], &summary))
    count++;
  for (int i = 0; cpu && i < count; i++)
    names[i] = strncmp(names[i], "cpu:", 4) ? "" : names[i] + 4;
  const char *near = nearest(cpu ? target + 4 : target, names, count);
  if (near && *near)
    complain("there is no target %s; did you mean %s%s?", target, cpu ? "cpu:" : "", near);
  else
    complain("there is no target %s; `tcc-fuse list targets` shows them", target);
}

target_name target_of(const common *c) {
  const char *t = c->target ? c->target : getenv("TCF_TARGET");
  target_name name;
  if (!t || !*t) t = "cpu";
  snprintf(name.text, sizeof name.text, "%s%s", strncmp(t, "sm_", 3) ? "" : "cuda:", t);
  return name;
}

void common_free(common *c) {
  strings_free(&c->dims);
  strings_free(&c->without_rules);
}

/// The flags of --no-rule; false: there is no such rule, said.
static bool rule_flags(const common *c, unsigned *flags) {
  static const struct {
    const char *rule;
    unsigned flag;
  } rules[] = {
#define RULE_OPTION(flag, name, rule) {#rule, TCF_##flag},
#include "ir/options.def"
  };
  enum { COUNT = sizeof rules / sizeof *rules };
  const char *names[COUNT];
  for (int k = 0; k < COUNT; k++) names[k] = rules[k].rule;
  for (int i = 0; i < c->without_rules.count; i++) {
    const char *name = c->without_rules.items[i];
    int k = 0;
    while (k < COUNT && strcmp(name, rules[k].rule)) k++;
    if (k == COUNT) {
      const char *near = nearest(name, names, COUNT);
      complain("there is no rule %s%s%s; docs/contracts.md has them", name, near ? "; did you mean " : "",
               near ? near : "");
      return false;
    }
    *flags |= rules[k].flag;
  }
  return true;
}

static bool parse_recomputation(const common *c, tcf_options *o) {
  char *end;
  o->memory_budget = c->memory_budget;
  if (!c->recompute_slack) return true;
  o->recompute_slack = strtod(c->recompute_slack, &end);
  if (*end || end == c->recompute_slack || !(o->recompute_slack >= 0 && o->recompute_slack <= 1))
    return complain("--recompute-slack is a share from 0 to 1, not '%s'", c->recompute_slack), false;
  if (o->recompute_slack == 0) o->recompute_slack = -1;  // none
  return true;
}

int open_session(const common *c, const char *target, tcf_session **s) {
  tcf_options o = {.size = sizeof o};
  target_name chosen = target_of(c);
  const char *threads = c->threads ? c->threads : getenv("TCF_THREADS");
  if (threads && *threads && !parse_threads(threads, &o.threads)) {
    complain("the number of threads is a whole number from 1 to 4096, not '%s'", threads);
    return EXIT_USAGE;
  }
  o.target = target ? target : chosen.text;
  o.cache_dir = c->no_cache ? "" : c->cache_dir ? c->cache_dir : getenv("TCF_CACHE_DIR");
  o.schedule = c->schedule;
  if (!parse_recomputation(c, &o)) return EXIT_USAGE;
  o.flags = stderr_color() ? TCF_COLOR : 0;
#define PASS_OPTION(flag, name) o.flags |= c->name ? TCF_##flag : 0;
#define TARGET_OPTION(flag, name) PASS_OPTION(flag, name)
#define CALL_OPTION(flag, name) PASS_OPTION(flag, name)
#include "ir/options.def"
  unsigned without = 0;
  if (!rule_flags(c, &without)) return EXIT_USAGE;
  o.flags |= without;
  o.trial = show_trial;
  o.diagnostic = c->quiet ? NULL : show_diagnostic;
  o.diagnostic_user = c->said;
  tcf_status status = tcf_session_new(&o, s);
  if (!status) return EXIT_DONE;
  // Of targets unknown_target() knows more.
  if (status == TCF_WRONG_USE && *wrong_option && !strstr(wrong_option, "no target"))
    complain("%s", wrong_option);
  else if (status == TCF_WRONG_USE)
    unknown_target(o.target);
  else
    complain("%s", tcf_status_name(status));
  return exit_of(status);
}

/// One --dim, beside those before it. EXIT_DONE or said.
static int parse_dim(const common *c, int i, tcf_size *out) {
  const char *text = c->dims.items[i], *equals = strchr(text, '=');
  uint64_t v;
  if (!equals || equals == text || !parse_whole(equals + 1, INT64_MAX, &v))
    return complain("--dim is NAME=SIZE with a whole number, not '%s'", text), EXIT_USAGE;
  size_t name = (size_t)(equals - text) + 1;
  for (int j = 0; j < i; j++) {
    if (strncmp(c->dims.items[j], text, name)) continue;
    complain("--dim gives %.*s twice: %s and %s", (int)name - 1, text, c->dims.items[j], text);
    return EXIT_USAGE;
  }
  *out = (tcf_size){strndup(text, name - 1), (int64_t)v};
  return out->name ? EXIT_DONE : no_memory();
}

int parse_dims(const common *c, tcf_size **sizes, size_t *count) {
  *count = 0;
  *sizes = calloc((size_t)c->dims.count + 1, sizeof **sizes);
  int status = *sizes ? EXIT_DONE : no_memory();
  for (int i = 0; i < c->dims.count && !status; i++) {
    status = parse_dim(c, i, *sizes + i);
    *count += !status;
  }
  if (!status) return EXIT_DONE;
  if (*sizes) free_dims(*sizes, *count);
  *sizes = NULL;
  *count = 0;
  return status;
}

void free_dims(tcf_size *sizes, size_t count) {
  for (size_t i = 0; i < count; i++) free((char *)sizes[i].name);
  free(sizes);
}

static bool has_symbol(const tcf_function *f, const char *name) {
  for (size_t k = 0; k < tcf_function_symbols(f); k++)
    if (!strcmp(tcf_function_symbol(f, k), name)) return true;
  return false;
}

bool dims_are_known(tcf_program *p, const tcf_function *only, const tcf_size *sizes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    bool known = only && has_symbol(only, sizes[i].name);
    for (size_t k = 0; !only && k < tcf_program_count(p); k++)
      known |= has_symbol(tcf_program_at(p, k), sizes[i].name);
    if (known) continue;
    complain("--dim: %s%s has no size symbol %s", only ? "the function " : "the program",
             only ? tcf_function_name(only) : "", sizes[i].name);
    return false;
  }
  return true;
}

static const char *nearest_function(tcf_program *p, const char *name) {
  enum { MOST = 256 };
  const char *names[MOST];
  size_t n = tcf_program_count(p);
  if (n > MOST) n = MOST;
  for (size_t i = 0; i < n; i++) names[i] = tcf_function_name(tcf_program_at(p, i));
  return nearest(name, names, (int)n);
}

tcf_function *choose_function(tcf_program *p, const char *name) {
  size_t n = tcf_program_count(p);
  tcf_function *f = name     ? tcf_program_function(p, name)
                    : n == 1 ? tcf_program_at(p, 0)
                             : tcf_program_function(p, "main");
  if (f) return f;
  fflush(stdout);
  if (!n) return complain("the program has no function with a concrete signature"), NULL;
  const char *near = name ? nearest_function(p, name) : NULL;
  if (near) return complain("there is no function %s; did you mean %s?", name, near), NULL;
  if (name)
    fprintf(stderr, "tcc-fuse: there is no function %s; there %s", name, n == 1 ? "is" : "are");
  else
    fputs("tcc-fuse: which function? Name one with -e:", stderr);
  for (size_t i = 0; i < n; i++)
    fprintf(stderr, "%s %s", i ? "," : "", tcf_function_name(tcf_program_at(p, i)));
  fputc('\n', stderr);
  return NULL;
}

// ---- text

int flushed(int status) {
  if (!status && (fflush(stdout) || ferror(stdout)))
    return complain("standard output cannot be written"), EXIT_ENVIRONMENT;
  return status;
}

char *read_text(const char *path, size_t *size) {
  FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
  size_t cap = 1 << 14, len = 0;
  char *text = f ? malloc(cap) : NULL;
  while (text) {
    size_t got = fread(text + len, 1, cap - len, f);
    len += got;
    if (!got) break;
    if (len < cap) continue;
    char *more = realloc(text, cap *= 2);
    if (!more) free(text);
    text = more;
  }
  if (!f || !text || ferror(f)) {
    complain("%s: %s", path, strerror(errno));
    free(text);
    text = NULL;
  }
  if (f && f != stdin) fclose(f);
  *size = len;
  return text;
}
