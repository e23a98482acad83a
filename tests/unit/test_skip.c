// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps that a mask empties change nothing: tile IR in which every loop walks its whole axis, and
// every step is taken whatever a test says of it, gives the bits of that which leaves steps out.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gpu_fixture.h"

// ---- tile IR without what leaves steps out

static tstmt *always_true(kernel *k, const tval *like) {
  tstmt *s = arena_array(k->arena, tstmt, 1);
  tval *v = arena_array(k->arena, tval, 1);
  *v = *like;
  v->id = k->nvals++;
  *s =
      (tstmt){.kind = TILE_CONST, .nout = 1, .out = arena_array(k->arena, tval *, 1), .value.i = 1};
  s->out[0] = v;
  return s;
}

/// Returns how many bounds and tests there were.
static int walk_all_of(kernel *k, tregion *r) {
  int found = 0;
  for (int i = 0; r && i < r->stmts.len; i++) {
    tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_LOOP && (s->from || s->below || s->within)) {
      if (s->within) s->nin -= 2;
      s->from = s->below = s->within = 0;
      found++;
    }
    if (s->kind == TILE_IF && s->cond == COND_ANY) {
      tstmt *yes = always_true(k, s->in[0]);
      s->in[0] = yes->out[0];
      vec_push(k->arena, &r->stmts, yes);
      for (int j = r->stmts.len - 1; j > i; j--) r->stmts.data[j] = r->stmts.data[j - 1];
      r->stmts.data[i++] = yes;
      found++;
    }
    found += walk_all_of(k, s->body) + walk_all_of(k, s->other);
  }
  return found;
}

static int walk_all(program *p) {
  int found = 0;
  for (int i = 0; i < p->kernels.len; i++)
    found += walk_all_of(p->kernels.data[i], &p->kernels.data[i]->body);
  return found;
}

// ---- functions of the tests of contracts

/// What integers and bools of the parameters are: places, every 9th, all alike, in no order.
typedef enum data { IN_ORDER, SPARSE, ALIKE, MIXED, DATA } data;

static int64_t integer_at(data how, int64_t i, int64_t n) {
  switch (how) {
    case IN_ORDER: return i;
    case SPARSE: return i % 9 == 0;
    case ALIKE: return 3;
    default: return i * 7919 % (n + 1);
  }
}

static int64_t size_named(void *ctx, str name) {
  static const struct {
    const char *name;
    int64_t size;
  } sizes[] = {{"S", 140}, {"T", 300}, {"R", 300}, {"D", 3}, {"E", 4}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (str_eq(name, str_from(sizes[i].name))) return sizes[i].size;
  return (void)ctx, 1;
}

static interp_tensor parameter(arena *a, const graph *g, const node *p, data how) {
  int64_t dims[MAX_AXES];
  for (int k = 0; k < p->naxes; k++)
    dims[k] = ix_eval(&g->ix, graph_axis_size(g, p->axes[k]), size_named, NULL, NULL);
  interp_tensor t = lowered_values(a, p->type, p->naxes, dims);
  int64_t n = 1;
  for (int k = 0; k < p->naxes; k++) n *= dims[k];
  for (int64_t i = 0; i < n && !dtype_is_float(p->type); i++)
    t.data[i] = scalar_cast((scalar){.i = integer_at(how, i, n)}, DT_i64, p->type);
  return t;
}

static bool by_data(const graph *g) {
  bool some = false;
  for (int i = 0; i < g->nparams; i++) some |= !dtype_is_float(g->nodes.data[i]->type);
  return some;
}

static void run(lowered *l, const interp_tensor *in, interp_tensor *out) {
  str error = {0};
  span at;
  cr_assert(program_interpret(l->p, &l->test.arena, in, out, NULL, &error, &at), "%.*s\n%s",
            STR_FMT(error), l->text.ptr);
}

static bool same_bits(const interp_tensor *x, const interp_tensor *y) {
  int64_t n = 1;
  for (int k = 0; k < x->rank; k++) n *= x->dims[k];
  for (int64_t i = 0; i < n; i++) {
    scalar a = x->data[i], b = y->data[i];
    if (dtype_is_float(x->type) ? a.f != b.f && !(isnan(a.f) && isnan(b.f)) : a.i != b.i)
      return false;
  }
  return true;
}

/// Both ways, for each kind of data. Returns how many bounds and tests there are.
static int compare_both_ways(const char *source, const target_info *target) {
  lowered few, all;
  lowered_make_for(&few, source, target);
  lowered_make_for(&all, source, target);
  int found = walk_all(all.p);
  for (int how = 0; how < (by_data(few.original) ? DATA : 1) && found; how++) {
    interp_tensor in[MAX_AXES], got[4], want[4];
    for (int i = 0; i < few.original->nparams; i++)
      in[i] = parameter(&few.test.arena, few.original, few.original->nodes.data[i], (data)how);
    run(&few, in, got);
    run(&all, in, want);
    for (int i = 0; i < few.p->noutputs; i++)
      cr_expect(same_bits(&got[i], &want[i]), "output %d with data %d, %.*s:\n%s", i, how,
                STR_FMT(target->name), few.text.ptr);
  }
  lowered_free(&few);
  lowered_free(&all);
  return found;
}

/// The next function of a file; false: there is none.
static bool next_function(const char **at, char *out, size_t size) {
  const char *begin = strncmp(*at, "fn ", 3) ? strstr(*at, "\nfn ") : *at;
  const char *end = begin ? strstr(begin, "\n}") : NULL;
  if (!end) return false;
  snprintf(out, size, "%.*s\n}\n", (int)(end - begin), begin + (*begin == '\n'));
  *at = end + 2;
  return true;
}

/// Returns how many functions leave steps out.
static int compare_file(const char *file, const target_info *target) {
  arena a = {0};
  bool found;
  str text =
      read_whole_file(&a, str_printf(&a, TCF_SOURCE_DIR "/tests/contracts/%s", file).ptr, &found);
  cr_assert(found);
  const char *at = str_printf(&a, "%.*s", STR_FMT(text)).ptr;
  char source[4096];
  int skip = 0;
  while (next_function(&at, source, sizeof source)) skip += compare_both_ways(source, target) > 0;
  arena_free(&a);
  return skip;
}

Test(skip, loop_nests_of_a_cpu) {
  target_info cpu = cpu_target(1);
  cr_expect_eq(compare_file("skip.tdsl", &cpu), 13);
}

Test(skip, loop_nests_of_a_gpu) {
  target_info gpu = sm_80_target();
  cr_expect_eq(compare_file("skip.tdsl", &gpu), 11);  // those with rows
}

Test(skip, products_of_tensor_cores) {
  target_info gpu = sm_80_target();
  cr_expect_eq(compare_file("gpu.tdsl", &gpu), 13);
}

Test(skip, products_of_warpgroups) { cr_expect_eq(compare_file("gpu.tdsl", &gpu_target), 13); }

// ---- that steps are left out

/// Weights of 0 times NaN are NaN where the step is taken. Values behind the last key that any row
/// sees are NaN.
static void expect_left_out(const target_info *target, const char *where) {
  enum { SEEN = 256 };
  char source[512];
  lowered few, all;
  interp_tensor in[5], got[1];
  snprintf(source, sizeof source,
           "fn f(q: bf16[S, D = 64], k: bf16[T, D], v: bf16[T, E = 64], a: i32[S], b: i32[T]) -> "
           "f32[S, E] {\n"
           "  fuse stream(T, passes = 1) {\n"
           "    let s = where(%s, dot(q, k, D), -inf)\n    return dot(bf16(softmax(s, T)), v, T)\n "
           " }\n}\n",
           where);
  lowered_make_for(&few, source, target);
  lowered_make_for(&all, source, target);
  for (int i = 0; i < 5; i++)
    in[i] = parameter(&few.test.arena, few.original, few.original->nodes.data[i], IN_ORDER);
  int64_t width = in[2].dims[1];
  for (int64_t i = SEEN * width; i < in[2].dims[0] * width; i++) in[2].data[i].f = NAN;
  run(&few, in, got);
  for (int64_t i = 0; i < got[0].dims[0] * width; i++)
    cr_assert(!isnan(got[0].data[i].f), "%s on %.*s", where, STR_FMT(target->name));
  walk_all(all.p);
  run(&all, in, got);
  for (int64_t i = 0; i < got[0].dims[0] * width; i++)
    cr_assert(isnan(got[0].data[i].f), "%s on %.*s, all steps", where, STR_FMT(target->name));
  lowered_free(&few);
  lowered_free(&all);
}

Test(skip, steps_are_left_out) {
  static const char *const masks[] = {"index(T) <= index(S)",
                                      "index(T) <= index(S) && index(S) - index(T) < 40",
                                      "a / 24 == b / 24", "index(T) <= index(S) || index(T) < 20"};
  target_info cpu = cpu_target(1), sm_80 = sm_80_target();
  for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
    expect_left_out(&cpu, masks[i]);
    expect_left_out(&sm_80, masks[i]);
    expect_left_out(&gpu_target, masks[i]);
  }
}

/// What another kernel gave is in memory as a whole: its parts are not to be had.
Test(skip, conditions_of_another_kernel) {
  static const char *const forms[][2] = {{"a > 0 && b > 0", "where(c, exp(x), 0.0)"},
                                         {"a > 0 || b > 0", "where(c, 0.0, exp(x))"},
                                         {"bit_not(a > b)", "where(c, exp(x), 0.0)"}};
  target_info targets[] = {cpu_target(1), sm_80_target(), gpu_target};
  for (int i = 0; i < 9; i++) {
    char source[400];
    snprintf(source, sizeof source,
             "fn f(x: f32[A = 64, B = 13], a: f32[A], b: f32[A]) -> (f32[B], bool[A]) {\n"
             "  let c = %s\n  fuse stream(A) {\n    let s = sum(%s, A)\n  }\n  return (s, c)\n}\n",
             forms[i / 3][0], forms[i / 3][1]);
    lowered l;
    lowered_make_for(&l, source, &targets[i % 3]);
    interp_tensor in[3];
    for (int k = 0; k < 3; k++)
      in[k] = parameter(&l.test.arena, l.original, l.original->nodes.data[k], DATA);
    lowered_compare(&l, in, 1e-4);
    lowered_free(&l);
  }
}
