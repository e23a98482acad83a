// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See gpu_fixture.h.
#include "gpu_fixture.h"

#include <criterion/criterion.h>
#include <math.h>

#include "random_graph.h"

void lowered_make(lowered *l, const char *source) { lowered_make_for(l, source, &gpu_target); }

void lowered_make_for(lowered *l, const char *source, const target_info *target) {
  lowered_make_scheduled(l, source, target, "");
}

void lowered_make_scheduled(lowered *l, const char *source, const target_info *target,
                            const char *schedule) {
  *l = (lowered){0};
  arena scratch = {0}, *a = &l->test.arena;
  program_test_run(&l->test, "test.tdsl", str_from(source));
  cr_assert(l->test.ok, "%.*s", STR_FMT(program_test_messages(&l->test)));
  l->original = l->test.graphs.graphs.data[0];
  pass_options options = {.target = target, .schedule = str_from(schedule)};
  pass_ctx ctx = {graph_copy(a, l->original), &scratch, &options, &l->test.diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  l->fused = graph_copy(a, ctx.graph);
  l->p = lower_to_tiles(a, ctx.graph, &options);
  strbuf out = sb_new(a);
  program_print(l->p, &out);
  l->text = sb_str(&out);
  str report;
  cr_assert(program_verify(l->p, a, &report), "%.*s", STR_FMT(report));
  arena_free(&scratch);
}

void lowered_free(lowered *l) { program_test_free(&l->test); }

int lowered_count(const lowered *l, const char *what) {
  int n = 0;
  for (const char *p = l->text.ptr; (p = strstr(p, what)); p++) n++;
  return n;
}

void lowered_compare(lowered *l, const interp_tensor *in, double tolerance) {
  arena *a = &l->test.arena;
  interp_tensor want[8], got[8];
  str error = {0};
  span at;
  cr_assert(graph_interpret(l->original, a, in, want, NULL, &error, &at), "%.*s",
            STR_FMT(error));
  cr_assert(program_interpret(l->p, a, in, got, NULL, &error, &at), "%.*s\n%s",
            STR_FMT(error), l->text.ptr);
  for (int i = 0; i < l->p->noutputs; i++) {
    double d = tensor_distance(&got[i], &want[i]);
    cr_expect(d < tolerance, "output %d: distance %g\n%s", i, d, l->text.ptr);
  }
}

interp_tensor lowered_values(arena *a, dtype type, int rank, const int64_t *dims) {
  interp_tensor t = {.type = type, .rank = rank};
  int64_t n = 1;
  for (int i = 0; i < rank; i++) n *= t.dims[i] = dims[i];
  t.data = arena_array(a, scalar, n);
  for (int64_t i = 0; i < n; i++) {
    scalar v = {.f = sin(12.9898 * (double)i + (double)n)};
    t.data[i] = type == DT_i32 ? (scalar){.i = i % 3} : scalar_cast(v, DT_f64, type);
  }
  return t;
}
