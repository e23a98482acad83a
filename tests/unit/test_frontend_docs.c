// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The examples of the documentation. A block ```tdsl must compile, a block
// ```tdsl error=E0210 must give that error. A line `//! f([1, 2]) = [3, 4]` is a call: it is
// evaluated by the interpreter of the graph IR; tensors are nested lists, tuples are in
// parentheses.
#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "tests/unit/frontend_fixture.h"

typedef struct numbers {
  vec(double) data;
  int rank;
  int64_t dims[MAX_AXES];
} numbers;

static void skip_space(const char **at) {
  while (isspace((unsigned char)**at) && **at != '\n') ++*at;
}

static bool take(const char **at, char c) {
  skip_space(at);
  if (**at != c) return false;
  ++*at;
  return true;
}

/// A number, true, false, inf, or a list of these, or of lists of one shape.
static void read_numbers(arena *a, const char **at, numbers *out, int depth) {
  skip_space(at);
  if (take(at, '[')) {
    cr_assert_lt(depth, MAX_AXES);
    int64_t n = 0;
    for (; !take(at, ']'); n++) {
      cr_assert(**at && **at != '\n', "unclosed list");
      read_numbers(a, at, out, depth + 1);
      take(at, ',');
    }
    if (out->rank <= depth) out->rank = depth + 1;
    out->dims[depth] = n;
    return;
  }
  double v;
  if (!strncmp(*at, "true", 4)) v = 1, *at += 4;
  else if (!strncmp(*at, "false", 5)) v = 0, *at += 5;
  else {
    char *end;
    v = strtod(*at, &end);
    cr_assert(end != *at, "no number at %.20s", *at);
    *at = end;
  }
  vec_push(a, &out->data, v);
}

static interp_tensor as_tensor(arena *a, const numbers *from, const node *param) {
  interp_tensor t = {.type = param->type, .rank = from->rank};
  cr_assert_eq(from->rank, param->naxes, "%.*s", STR_FMT(param->name));
  memcpy(t.dims, from->dims, sizeof t.dims);
  t.data = arena_array(a, scalar, from->data.len);
  for (int i = 0; i < from->data.len; i++)
    t.data[i] = scalar_cast((scalar){.f = from->data.data[i]}, DT_f64, t.type);
  return t;
}

static bool close_to(double got, double want) {
  if (got == want || (isnan(got) && isnan(want))) return true;
  return fabs(got - want) <= 1e-5 * (1 + fabs(want));
}

static void check_result(const char *line, const interp_tensor *got, const numbers *want) {
  cr_assert_eq(got->rank, want->rank, "%s", line);
  int64_t count = 1;
  for (int k = 0; k < got->rank; k++) {
    cr_assert_eq(got->dims[k], want->dims[k], "%s", line);
    count *= got->dims[k];
  }
  for (int64_t i = 0; i < count; i++) {
    double v = dtype_is_float(got->type) ? got->data[i].f : (double)got->data[i].i;
    cr_expect(close_to(v, want->data.data[i]), "%s\ngives %g, not %g, at %d", line, v,
              want->data.data[i], (int)i);
  }
}

/// `f(args) = result`.
static void run_call(program_test *t, const char *line) {
  arena *a = &t->arena;
  const char *at = line;
  skip_space(&at);
  const char *name = at;
  while (isalnum((unsigned char)*at) || *at == '_') at++;
  graph *g = graph_find(&t->graphs, (str){name, (int)(at - name)});
  cr_assert(g, "no function in %s", line);
  interp_tensor params[32], outputs[32];
  cr_assert(take(&at, '('));
  for (int i = 0; i < g->nparams; i++) {
    numbers n = {0};
    read_numbers(a, &at, &n, 0);
    params[i] = as_tensor(a, &n, g->nodes.data[i]);
    take(&at, ',');
  }
  cr_assert(take(&at, ')') && take(&at, '='), "%s", line);
  str error = {0};
  span where;
  bool ok = graph_interpret(g, a, params, outputs, NULL, &error, &where);
  cr_assert(ok, "%s: %.*s", line, STR_FMT(error));
  bool tuple = take(&at, '(');
  for (int i = 0; i < g->outputs.len; i++) {
    numbers n = {0};
    read_numbers(a, &at, &n, 0);
    check_result(line, &outputs[i], &n);
    take(&at, ',');
  }
  cr_assert(!tuple || take(&at, ')'), "%s", line);
}

static int run_calls(program_test *t, str block) {
  int calls = 0;
  char *text = str_z(&t->arena, block);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    if (strncmp(line, "//! ", 4)) continue;
    run_call(t, line + 4);
    calls++;
  }
  return calls;
}

static int check_block(const char *file, int line, str info, str block) {
  arena names = {0};
  str name = str_printf(&names, "%s:%d", file, line);
  program_test t;
  program_test_run(&t, name.ptr, block);
  int calls = 0, wanted = 0;
  if (str_starts(info, STR(" error=E"))) wanted = atoi(info.ptr + 8);
  if (wanted) {
    cr_expect(program_test_has(&t, wanted, false), "%s does not give E%04d:\n%s", name.ptr, wanted,
              program_test_messages(&t).ptr);
    cr_expect_eq(t.diags.errors, 1, "%s", name.ptr);
  } else {
    cr_expect(t.ok && t.diags.items.len == 0, "%s\n%s", name.ptr, program_test_messages(&t).ptr);
    if (t.ok) calls = run_calls(&t, block);
  }
  program_test_free(&t);
  arena_free(&names);
  return calls;
}

/// Checks each block of the file; returns how many, and adds up the calls.
static int check_document(const char *path, int *calls) {
  arena a = {0};
  bool found;
  str text = read_whole_file(&a, path, &found);
  cr_assert(found, "%s", path);
  int blocks = 0, line = 1;
  const char *slash = strrchr(path, '/') + 1;
  for (char *at = str_z(&a, text); *at;) {
    char *end = strchr(at, '\n');
    if (!end) break;
    char *after = end + 1;
    if (!strncmp(at, "```tdsl", 7)) {
      char *close = strstr(after, "\n```");
      cr_assert(close, "%s:%d: unclosed block", slash, line);
      *end = 0;
      *calls += check_block(slash, line + 1, str_from(at + 7),
                            (str){after, (int)(close + 1 - after)});
      blocks++;
      for (char *c = after; c < close; c++) line += *c == '\n';
      after = close + 1;
      line++;
    }
    line++;
    at = after;
  }
  arena_free(&a);
  return blocks;
}

Test(frontend_docs, language) {
  int calls = 0;
  cr_expect_gt(check_document(TCF_SOURCE_DIR "/docs/language.md", &calls), 40);
  cr_expect_gt(calls, 25);
}

Test(frontend_docs, contracts) {
  int calls = 0;
  check_document(TCF_SOURCE_DIR "/docs/contracts.md", &calls);
}

Test(frontend_docs, gradients, .timeout = 60) {
  int calls = 0;
  check_document(TCF_SOURCE_DIR "/docs/gradients.md", &calls);
  cr_expect_gt(calls, 7);
}

Test(frontend_docs, diagnostics) {
  int calls = 0;
  cr_expect_gt(check_document(TCF_SOURCE_DIR "/docs/diagnostics.md", &calls), 40);
}
