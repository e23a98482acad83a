// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the fuse pass and remat do for gradients of deep models, counted at n and at 2n layers. Half of such a
// graph reads the other half in reverse order, so that kernels wait for each other over its whole length.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "frontend_fixture.h"
#include "lower_targets.h"
#include "passes/fusion/fuse.h"

/// Twice the layers may cost this much more.
static const double at_most_twice = 2.2;

/// `params`, once, and a layer: # is its number, @ the one after it. What it names x@ is the next one's x#.
typedef struct model {
  const char *name, *params, *layer_params, *layer;
  int layers;
} model;

static const model models[] = {
    {"products", "", "w#: f32[D, E = D], b#: f32[D]", "let x@ = relu(dot(x#, w#, D)[E -> D] + b#)",
     60},
    {"norms", "", "g#: f32[D], b#: f32[D]", "let x@ = x# + tanh(layernorm(x#, g#, b#, 1e-5, D))",
     30},
    {"products of all before", "s: f32[N, D]", "w#: f32[D, E = D]",
     "let a@ = a# + x#\n  let x@ = relu(dot(a@, w#, D)[E -> D] + s)", 80},
    {"softmaxes under one mask", "m: f32[N, D]", "w#: f32[D, E = D]",
     "let x@ = softmax(dot(x#, w#, D)[E -> D], D) * m + x#", 40},
    {"running sums", "", "g#: f32[D]", "let x@ = tanh(cumsum(x# * g#, N)) + x#", 40},
    {"a recurrence", "u: f32[D, E = D], w: f32[D, E = D]", "g#: f32[D]",
     "let c@ = dot(x, u, D)[E -> D] + dot(x#, w, D)[E -> D]\n  let a@ = a# * sigmoid(c@) + g#\n"
     "  let x@ = sigmoid(c@) * tanh(a@)",
     40},
    {"transformer", "",
     "g#: f32[D], q#: f32[D, H = 4, E = 32], k#: f32[D, H, E], w#: f32[D, F = 512], v#: f32[F, D]",
     "let n# = rmsnorm(x#, g#, 1e-5, D)\n"
     "  let p# = softmax(dot(dot(n#, q#, D), dot(n#, k#, D)[N -> T], E), T)\n"
     "  let a@ = x# + dot(sum(p#, H), n#[N -> T], T)\n"
     "  let x@ = a@ + dot(gelu(dot(a@, w#, D)), v#, F)",
     40},
};

static void put(strbuf *b, const char *text, int i) {
  for (; *text; text++) {
    if (*text == '#') sb_printf(b, "%d", i);
    else if (*text == '@') sb_printf(b, "%d", i + 1);
    else sb_printf(b, "%c", *text);
  }
}

/// Names of parameters as a list, or their types.
static void put_names(strbuf *b, const char *params, int i, bool types) {
  const char *at = params;
  for (bool inside = false, name = true; *at; at++) {
    char text[2] = {*at, 0};
    if (*at == ':') {
      name = false;
      if (types) at++;
      continue;
    }
    if (*at == '[') inside = true;
    if (*at == ']') inside = false;
    bool comma = *at == ',' && !inside;
    if (!strncmp(at, " = ", 3) && inside) {  // the size has been said
      while (at[1] && at[1] != ']' && at[1] != ',') at++;
      continue;
    }
    if (name != types || comma) put(b, text, i);
    if (comma) name = true;
  }
}

static str source_of(arena *a, const model *m, int n) {
  strbuf b = sb_new(a);
  sb_printf(&b, "fn f(x: f32[N = 512, D = 128]%s%s", *m->params ? ", " : "", m->params);
  for (int i = 0; i < n; i++) sb_puts(&b, ", "), put(&b, m->layer_params, i);
  sb_puts(&b, ") -> (");
  for (int i = 0; i < n; i++) sb_puts(&b, i ? ", " : ""), put_names(&b, m->layer_params, i, true);
  sb_puts(&b, ") {\n  let x0 = x\n  let a0 = x\n");
  for (int i = 0; i < n; i++) sb_puts(&b, "  "), put(&b, m->layer, i), sb_puts(&b, "\n");
  sb_printf(&b, "  let l = mean(x%d ** 2, N, D)\n  return grad(l, ", n);
  for (int i = 0; i < n; i++) sb_puts(&b, i ? ", " : ""), put_names(&b, m->layer_params, i, false);
  sb_puts(&b, ")\n}\n");
  return sb_str(&b);
}

typedef struct spent {
  double nodes, questions, steps, asked;  // of the fuse pass
  double bytes;                           // of scratch, of the passes before it
} spent;

static spent spend(const model *m, int n, const target_info *target) {
  program_test t;
  arena source = {0}, room = {0};
  program_test_run(&t, "t.tdsl", source_of(&source, m, n));
  cr_assert(t.ok, "%s: %s", m->name, program_test_messages(&t).ptr);
  pass_options options = {.target = target};
  pass_ctx ctx = {t.graphs.graphs.data[0], &room, &options, &t.diags};
  int count;
  const pass_info *all = passes_all(&count);
  spent s = {0};
  for (int i = 0; strcmp(all[i].name, "remat"); i++) {
    all[i].run(&ctx);
    s.bytes += (double)room.used;
    arena_free(&room);
  }
  fusion f;
  cr_assert(fusion_partition(&f, &ctx));
  s.nodes = f.n;
  fusion_emit(&f, true);
  s.questions = (double)f.order.questions, s.steps = (double)f.order.steps;
  s.asked = (double)f.asked_nodes;
  arena_free(&room);
  arena_free(&source);
  program_test_free(&t);
  return s;
}

static void expect_linear(const model *m, const char *what, double one, double two) {
  cr_expect_leq(two, at_most_twice * one, "%s: %s: %g, then %g", m->name, what, one, two);
}

static void expect_proportion(const model *m, const target_info *target) {
  spent one = spend(m, m->layers, target), two = spend(m, 2 * m->layers, target);
  expect_linear(m, "nodes", one.nodes, two.nodes);
  expect_linear(m, "questions about cycles", one.questions, two.questions);
  expect_linear(m, "steps of their answers", one.steps, two.steps);
  expect_linear(m, "nodes of candidates", one.asked, two.asked);
  expect_linear(m, "bytes", one.bytes, two.bytes);
}

Test(growth_grad, kernels_of_deep_models) {
  target_info cpu = cpu_target(2), sm_80 = sm_80_target();
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    expect_proportion(&models[i], &cpu);
    expect_proportion(&models[i], &sm_80);
  }
}
