// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs of the language with sizes left open: one compilation serves all sizes, odd ones, sizes
// of 1 and of 0, and agrees with the interpreter of the graph.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "cpu_fixture.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "random_graph.h"

typedef struct bound_sizes {
  const graph *g;
  const int64_t *sizes;
} bound_sizes;

static int64_t size_of(void *ctx, str name) {
  const bound_sizes *b = ctx;
  for (int i = 0; i < b->g->symbols.len; i++)
    if (str_eq(b->g->symbols.data[i], name)) return b->sizes[i];
  cr_assert(false, "no size for %.*s", STR_FMT(name));
  return 0;
}

/// Floats are normal; integers are in [0, 3): indices of tables, for which sizes are chosen.
static interp_tensor random_param(tile_fixture *f, const graph *g, const node *param,
                                  const int64_t *sizes) {
  int64_t dims[MAX_AXES], count = 1;
  bound_sizes b = {g, sizes};
  for (int d = 0; d < param->naxes; d++)
    count *= dims[d] = ix_eval(&g->ix, graph_axis_size(g, param->axes[d]), size_of, NULL, &b);
  interp_tensor t = random_tensor(f, param->type, param->naxes, dims);
  for (int64_t k = 0; k < count && dtype_is_int(param->type); k++) t.data[k].i = random_below(f, 3);
  return t;
}

static graph *compile(tile_fixture *f, const char *text) {
  module m = {0};
  f->diags.arena = &f->arena;
  f->random = 0x9E3779B97F4A7C15u;
  uint32_t file = diag_add_file(&f->diags, STR("test.tdsl"), str_from(text));
  if (!frontend_compile(&f->arena, &f->diags, file, &(frontend_options){0}, &m, NULL)) {
    strbuf message = sb_new(&f->arena);
    diag_render_text(&f->diags, f->diags.items.data[0], false, &message);
    cr_assert(false, "%s", message.data);
  }
  return m.graphs.data[m.graphs.len - 1];
}

static program *lower(tile_fixture *f, const graph *g, const char *cpu) {
  arena *scratch = arena_new(&f->arena, arena);
  target_info *target = arena_new(&f->arena, target_info);
  str error;
  cr_assert(codegen_cpu_target(&f->arena, str_from(cpu), target, &error));
  pass_options options = {.target = target};
  pass_ctx ctx = {.graph = graph_copy(&f->arena, g), .scratch = scratch, .options = &options,
                  .diags = &f->diags};
  fault_frame frame;
  program *p = NULL;
  if (fault_try(&frame)) {
    passes_run(&ctx, NULL, 0, NULL, NULL);
    p = lower_to_tiles(&f->arena, ctx.graph, &options);
  }
  fault_pop(&frame);
  cr_assert(p, "%s", frame.text);
  arena_free(scratch);
  return p;
}

static void compare(tile_fixture *f, const graph *g, cpu_code *code, const int64_t *sizes,
                    const char *text) {
  interp_tensor in[8], want[4], got[4];
  str error = {0};
  span at;
  for (int i = 0; i < g->nparams; i++) in[i] = random_param(f, g, g->nodes.data[i], sizes);
  bool fine = graph_interpret(g, &f->arena, in, want, NULL, &error, &at);
  cr_assert(fine, "%s: %.*s", text, STR_FMT(error));
  cr_assert(cpu_run(&f->arena, code, sizes, 3, in, got).status == 0, "%s", text);
  for (int i = 0; i < g->outputs.len; i++) {
    double d = tensor_distance(&got[i], &want[i]);
    cr_assert(d < 1e-3, "%s\nsizes %d, %d, %d, %d, cpu \"%s\", output %d: distance %g", text,
              (int)sizes[0], (int)sizes[1], (int)sizes[2], (int)sizes[3], code->cpu, i, d);
  }
}

static void compare_sizes(const char *text, const int64_t (*sizes)[6], int n) {
  static const char *const cpus[] = {"", "x86-64-v3"};
  for (int c = 0; c < 2; c++) {
    tile_fixture f = {0};
    cpu_code code;
    graph *g = compile(&f, text);
    cpu_code_make(&code, lower(&f, g, cpus[c]), cpus[c]);
    for (int i = 0; i < n; i++) compare(&f, g, &code, sizes[i], text);
    cpu_code_free(&code);
    tile_fixture_free(&f);
  }
}

#define SIZES(text, ...)                                                   \
  do {                                                                     \
    static const int64_t sizes_[][6] = __VA_ARGS__;                        \
    compare_sizes(text, sizes_, (int)(sizeof sizes_ / sizeof *sizes_));    \
  } while (0)

Test(cpu_symbolic, norms) {
  SIZES("fn f(x: f32[N, D]) -> f32[N, D] { return softmax(x, D) }",
        {{3, 70}, {1, 1}, {17, 64}, {2, 1000}, {40, 15}, {0, 5}});
  SIZES("fn f(x: f32[N, D]) -> f32[N, D] { return softmax(x, N) }",
        {{3, 70}, {1, 1}, {65, 64}, {200, 33}, {40, 15}, {5, 0}});
  SIZES("fn f(x: f32[N, D], g: f32[D]) -> f32[N, D] {\n"
        "  let m = sum(x, D) / D\n  let v = sum((x - m) ** 2, D) / D\n"
        "  return (x - m) * rsqrt(v + 1e-5) * g\n}",
        {{3, 70}, {1, 1}, {17, 64}, {2, 1000}, {40, 15}});
}

Test(cpu_symbolic, products) {
  SIZES("fn f(a: f32[M, K], b: f32[K, N]) -> f32[M, N] { return dot(a, b, K) }",
        {{3, 70, 5}, {1, 1, 1}, {6, 64, 64}, {77, 33, 130}, {13, 200, 65}, {70, 1, 9}, {0, 3, 4},
         {4, 0, 3}});
  SIZES("fn f(a: f32[M, K], b: f32[N, K], c: f32[N]) -> f32[M, N] {\n"
        "  return tanh(dot(a, b, K) + c)\n}",
        {{3, 70, 5}, {1, 1, 1}, {6, 64, 64}, {77, 33, 130}, {13, 200, 65}, {70, 1, 9}});
  SIZES("fn f(a: bf16[B, M, K], b: bf16[B, K, N]) -> f32[B, M, N] { return dot(a, b, K) }",
        {{2, 3, 70, 5}, {1, 1, 1, 1}, {2, 6, 64, 64}, {3, 77, 33, 130}});
  SIZES("fn f(a: f32[K, M], b: f32[K, N]) -> f64[M, N] { return f64(dot(a, b, K)) }",
        {{3, 70, 5}, {1, 1, 1}, {64, 6, 64}, {77, 33, 130}});
}

Test(cpu_symbolic, attention_with_heads) {
  SIZES("fn f(q: f32[S, A], k: f32[T, A], v: f32[T, A]) -> f32[S, A] {\n"
        "  let p = softmax(dot(q[A -> (H, K = 16)], k[A -> (H, K = 16)], K) * 0.25, T)\n"
        "  return dot(p, v[A -> (H, K = 16)], T)[(H, K) -> A]\n}",
        {{3, 32, 7}, {1, 16, 1}, {33, 64, 40}, {20, 48, 130}});
}

Test(cpu_symbolic, views_and_gathers) {
  SIZES("fn f(x: f32[N, D], y: f32[D, N]) -> f32[D, N] { return x * y }",
        {{3, 70}, {1, 1}, {64, 64}, {33, 47}, {5, 200}});
  SIZES("fn f(t: f32[V, D], i: i32[B, S]) -> f32[B, S, D] { return t[V = i] * 2 }",
        {{3, 17, 2, 5}, {9, 64, 1, 1}, {4, 1, 3, 40}, {3, 5, 0, 2}});
  SIZES("fn f(x: f32[Y, X]) -> f32[P, Q] {\n"
        "  return max(x[Y -> P * 2 + (I = 2), X -> Q * 2 + (J = 2)], I, J)\n}",
        {{4, 8}, {2, 2}, {7, 33}, {40, 70}});
  SIZES("fn f(x: f32[N, D]) -> (f32[N], i32[N], f32[D]) {\n"
        "  return (sum(x, D), argmax(x, D), max(x, N))\n}",
        {{3, 70}, {1, 1}, {64, 64}, {33, 17}});
}
