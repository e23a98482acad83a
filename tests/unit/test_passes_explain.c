// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The explanation: its figures, its edges, and both renderings.
#include <jansson.h>

#include "passes/explain/explain.h"
#include "lower_targets.h"
#include "passes_support.h"

static arena A;

static const char mlp_text[] =
    "graph @mlp(%x: f32[N, D], %w: f32[D, H], %b: f32[H]) {\n"
    "  axis N = 128\n  axis D = 256\n  axis H = 512\n"
    "  %3 = dot %x, %w over D : f32[N, H]\n"
    "  %4 = add %3, %b : f32[N, H]\n"
    "  %5 = reduce_max %4 over H : f32[N]\n"
    "  %6 = sub %4, %5 : f32[N, H]\n"
    "  %7 = exp %6 : f32[N, H]\n"
    "  return %7\n"
    "}\n";

static explanation *explain(diag_list *files, const char *text) {
  files->arena = &A;
  uint32_t file = diag_add_file(files, STR("mlp.ir"), str_from(text));
  module m = {.arena = &A};
  cr_assert(module_parse(&A, files, file, &m));
  graph *g = run_pass(&A, m.graphs.data[0], "fuse", false);
  return graph_explain(&A, g, NULL, NULL, NULL);
}

Test(passes_explain, bytes_and_flops_are_those_of_the_kernels) {
  diag_list files = {0};
  explanation *e = explain(&files, mlp_text);
  cr_assert_eq(e->kernels.len, 2);
  const explain_kernel *dot = &e->kernels.data[0], *rows = &e->kernels.data[1];
  cr_assert_eq(dot->kind, GROUP_CONTRACTION);
  cr_assert_eq(dot->bytes_read, 4.0 * (128 * 256 + 256 * 512 + 512));
  cr_assert_eq(dot->bytes_written, 4.0 * 128 * 512);
  cr_assert_eq(dot->flops, 2.0 * 128 * 256 * 512 + 128 * 512);
  cr_assert_eq(dot->bound, BOUND_COMPUTE);
  cr_assert_eq(rows->kind, GROUP_REDUCE);
  cr_assert_eq(rows->bytes_read, 4.0 * 128 * 512);
  cr_assert_eq(rows->inputs.data[0].role, ROLE_TEMP);
  cr_assert_eq(rows->outputs.data[0].role, ROLE_OUTPUT);
  cr_assert(dot->roof_share > 0 && dot->roof_share <= 1);
}

Test(passes_explain, edges_that_are_cut_say_why) {
  diag_list files = {0};
  explanation *e = explain(&files, mlp_text);
  const explain_kernel *rows = &e->kernels.data[1];
  int cut = 0;
  for (int i = 0; i < rows->edges.len; i++) {
    const explain_edge *edge = &rows->edges.data[i];
    if (edge->why.fused) continue;
    cut++;
    cr_assert_eq(edge->why.why, REASON_reduction_and_contraction);
    cr_assert_eq(edge->other_kernel, 0);
    cr_assert_gt(edge->why.bytes, 0);
    cr_assert(edge->why.producer_at.file && edge->why.consumer_at.file);
  }
  cr_assert_eq(cut, 2);
  cr_assert_gt(rows->limits.len, 0);
}

Test(passes_explain, text_names_kernels_positions_and_limits) {
  diag_list files = {0};
  explanation *e = explain(&files, mlp_text);
  strbuf out = sb_new(&A);
  explain_text(e, &files, &out);
  cr_assert(strstr(out.data, "fn mlp on cpu: 2 kernels"));
  cr_assert(strstr(out.data, "kernel 0, contraction: dot, add  [mlp.ir:5:"));
  cr_assert(strstr(out.data, "not fused  add %4 (kernel 0) -> reduce_max %5: "));
  cr_assert(strstr(out.data, "  limits     "));
}

Test(passes_explain, kernels_of_gradients_are_told_apart) {
  static const char text[] =
      "graph @f(%x: f32[N, D], %w: f32[D, H], %t: f32[N, H]) {\n"
      "  axis N = 128\n  axis D = 256\n  axis H = 512\n"
      "  %3 = dot %x, %w over D : f32[N, H]\n"
      "  %4 = sub %3, %t : f32[N, H]\n"
      "  %5 = mul %4, %4 : f32[N, H]\n"
      "  %6 = sum %5 over N : f32[H]\n"
      "  %7 = mul %4, %t : f32[N, H] phase 1\n"
      "  %8 = sum %7 over N : f32[H] phase 1\n"
      "  %9 = dot %4, %x over N : f32[H, D] phase 1\n"
      "  %10 = exp %t : f32[N, H]\n"
      "  %11 = mul %10, %9 : f32[N, H, D] phase 1\n"
      "  return %6, %8, %9, %11\n"
      "}\n";
  diag_list files = {0};
  explanation *e = explain(&files, text);
  strbuf out = sb_new(&A), json = sb_new(&A);
  explain_text(e, &files, &out);
  explain_json(e, &files, &json);
  cr_assert(strstr(out.data, "kernel 0, contraction: dot, sub  ["), "%s", out.data);
  cr_assert(strstr(out.data, ", reduce of the forward pass and the gradient: mul, sum, mul, sum  ["), "%s", out.data);
  cr_assert(strstr(out.data, ", contraction of the gradient: dot  ["), "%s", out.data);
  // What it computes of the forward pass for itself does not count.
  cr_assert(strstr(out.data, ", map of the gradient: exp, mul  ["), "%s", out.data);
  json_t *root = json_loads(json.data, 0, NULL),
         *last = json_array_get(json_object_get(root, "kernels"), 2);
  cr_assert_eq(json_integer_value(json_object_get(last, "first_phase")), 1);
  cr_assert_eq(json_integer_value(json_object_get(last, "last_phase")), 1);
  json_decref(root);
}

Test(passes_explain, json_reads_back_with_the_same_figures) {
  diag_list files = {0};
  explanation *e = explain(&files, mlp_text);
  strbuf out = sb_new(&A);
  explain_json(e, &files, &out);
  json_error_t error;
  json_t *root = json_loads(out.data, 0, &error);
  cr_assert(root, "%s", error.text);
  json_t *kernel = json_array_get(json_object_get(root, "kernels"), 0);
  cr_assert_eq(json_integer_value(json_object_get(kernel, "flops")),
               (json_int_t)e->kernels.data[0].flops);
  json_t *edge = json_array_get(json_object_get(kernel, "edges"), 0);
  cr_assert_str_eq(json_string_value(json_object_get(edge, "reason")), "epilogue");
  cr_assert_eq(json_integer_value(json_object_get(json_object_get(edge, "consumer_at"), "line")), 6);
  json_decref(root);
}

Test(passes_explain, kernels_of_a_gpu_show_their_schedule) {
  diag_list files = {.arena = &A};
  module m = {.arena = &A};
  cr_assert(module_parse(&A, &files, diag_add_file(&files, STR("mlp.ir"), str_from(mlp_text)), &m));
  arena scratch = {0};
  pass_options options = {.target = &gpu_target};
  pass_ctx ctx = {m.graphs.data[0], &scratch, &options, &files};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  explanation *e = graph_explain(&A, ctx.graph, &options, NULL, NULL);
  strbuf out = sb_new(&A);
  explain_text(e, &files, &out);
  const explain_schedule *dot = &e->kernels.data[0].schedule, *rows = &e->kernels.data[1].schedule;
  cr_expect_str_eq(dot->unit, "fma");
  cr_expect_gt(dot->shared_bytes, 0);
  cr_expect_eq(rows->unit, NULL);
  cr_expect_eq(rows->shared_bytes, 0);
  cr_expect(rows->occupancy > 0 && rows->occupancy <= 1);
  cr_expect(strstr(out.data, "  schedule   "), "%s", out.data);
  cr_expect(strstr(out.data, "  layout     "), "%s", out.data);
  arena_free(&scratch);
}

/// As a compiler that needs many registers.
static void many_registers(void *ctx, arena *a, const program *p, explain_usage *by_kernel) {
  (void)ctx, (void)a;
  for (int i = 0; i < p->kernels.len; i++)
    by_kernel[i] = (explain_usage){
        .source = STR("a guess"), .registers = 129, .spilled_bytes = 8, .shared_bytes = 512};
}

Test(passes_explain, registers_limit_the_resident_blocks) {
  diag_list files = {.arena = &A};
  module m = {.arena = &A};
  cr_assert(module_parse(&A, &files, diag_add_file(&files, STR("mlp.ir"), str_from(mlp_text)), &m));
  arena scratch = {0};
  pass_options options = {.target = &gpu_target};
  pass_ctx ctx = {m.graphs.data[0], &scratch, &options, &files};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  explanation *e = graph_explain(&A, ctx.graph, &options, many_registers, NULL);
  for (int i = 0; i < e->kernels.len; i++) {
    const explain_schedule *s = &e->kernels.data[i].schedule;
    // 136 a thread are given, 4352 a warp: 3 warps in each quarter of 16384.
    int warps = 12, blocks = warps / (s->threads / 32);
    cr_expect_eq(s->resident, blocks > 1 ? blocks : 1);
    cr_expect_eq(s->shared_bytes, 512);
  }
  strbuf out = sb_new(&A), json = sb_new(&A), html = sb_new(&A);
  explain_text(e, &files, &out);
  explain_json(e, &files, &json);
  explain_html(e, &files, &html);
  cr_expect(strstr(out.data, "registers  129 a thread, 8 bytes of it spilled; by a guess"), "%s",
            out.data);
  cr_expect(strstr(json.data, "\"registers\": 129"), "%s", json.data);
  cr_expect(strstr(html.data, "129 a thread"), "%s", html.data);
  arena_free(&scratch);
}

static double product_seconds(double pair_flops_per_second) {
  diag_list files = {.arena = &A};
  module m = {.arena = &A};
  str text =
      STR("graph @f(%x: bf16[M, K], %w: bf16[K, N]) {\n  axis M = 512\n  axis K = 512\n"
          "  axis N = 512\n  %2 = dot %x, %w over K : f32[M, N]\n  return %2\n}\n");
  cr_assert(module_parse(&A, &files, diag_add_file(&files, STR("f.ir"), text), &m));
  target_info target = {.name = STR("test"),
                        .vector_bytes = 64,
                        .vector_registers = 32,
                        .l1_bytes = 48 << 10,
                        .l2_bytes = 2 << 20,
                        .l3_bytes = 32 << 20,
                        .cores = 2,
                        .flops_per_second = 100e9,
                        .pair_flops_per_second = pair_flops_per_second,
                        .bytes_per_second = 25e9,
                        .l2_bytes_per_second = 100e9};
  arena scratch = {0};
  pass_options options = {.target = &target};
  pass_ctx ctx = {m.graphs.data[0], &scratch, &options, &files};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  double seconds = graph_explain(&A, ctx.graph, &options, NULL, NULL)->kernels.data[0].compute_seconds;
  arena_free(&scratch);
  return seconds;
}

Test(passes_explain, pairs_of_bf16_raise_the_roof) {
  double plain = product_seconds(0);
  cr_expect_float_eq(product_seconds(200e9), plain / 2, plain * 1e-9);
  cr_expect_eq(product_seconds(50e9), plain);
}

Test(passes_explain, a_cpu_has_no_threads_in_blocks) {
  diag_list files = {0};
  explanation *e = explain(&files, mlp_text);
  cr_expect_eq(e->kernels.data[0].schedule.threads, 0);
}

Test(passes_explain, unknown_sizes_are_named) {
  diag_list files = {0};
  explanation *e = explain(&files, "graph @f(%x: f32[N]) {\n  %1 = exp %x : f32[N]\n"
                                   "  return %1\n}\n");
  cr_assert_eq(e->assumed.len, 1);
  cr_assert(str_eqz(e->assumed.data[0], "N = 1024"));
}

// ---- what is said of the limits is true

/// All limits of the function at its sizes, a line each.
static str limits_of(const char *text, const target_info *target, explain_kernel *last) {
  diag_list files = {.arena = &A};
  module m = {.arena = &A};
  cr_assert(module_parse(&A, &files, diag_add_file(&files, STR("l.ir"), str_from(text)), &m));
  arena scratch = {0};
  pass_options options = {.target = target};
  pass_ctx ctx = {m.graphs.data[0], &scratch, &options, &files};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  explanation *e = graph_explain(&A, ctx.graph, &options, NULL, NULL);
  strbuf out = sb_new(&A);
  for (int i = 0; i < e->kernels.len; i++)
    for (int k = 0; k < e->kernels.data[i].limits.len; k++)
      sb_printf(&out, "%.*s\n", STR_FMT(e->kernels.data[i].limits.data[k]));
  *last = e->kernels.data[e->kernels.len - 1];
  arena_free(&scratch);
  return sb_str(&out);
}

static target_info cpu_of(const char *name) {
  int features;
  cr_assert(target_cpu_features(str_from(name), &features));
  target_info t = target_cpu(features, 2);
  t.name = STR("cpu");
  return t;
}

/// A kernel is said to be bound by memory below the intensity at which its arithmetic would limit.
static void expect_balance(const explain_kernel *k, str said) {
  if (k->bound == BOUND_MEMORY && k->balance > 0)
    cr_expect_lt(k->intensity, k->balance, "%.*s", STR_FMT(said));
  if (k->bound == BOUND_COMPUTE) cr_expect_geq(k->intensity, k->balance, "%.*s", STR_FMT(said));
}

Test(passes_explain, a_scatter_computes_nothing_again) {
  static const char text[] =
      "graph @f(%base: f32[V, D], %ids: i32[N], %x: f32[N, D]) {\n"
      "  axis V = 100\n  axis D = 64\n  axis N = 100000\n"
      "  %3 = scatter_add %base, %ids, %x over V : f32[V, D]\n  return %3\n}\n";
  target_info cpu = cpu_of("x86-64-v4");
  explain_kernel k;
  str said = limits_of(text, &cpu, &k);
  cr_expect_not(strstr(said.ptr, "recomputation"), "%s", said.ptr);
  cr_expect_eq(k.needed_flops, k.flops);
  expect_balance(&k, said);
}

Test(passes_explain, what_is_computed_again_is_said) {
  // Windows overlap: an element is in four of them.
  static const char text[] =
      "graph @f(%x: f32[T]) {\n  axis T = 1000003\n  axis P = 1000000\n  axis R = 4\n"
      "  %1 = exp %x : f32[T]\n  %2 = view %1[P + R] : f32[P, R]\n"
      "  %3 = sum %2 over R : f32[P]\n  return %3\n}\n";
  target_info cpu = cpu_of("x86-64-v4");
  explain_kernel k;
  str said = limits_of(text, &cpu, &k);
  cr_expect(strstr(said.ptr, "67% of the work is recomputation"), "%s", said.ptr);
  expect_balance(&k, said);
}

Test(passes_explain, fast_math_is_not_for_what_it_does_not_help) {
  static const char text[] =
      "graph @f(%x: i8[N, D]) {\n  axis N = 4096\n  axis D = 4096\n"
      "  %1 = mul %x, %x : i8[N, D]\n  %2 = argmin %1 over D : i32[N]\n  return %2\n}\n";
  target_info cpu = cpu_of("x86-64");
  cpu.bytes_per_second *= 10;
  explain_kernel k;
  str said = limits_of(text, &cpu, &k);
  cr_assert_eq(k.bound, BOUND_COMPUTE, "%s", said.ptr);
  cr_expect_not(strstr(said.ptr, "fast-math"), "%s", said.ptr);
  cr_expect(strstr(said.ptr, "compute bound: argmin is 75% of its arithmetic"), "%s", said.ptr);
}

#define PRODUCT(m, n, k)                                                                          \
  "graph @f(%a: bf16[M, K], %b: bf16[K, N]) {\n  axis M = " m "\n  axis N = " n "\n  axis K = " k \
  "\n  %2 = dot %a, %b over K : f32[M, N]\n  %3 = cast %2 : bf16[M, N]\n  return %3\n}\n"

Test(passes_explain, the_roofline_is_that_of_the_unit) {
  static const struct {
    const char *text, *arch;
    explain_bound bound;
  } cases[] = {
      {PRODUCT("16384", "16384", "64"), "sm_90a", BOUND_MEMORY},
      {PRODUCT("16384", "16384", "128"), "sm_80", BOUND_MEMORY},
      {PRODUCT("16384", "16384", "4096"), "sm_90a", BOUND_COMPUTE},
      {PRODUCT("16384", "16384", "4096"), "sm_80", BOUND_COMPUTE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    target_info t = gpu_named(cases[i].arch);
    explain_kernel k;
    str said = limits_of(cases[i].text, &t, &k);
    const char *unit = k.schedule.unit;
    cr_assert(unit && strcmp(unit, "fma"), "%s: %s", cases[i].arch, unit);
    cr_expect_eq(k.bound, cases[i].bound, "%s", said.ptr);
    // Flops per byte at which the tensor cores would limit are more than plain arithmetic's.
    double plain = t.flops_per_second * t.cores / t.bytes_per_second;
    cr_expect_gt(k.balance, 3 * plain, "%s", said.ptr);
    cr_expect_not(strstr(said.ptr, "below the 14 "), "%s", said.ptr);
    expect_balance(&k, said);
    cr_expect(strstr(said.ptr, str_printf(&A, " on %s ", unit).ptr), "%s", said.ptr);
  }
}

Test(passes_explain, a_few_blocks_are_not_bound_by_memory) {
  static const char text[] =
      "graph @f(%base: f32[V], %ids: i32[N], %x: f32[N]) {\n"
      "  axis V = 1\n  axis N = 10000000\n"
      "  %3 = scatter_add %base, %ids, %x over V : f32[V]\n  return %3\n}\n";
  explain_kernel k;
  str said = limits_of(text, &gpu_target, &k);
  cr_assert_eq(k.bound, BOUND_LATENCY, "%s", said.ptr);
  cr_expect(strstr(said.ptr, "1 block of 128 threads leaves 131 of 132 multiprocessors idle"), "%s",
            said.ptr);
}
