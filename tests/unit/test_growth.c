// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compiling costs as programs grow: memory, lines of LLVM IR and the length of kernels at n
// and at 2n, in numbers that do not depend on the machine.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "cpu_fixture.h"
#include "gpu_fixture.h"
#include "nvptx_fixture.h"

/// Twice the program may cost this much more.
static const double at_most_twice = 2.2;

typedef struct spent {
  size_t passes, lowering, verifying;  // bytes of arenas
  int kernels, steps;
  int lines, longest;  // of LLVM IR; the longest function
} spent;

static void count_lines(str text, spent *s) {
  int length = 0;
  for (int i = 0; i < text.len; i++) {
    if (text.ptr[i] != '\n') continue;
    s->lines++;
    length = i > 0 && text.ptr[i - 1] == '}' ? 0 : length + 1;
    if (length > s->longest) s->longest = length;
  }
}

typedef struct scratch_use {
  const arena *scratch;  // emptied after every pass
  size_t bytes;
} scratch_use;

static void add_use(void *ctx, const pass_info *pass, graph *g) {
  (void)pass, (void)g;
  scratch_use *use = ctx;
  use->bytes += use->scratch->used;
}

/// Bytes of scratch that all passes take.
static size_t run_passes(pass_ctx *ctx, bool *ok) {
  scratch_use use = {.scratch = ctx->scratch};
  *ok = passes_run(ctx, NULL, 0, add_use, &use);
  return use.bytes;
}

/// Lowers and verifies; with `code`, makes LLVM IR for a CPU too.
static spent spend(str source, const target_info *target, bool code) {
  spent s = {0};
  lowered l;
  lowered_make_for(&l, source.ptr, target);
  s.lowering = l.test.arena.used;
  arena room = {0};
  pass_options options = {.target = target};
  pass_ctx ctx = {graph_copy(&l.test.arena, l.original), &room, &options, &l.test.diags};
  bool ok;
  s.passes = run_passes(&ctx, &ok);
  cr_assert(ok);
  str report;
  cr_assert(program_verify(l.p, &room, &report));
  s.verifying = room.used;
  s.kernels = l.p->kernels.len;
  s.steps = l.p->steps.len;
  arena_free(&room);
  if (code) {
    codegen_options o = {.kind = CODE_LLVM_IR, .cpu = STR("x86-64-v4")};
    struct code text;
    str error;
    cr_assert(codegen_cpu(&room, l.p, &o, &text, &error), "%.*s", STR_FMT(error));
    count_lines((str){text.data, (int)text.size}, &s);
    arena_free(&room);
  }
  lowered_free(&l);
  return s;
}

// ---- programs of n parts

typedef str make_source(arena *a, int n);

/// n running sums that are all read again after the last one was made.
static str live_values(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N]) -> f32[N] {\n  let v0 = cumsum(x * 0.5, N)\n");
  for (int i = 1; i < n; i++) sb_printf(&b, "  let v%d = cumsum(v%d * 0.5, N)\n", i, i - 1);
  sb_printf(&b, "  let s0 = v%d\n", n - 1);
  for (int i = 1; i < n; i++)
    sb_printf(&b, "  let s%d = cumsum(s%d + v%d, N)\n", i, i - 1, n - 1 - i);
  sb_printf(&b, "  return s%d\n}\n", n - 1);
  return sb_str(&b);
}

/// The same with a size of its own for each value.
static str sizes(arena *a, int n) {
  strbuf b = sb_new(a);
  for (int i = 0; i < n; i++) sb_printf(&b, "%s%d: f32[N%d]", i ? ", p" : "fn f(p", i, i);
  sb_puts(&b, ") -> f32 {\n");
  for (int i = 0; i < n; i++) sb_printf(&b, "  let v%d = cumsum(p%d, N%d)\n", i, i, i);
  sb_puts(&b, "  let s0 = sum(v0, N0)\n");
  for (int i = 1; i < n; i++)
    sb_printf(&b, "  let s%d = s%d + sum(cumsum(v%d, N%d), N%d)\n", i, i - 1, i, i, i);
  sb_printf(&b, "  return s%d\n}\n", n - 1);
  return sb_str(&b);
}

static str chain(arena *a, int n, const char *first, const char *second) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N, T], y: f32[N, T]) -> f32[N, T] {\n  let v0 = x\n");
  for (int i = 0; i < n; i++) sb_printf(&b, "  let v%d = %sv%d%s\n", i + 1, first, i, second);
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

static str powers(arena *a, int n) { return chain(a, n, "pow(abs(", ") + 0.5, y)"); }
static str remainders(arena *a, int n) { return chain(a, n, "(1.5 + ", ") % y"); }
static str exponentials(arena *a, int n) { return chain(a, n, "exp(y - ", ")"); }
static str errors(arena *a, int n) { return chain(a, n, "erf(y * ", ")"); }
static str sines(arena *a, int n) { return chain(a, n, "sin(y * ", ")"); }

static str softmaxes(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N, T]) -> f32[N, T] {\n  let v0 = x\n");
  for (int i = 0; i < n; i++)
    sb_printf(&b, "  let e%d = exp(v%d - max(v%d, T))\n  let v%d = e%d / sum(e%d, T)\n", i, i, i,
              i + 1, i, i);
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

/// Reductions that wait for each other.
static str rows(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N, T]) -> f32[N, T] {\n  let v0 = x\n");
  for (int i = 0; i < n; i++)
    sb_printf(&b, "  let v%d = v%d - sum(v%d, T) * 0.001\n", i + 1, i, i);
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

/// n sums of different functions of a row, each of the values before.
static str different_rows(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N, T]) -> f32[N, T] {\n  let v0 = x\n");
  for (int i = 0; i < n; i++)
    sb_printf(&b, "  let v%d = v%d - sum(v%d * %d.5, T) * 0.00001\n", i + 1, i, i, i);
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

/// The same of axes of their own.
static str rows_of_their_own(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(");
  for (int i = 0; i < n; i++) sb_printf(&b, "%sp%d: f32[N, T%d]", i ? ", " : "", i, i);
  sb_puts(&b, ") -> f32[N] {\n  let v0 = sum(p0, T0)\n");
  for (int i = 1; i < n; i++)
    sb_printf(&b, "  let v%d = v%d + sum(p%d * %d.5, T%d)\n", i, i - 1, i, i, i);
  sb_printf(&b, "  return v%d\n}\n", n - 1);
  return sb_str(&b);
}

static str results(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N]) -> (f32[N]");
  for (int i = 1; i < n; i++) sb_puts(&b, ", f32[N]");
  for (int i = 0; i < n; i++) sb_printf(&b, "%sx + %d.5", i ? ", " : ") {\n  return (", i);
  sb_puts(&b, ")\n}\n");
  return sb_str(&b);
}

// ---- tests

static arena A;

static void expect_linear(make_source *make, int n, const target_info *target, bool code) {
  spent one = spend(make(&A, n), target, code), two = spend(make(&A, 2 * n), target, code);
  cr_expect_leq((double)two.passes, at_most_twice * (double)one.passes, "%zu bytes, then %zu",
                one.passes, two.passes);
  cr_expect_leq((double)two.lowering, at_most_twice * (double)one.lowering, "%zu bytes, then %zu",
                one.lowering, two.lowering);
  cr_expect_leq((double)two.verifying, at_most_twice * (double)one.verifying, "%zu bytes, then %zu",
                one.verifying, two.verifying);
  cr_expect_leq(two.lines, at_most_twice * one.lines, "%d lines, then %d", one.lines, two.lines);
}

Test(growth, values_that_are_live_together) {
  target_info cpu = cpu_target(2);
  expect_linear(live_values, 400, &cpu, true);
  // steps are rows of a table: of the code only the addresses of temps grow
  spent some = spend(live_values(&A, 400), &cpu, true);
  cr_expect_leq(some.lines, 10 * 400, "%d lines", some.lines);
  spent s = spend(live_values(&A, 1000), &cpu, false);
  cr_expect_leq(s.lowering, 180u << 20, "%zu bytes", s.lowering);  // with a copy after each pass
  cr_expect_leq(s.verifying, 30u << 20, "%zu bytes", s.verifying);
}

Test(growth, values_of_sizes_of_their_own) {
  target_info cpu = cpu_target(2);
  // Each offset is a sum of the sizes before it.
  spent one = spend(sizes(&A, 20), &cpu, false);
  spent two = spend(sizes(&A, 40), &cpu, false);
  cr_expect_leq((double)two.verifying, 5 * (double)one.verifying, "%zu bytes, then %zu",
                one.verifying, two.verifying);
  cr_expect_leq((double)two.lowering, 5 * (double)one.lowering, "%zu bytes, then %zu", one.lowering,
                two.lowering);
}

/// What is long for LLVM is a function, not a program.
Test(growth, long_bodies_become_kernels_of_limited_length) {
  target_info cpu = cpu_target(2);
  static make_source *const makes[] = {powers, remainders, exponentials, errors, sines, rows,
                                       softmaxes};
  for (size_t i = 0; i < sizeof makes / sizeof *makes; i++) {
    spent s = spend(makes[i](&A, 500), &cpu, true);
    cr_expect_leq(s.longest, 20000, "%zu: a function of %d lines", i, s.longest);
    cr_expect_leq(s.kernels, 12, "%zu: %d kernels", i, s.kernels);  // equal parts are one kernel
  }
}

Test(growth, results) {
  target_info cpu = cpu_target(2);
  expect_linear(results, 240, &cpu, true);
  spent s = spend(results(&A, 480), &cpu, true);
  cr_expect_leq(s.lines, 10 * 480, "%d lines", s.lines);
  cr_expect_leq(s.longest, 250, "a function of %d lines", s.longest);  // nor is the call long
}

/// Neither their number nor that of sizes is in each of their kernels.
Test(growth, different_reductions) {
  target_info cpu = cpu_target(2);
  expect_linear(different_rows, 200, &cpu, true);
  spent s = spend(different_rows(&A, 400), &cpu, true);
  cr_expect_leq(s.lines, 150 * 400, "%d lines", s.lines);
  s = spend(rows_of_their_own(&A, 300), &cpu, true);
  cr_expect_leq(s.lines, 220 * 300, "%d lines", s.lines);
}

/// Their arguments are read as words.
Test(growth, calls_of_many_pointers) {
  target_info cpu = cpu_target(2);
  cpu_case cases[] = {{.sizes = {37}}, {.sizes = {1}}, {.sizes = {0}}};
  lowered l;
  lowered_make_for(&l, results(&A, 300).ptr, &cpu);
  cpu_compare_text(l.text.ptr, cases, 3);
  lowered_free(&l);
}

/// Walks that compute again what those before them did.
Test(growth, rows_on_a_gpu) {
  spent s = spend(softmaxes(&A, 64), &gpu_target, false);
  cr_expect_geq(s.steps, 8, "%d steps", s.steps);
  expect_linear(softmaxes, 32, &gpu_target, false);
}

Test(growth, more_reductions_of_one_walk_than_a_kernel_holds) {
  strbuf b = sb_new(&A);
  sb_puts(&b, "fn f(x: f32[N, T]) -> f32[N] {\n  let s0 = sum(x, T)\n");
  for (int i = 1; i < 100; i++) sb_printf(&b, "  let s%d = s%d + max(x * %d.5, T)\n", i, i - 1, i);
  sb_puts(&b, "  return s99\n}\n");
  target_info cpu = cpu_target(2);
  for (int gpu = 0; gpu < 2; gpu++) {
    lowered l;
    lowered_make_for(&l, sb_str(&b).ptr, gpu ? &gpu_target : &cpu);
    cr_expect_geq(l.p->steps.len, 2);
    int64_t dims[] = {3, 40};
    interp_tensor in[] = {lowered_values(&A, DT_f32, 2, dims)};
    lowered_compare(&l, in, 1e-4);
    lowered_free(&l);
  }
}

/// n sums of different functions of a row.
static str sums_of_a_row(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N, T]) -> f32[N] {\n  return sum(x, T)");
  for (int i = 1; i < n; i++) sb_printf(&b, " + sum(exp(x * 0.%d5), T)", i);
  sb_puts(&b, "\n}\n");
  return sb_str(&b);
}

/// Each reduction has a register for each element of a thread: many have fewer elements.
Test(growth, running_values_of_a_gpu_fit_into_registers) {
  static const struct {
    int sums;
    const char *step;
  } cases[] = {{2, "loop T:1024"}, {4, "loop T:1024"}, {16, "loop T:256"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lowered l;
    lowered_make_for(&l, sums_of_a_row(&A, cases[i].sums).ptr, &gpu_target);
    cr_expect(strstr(l.text.ptr, cases[i].step), "%d sums: %.*s", cases[i].sums, STR_FMT(l.text));
    int64_t dims[] = {3, 300};
    interp_tensor in[] = {lowered_values(&A, DT_f32, 2, dims)};
    lowered_compare(&l, in, 1e-2);
    lowered_free(&l);
  }
}

/// So many temps that their addresses wait in memory.
Test(growth, many_live_values_are_right) {
  target_info cpu = cpu_target(2);
  lowered l;
  lowered_make_for(&l, live_values(&A, 140).ptr, &cpu);
  cr_assert_gt(l.p->buffers.len, 256);
  cpu_compare_text(l.text.ptr, (cpu_case[]){{.sizes = {3}, .tolerance = 1e-3}}, 1);
  lowered_free(&l);
}

// ---- code is made once

static str code_of(lowered *l, const char *cpu, code_kind kind) {
  codegen_options o = {.kind = kind, .cpu = str_from(cpu)};
  bool gpu = !strncmp(cpu, "sm_", 3);
  code out;
  str error;
  arena *a = &l->test.arena;
  bool made =
      gpu ? codegen_cuda(a, l->p, &o, &out, &error) : codegen_cpu(a, l->p, &o, &out, &error);
  cr_assert(made, "%.*s", STR_FMT(error));
  return (str){out.data, (int)out.size};
}

/// n operations in a row, each with a number of its own.
static str long_map(arena *a, int n) {
  strbuf b = sb_new(a);
  sb_puts(&b, "fn f(x: f32[N]) -> f32[N] {\n  let v0 = x\n");
  for (int i = 1; i <= n; i++) sb_printf(&b, "  let v%d = v%d * %d.5 + x\n", i, i - 1, i % 7);
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

static int count_of(const char *text, const char *what) {
  int n = 0;
  while ((text = strstr(text, what))) text += strlen(what), n++;
  return n;
}

/// With masks, a long body serves whole vectors and the last one.
Test(growth, long_bodies_have_one_version) {
  target_info cpu = cpu_target(2);
  for (int n = 12; n <= 30; n += 18) {
    lowered l;
    lowered_make_for(&l, long_map(&A, n).ptr, &cpu);
    const char *wide = code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr;
    const char *narrow = code_of(&l, "x86-64-v3", CODE_LLVM_IR).ptr;
    int whole = count_of(wide, "  store <16 x float>");
    cr_expect(n > 12 ? whole == 0 : whole > 0, "%d: %d stores without a mask", n, whole);
    cr_expect_geq(count_of(wide, "call void @llvm.masked.store"), 1);
    cr_expect_geq(count_of(narrow, "  store <16 x float>"), 1);
    cpu_compare_text(l.text.ptr,
                     (cpu_case[]){{.sizes = {37}}, {.sizes = {64}}, {.sizes = {0}}, {.sizes = {1}}},
                     4);
    lowered_free(&l);
  }
}

/// In a long program loops have one version, or parts of vectors are moved by functions.
Test(growth, long_programs_have_no_long_tails) {
  target_info cpu = cpu_target(2);
  lowered l;
  lowered_make_for(&l, different_rows(&A, 50).ptr, &cpu);
  const char *wide = code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr;
  const char *narrow = code_of(&l, "x86-64", CODE_LLVM_IR).ptr;
  cr_expect_leq(count_of(wide, "fmul <16 x float>"), 50 * 4);
  cr_expect_leq(count_of(narrow, "call void @llvm.masked.store"), 1);
  cr_expect_geq(count_of(narrow, "call void @masked.store"), 50);
  cpu_compare_text(l.text.ptr,
                   (cpu_case[]){{.sizes = {3, 37}, .tolerance = 1e-4},
                                {.sizes = {2, 64}, .tolerance = 1e-4},
                                {.sizes = {2, 0}},
                                {.sizes = {0, 5}}},
                   4);
  lowered_free(&l);
}

/// n running sums with a constant each, and their sum.
static str different_scans(arena *a, const char *type, int n) {
  strbuf b = sb_new(a);
  sb_printf(&b, "fn f(x: %s[N]) -> %s[N] {\n  let v0 = x\n", type, type);
  for (int i = 1; i <= n; i++)
    sb_printf(&b, "  let v%d = v%d + cumsum(x * %d.25, N) / %d.5\n", i, i - 1, i, i);
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

static void compare_long(const char *source, int64_t second) {
  target_info cpu = cpu_target(2);
  lowered l;
  lowered_make_for(&l, source, &cpu);
  const char *text = code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr;
  int functions = count_of(text, "define internal void @f."), tables = count_of(text, ".constants = ");
  cr_expect_lt(functions, l.p->kernels.len, "%d functions for %d kernels", functions,
               l.p->kernels.len);
  cr_expect_gt(tables, 1);
  cpu_compare_text(l.text.ptr,
                   (cpu_case[]){{.sizes = {3, second}, .tolerance = 1e-4},
                                {.sizes = {37, second}, .tolerance = 1e-4},
                                {.sizes = {0, second}}},
                   3);
  lowered_free(&l);
}

/// Steps as a table and as code, of both types.
Test(growth, kernels_share_functions_that_read_constants) {
  compare_long(different_scans(&A, "f32", 300).ptr, 0);
  compare_long(different_scans(&A, "f64", 300).ptr, 0);
  compare_long(different_rows(&A, 130).ptr, 21);
  target_info cpu = cpu_target(2);
  spent s = spend(different_scans(&A, "f32", 600), &cpu, true);
  cr_expect_leq(s.lines, 15 * 600, "%d lines", s.lines);
  s = spend(different_rows(&A, 400), &cpu, true);
  cr_expect_leq(s.lines, 40 * 400, "%d lines", s.lines);
}

/// Short programs have their constants in their code.
Test(growth, short_programs_read_no_constants) {
  target_info cpu = cpu_target(2);
  lowered l;
  lowered_make_for(&l, different_scans(&A, "f32", 40).ptr, &cpu);
  cr_expect(!strstr(code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr, ".constants"));
  lowered_free(&l);
}

// ---- long functions are called

/// n powers or other functions, each with a constant of its own: no two kernels are equal.
static str different(arena *a, const char *type, const char *call, int n) {
  strbuf b = sb_new(a);
  sb_printf(&b, "fn f(x: %s[N], y: %s[N]) -> %s[N] {\n  let v0 = x\n", type, type, type);
  for (int i = 0; i < n; i++) {
    sb_printf(&b, "  let v%d = ", i + 1);
    for (const char *at = call; *at; at++) {
      if (*at == '@') sb_printf(&b, "v%d", i);
      else if (*at == '#') sb_printf(&b, "%d.5", i % 97 + 1);
      else sb_printf(&b, "%c", *at);
    }
    sb_puts(&b, "\n");
  }
  sb_printf(&b, "  return v%d\n}\n", n);
  return sb_str(&b);
}

static const char *const long_calls[] = {
    "pow(abs(@) + 0.5, y / #)",
    "(@ * # + 40) % (y + 2)",
    "erfc(@ / #)",
    "tan(@ / #)",
    "sinh(@ / #)",
    "atan2(@, y + #)",
};

Test(growth, long_functions_are_made_once) {
  target_info cpu = cpu_target(2);
  for (size_t i = 0; i < sizeof long_calls / sizeof *long_calls; i++)
    for (int gpu = 0; gpu < 2; gpu++) {
      lowered l;
      lowered_make_for(&l, different(&A, i < 6 ? "f32" : "f64", long_calls[i], 300).ptr,
                       gpu ? &gpu_target : &cpu);
      str text = code_of(&l, gpu ? "sm_90a" : "x86-64-v4", CODE_LLVM_IR);
      spent s = {0};
      count_lines(text, &s);
      cr_expect_geq(l.p->kernels.len, 2);
      cr_expect_leq(s.lines, 300 * 100, "%s, GPU %d: %d lines", long_calls[i], gpu, s.lines);
      lowered_free(&l);
    }
}

/// Of so many, short ones are called too.
Test(growth, short_functions_are_made_once) {
  target_info cpu = cpu_target(2);
  for (int n = 1000; n <= 1500; n += 500) {
    lowered l;
    lowered_make_for(&l, different(&A, "f32", "exp(y - @ / #)", n).ptr, &cpu);
    bool called = strstr(code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr, "@exp.f32.16");
    cr_expect_eq(called, n == 1500);
    if (called)
      cpu_compare_text(l.text.ptr, (cpu_case[]){{.sizes = {37}, .tolerance = 1e-4}}, 1);
    lowered_free(&l);
  }
}

// ---- contracts

/// n reductions under a contract, each of which waits for the one before.
static str contract_of_rows(arena *a, int n, const char *head, const char *before,
                            const char *after) {
  strbuf b = sb_new(a);
  sb_printf(&b, "fn f(x: f32[N, T]) -> f32[N] {\n  %s {\n    let v0 = max(x, T)\n", head);
  for (int i = 1; i < n; i++) sb_printf(&b, "    let v%d = %sv%d%s\n", i, before, i - 1, after);
  sb_printf(&b, "    return v%d\n  }\n}\n", n - 1);
  return sb_str(&b);
}

/// Bytes that deciding a contract takes, whether it holds or not.
static size_t spend_on_contract(str source, bool holds) {
  arena a = {0}, room = {0};
  diag_list diags = {.arena = &a};
  module graphs = {0};
  target_info cpu = cpu_target(2);
  uint32_t file = diag_add_file(&diags, STR("test.tdsl"), source);
  cr_assert(frontend_compile(&a, &diags, file, NULL, &graphs, NULL));
  pass_options options = {.target = &cpu};
  pass_ctx ctx = {graphs.graphs.data[0], &room, &options, &diags};
  bool ok;
  size_t used = run_passes(&ctx, &ok);
  cr_expect_eq(ok, holds, "%s", source.ptr);
  arena_free(&a);
  return used;
}

/// What is asked of a block that does not hold, for the sake of its message, is asked of a logarithm of
/// its parts.
Test(growth, contracts_are_decided_in_proportion) {
  static const struct {
    const char *head, *before, *after;
    bool holds;
  } cases[] = {{"fuse stream(T)", "sum(where(x > ", ", x, 0), T)", false},
               {"fuse stream(T)", "max(abs(x - ", "), T)", false},
               {"fuse stream(T)", "sum(exp(x - ", "), T)", true},
               {"fuse", "sum(exp(x - ", "), T)", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t spent[2];
    for (int k = 0; k < 2; k++)
      spent[k] = spend_on_contract(
          contract_of_rows(&A, 100 << k, cases[i].head, cases[i].before, cases[i].after),
          cases[i].holds);
    cr_expect_leq((double)spent[1], 2.5 * (double)spent[0], "%zu: %zu bytes, then %zu", i, spent[0],
                  spent[1]);
  }
}

/// In a program of some, each is made where it is used.
Test(growth, few_functions_are_made_in_place) {
  target_info cpu = cpu_target(2);
  lowered l;
  lowered_make_for(&l, different(&A, "f32", long_calls[0], 40).ptr, &cpu);
  cr_expect(!strstr(code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr, "@pow"));
  lowered_free(&l);
  lowered_make_for(&l, different(&A, "f32", long_calls[0], 80).ptr, &cpu);
  cr_expect(strstr(code_of(&l, "x86-64-v4", CODE_LLVM_IR).ptr, "@pow"));
  lowered_free(&l);
}

Test(growth, called_functions_give_the_same) {
  static const char *const types[] = {"f32", "f64"};
  target_info cpu = cpu_target(2);
  for (size_t i = 0; i < sizeof long_calls / sizeof *long_calls; i++) {
    lowered l;
    bool is_double = i % 2 || i == 6;
    str source = different(&A, types[is_double], long_calls[i], 130);
    lowered_make_for(&l, source.ptr, &cpu);
    cpu_compare_text(l.text.ptr,
                     (cpu_case[]){{.sizes = {37}, .tolerance = is_double ? 1e-12 : 1e-4}}, 1);
    lowered_free(&l);
    lowered_make_for(&l, source.ptr, &gpu_target);
    str ptx = code_of(&l, "sm_90a", CODE_ASSEMBLY);
    cr_expect(strstr(ptx.ptr, "call.uni"), "%s", long_calls[i]);
    if (i < 2) nvptx_assemble(ptx, "sm_90a");
    lowered_free(&l);
  }
}
