// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Budgets of memory: never exceeded by what is allocated, met by plans that are about as fast as any, and
// what is said where there is none.
#include <stdlib.h>
#include <time.h>

#include "remat_nets.h"

static remat_solution solve(net *t, const pass_options *options, memory_budget budget) {
  pass_options *own = arena_copy(&t->a, options, sizeof *options);
  own->budget = budget;
  remat_solution s;
  cr_assert(remat_solve(&t->a, t->g, own, &s));
  return s;
}

static memory_budget share(double of) { return (memory_budget){.kind = BUDGET_SHARE, .share = of}; }
static memory_budget bytes(int64_t n) { return (memory_budget){.kind = BUDGET_BYTES, .bytes = n}; }

static const remat_judgement *chosen(const remat_solution *s) {
  return &s->search.plans.data[s->chosen].j;
}

// ---- against all plans

/// Every plan of the candidates, judged.
static remat_search judge_all(net *t, const pass_options *options) {
  remat_search all;
  cr_assert(remat_open(&all, &t->a, t->g, options, 1 << 15));
  cr_assert(remat_try_all(&all));
  return all;
}

static int64_t least_of(const remat_search *s) {
  return s->plans.data[remat_best(s, &(remat_goal){.budget = 0})].j.memory.bytes;
}

typedef struct tally {
  int cases, changed, equal;
  double slower, worst;
} tally;

/// By cuts and flips alone, with no more judgements than programs of hundreds of nodes have.
static void meet(net *t, const pass_options *options, const remat_search *all, int64_t budget,
                 tally *to) {
  const remat_goal goal = {.budget = budget};
  const remat_judgement *want = &all->plans.data[remat_best(all, &goal)].j;
  remat_search s;
  cr_assert(remat_open(&s, &t->a, t->g, options, 400));
  s.least_known = true;  // else all plans are tried
  remat_search_least(&s, NULL);
  remat_try_budget(&s, NULL, budget);
  const remat_judged *got = &s.plans.data[remat_best(&s, &goal)];
  cr_assert_leq(got->j.memory.bytes, budget);
  double ratio = got->j.seconds / want->seconds;
  to->cases++;
  to->changed += want->memory.bytes < all->plans.data[0].j.memory.bytes;
  to->equal += ratio <= 1;
  to->slower += ratio;
  to->worst = fmax(to->worst, ratio);
}

Test(remat_budget, close_to_the_best_of_all_plans_within_it) {
  enum { LEAST = 6, MOST = 14, NETS = 20, PLANS = 24000 };
  int judged = 0;
  target_info cpu = cpu_target(2);
  tally count = {0};
  int nets = 0;
  for (uint64_t seed = 0; seed < 300 && nets < NETS; seed++) {
    net t;
    pass_options options = {.target = seed % 2 ? gpu_default() : &cpu};
    draw_net(&t, seed, 12);
    prepare(&t, &options);
    remat_units u;
    remat_candidate *list;
    cr_assert(remat_price(&t.a, t.g, &options, &u));
    int n = remat_candidates(&t.a, &u, &list);
    // A few of the largest: they take long.
    if (n >= LEAST && n <= MOST && judged + (1 << n) <= PLANS) {
      judged += 1 << n;
      remat_search all = judge_all(&t, &options);
      int64_t least = least_of(&all), full = all.plans.data[0].j.memory.bytes;
      for (int k = 0; k <= 4 && least < full; k++)
        meet(&t, &options, &all, least + (full - least) * k / 4, &count);
      nets += least < full;
    }
    close_net(&t);
  }
  cr_log_info(
      "%d budgets, %d need a plan: %.4f times the least seconds, at worst %.3f, equal in %d",
      count.cases, count.changed, count.slower / count.cases, count.worst, count.equal);
  cr_assert_geq(nets, NETS / 2);
  cr_assert_gt(count.changed, count.cases / 2);
  cr_assert_leq(count.slower / count.cases, 1.002);
  cr_assert_leq(count.worst, 1.02);
}

// ---- layers

/// What the arena is by the program that is compiled, and the most that lives by a count of its steps.
static temporaries compile(net *t, const pass_options *options, const bool *recomputed,
                           int64_t *counted) {
  graph *g = graph_copy(&t->a, t->g);
  remat_clone(g, recomputed);
  pass_ctx ctx = {.graph = g, .scratch = &t->scratch, .options = options};
  pass_fuse(&ctx);
  const program *p = lower_to_tiles(&t->a, ctx.graph, options);
  int *first = arena_array(&t->a, int, p->buffers.len),
      *last = arena_array(&t->a, int, p->buffers.len);
  for (int i = 0; i < p->steps.len; i++)
    for (int k = 0; k < p->steps.data[i].nbufs; k++) {
      int b = p->steps.data[i].bufs[k];
      if (!last[b]) first[b] = i + 1;
      last[b] = i + 1;
    }
  int64_t live = 0;
  *counted = 0;
  for (int step = 1; step <= p->steps.len; step++) {
    for (int b = 0; b < p->buffers.len; b++) {
      const struct buffer *buf = &p->buffers.data[b];
      if (buf->kind != BUFFER_TEMP || buf->host || !last[b]) continue;
      int64_t size = dtype_bytes(buf->type);
      if (buf->rank)
        size *= ix_estimate(&p->ix, buf->dims[0]) * ix_estimate(&p->ix, buf->strides[0]);
      size = (size + 63) / 64 * 64;
      if (first[b] == step) live += size;
      if (last[b] == step - 1) live -= size;
    }
    if (live > *counted) *counted = live;
  }
  return program_temporaries(p);
}

Test(remat_budget, layers_of_equal_segments) {
  for (int gpu = 0; gpu < 2; gpu++) {
    int layers = gpu ? 4 : 8;
    net t;
    target_info cpu = cpu_target(2);
    pass_options options = {.target = gpu ? gpu_default() : &cpu};
    open_net(&t, 4096, 1024, 4096);
    build_layers(&t, layers, DT_bf16);
    prepare(&t, &options);
    double before = INFINITY;
    for (int k = 0; k <= 4; k++) {
      remat_solution s = solve(&t, &options, share(k / 4.0));
      cr_assert(s.fits && s.composer);
      cr_assert_geq(remat_segment_count(s.composer), layers - 1);
      int64_t counted;
      temporaries real = compile(&t, &options, s.search.plans.data[s.chosen].recomputed, &counted);
      cr_log_info("%d layers on %.*s, share %.2f: %.4g ms, %.1f MB of %.1f, least %.1f, full %.1f",
                  layers, STR_FMT(options.target->name), k / 4.0, 1e3 * chosen(&s)->seconds,
                  (double)s.allocated / 1e6, (double)s.budget / 1e6, (double)s.least / 1e6,
                  (double)s.full / 1e6);
      // What is reported is what is allocated, and no more than lives.
      cr_assert(real.bytes == s.allocated && real.live == counted);
      cr_assert_leq((double)real.bytes, 1.02 * (double)counted);
      cr_assert_leq(s.allocated, s.budget);
      // More memory is never slower.
      cr_assert_leq(chosen(&s)->seconds, before * (1 + 1e-9));
      before = chosen(&s)->seconds;
      const remat_judgement *all = &s.search.plans.data[0].j;
      cr_assert_leq(chosen(&s)->seconds, (k < 4 ? 1.4 : 1) * all->seconds);
      // A layer's activations are several times what leads from one to the next.
      cr_assert_lt((double)s.least, (layers == 8 ? 0.45 : 0.6) * (double)s.full);
    }
    close_net(&t);
  }
}

Test(remat_budget, ten_thousand_operators) {
  net t;
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  open_net(&t, 4096, 1024, 4096);
  build_layers(&t, 200, DT_bf16);
  prepare(&t, &options);
  clock_t before = clock();
  remat_solution s = solve(&t, &options, share(0.5));
  double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
  cr_assert(s.fits);
  cr_assert_leq(s.allocated, s.budget);
  cr_log_info("%d nodes, %d segments: %.0f ms; %.4g of %.4g s, %.1f of %.1f MB", t.g->nodes.len,
              remat_segment_count(s.composer), 1e3 * seconds, chosen(&s)->seconds,
              s.search.plans.data[0].j.seconds, (double)s.allocated / 1e6, (double)s.full / 1e6);
  cr_assert_lt(seconds, 4.5);
  close_net(&t);
}

Test(remat_budget, results_stay) {
  net t;
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  open_net(&t, 64, 32, 128);
  build_layers(&t, 6, DT_f32);
  prepare(&t, &options);
  results want = evaluate(&t.a, t.g, 3);
  options.budget = share(0);
  diag_list diags = {.arena = &t.a};
  pass_ctx ctx = {t.g, &t.scratch, &options, &diags};
  cr_assert(pass_remat(&ctx));
  results got = evaluate(&t.a, ctx.graph, 3);
  cr_assert_eq(difference(&want, &got), 0);
  close_net(&t);
}

// ---- what cannot be met

Test(remat_budget, too_small_and_without_sizes) {
  net t;
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu, .budget = bytes(1000)};
  open_net(&t, 64, 32, 128);
  build_layers(&t, 2, DT_f32);
  prepare(&t, &options);
  diag_list diags = {.arena = &t.a};
  pass_ctx ctx = {t.g, &t.scratch, &options, &diags};
  cr_assert_not(pass_remat(&ctx));
  cr_assert_eq(diags.errors, 1);
  cr_assert_eq(diags.items.data[0]->code, 276);
  // What it says is needed is enough.
  remat_solution s = solve(&t, &options, options.budget);
  cr_assert_not(s.fits);
  strbuf needed = sb_new(&t.a);
  sb_printf(&needed, "(%lld bytes)", (long long)s.least);
  cr_assert(strstr(str_z(&t.a, diags.items.data[0]->text), needed.data), "%.*s",
            STR_FMT(diags.items.data[0]->text));
  s = solve(&t, &options, bytes(s.least));
  cr_assert(s.fits);
  close_net(&t);
  net u = {0};
  u.g = graph_new(&u.a, STR("f"));
  int N = graph_add_axis(u.g, STR("N"), ix_sym(&u.g->ix, STR("N")));
  vec_push(&u.a, &u.g->symbols, STR("N"));
  node *x = graph_param(u.g, STR("x"), DT_f32, &N, 1);
  graph_output(u.g, graph_unary(u.g, OP_sin, x), STR("out"));
  diag_list unknown = {.arena = &u.a};
  ctx = (pass_ctx){u.g, &u.scratch, &options, &unknown};
  cr_assert_not(pass_remat(&ctx));
  cr_assert_eq(unknown.errors, 1);
  cr_assert_eq(unknown.items.data[0]->code, 275);
  close_net(&u);
}

Test(remat_budget, texts) {
  static const struct {
    const char *text;
    int64_t bytes;
    double share;
  } good[] = {{"0", 0, 0},
              {"536870912", 536870912, 0},
              {"512MiB", 536870912, 0},
              {"1.5GB", 1500000000, 0},
              {"2kB", 2000, 0},
              {"802.9 kB", 802900, 0},
              {"1B", 1, 0},
              {"0.5", -1, 0.5},
              {"0.", -1, 0},
              {"1.0", -1, 1}};
  static const char *const bad[] = {"",    ".",    "MiB",   "-1",  "1.5",  "1e6",           "0.5 ",
                                    "0,5", "50%", "1  GB", "1gb", "0x10", "99999999999TiB"};
  memory_budget b;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    cr_assert(memory_budget_parse(str_from(good[i].text), &b), "%s", good[i].text);
    cr_assert_eq(b.kind, good[i].bytes >= 0 ? BUDGET_BYTES : BUDGET_SHARE, "%s", good[i].text);
    if (b.kind == BUDGET_BYTES) cr_assert_eq(b.bytes, good[i].bytes, "%s", good[i].text);
    else cr_assert_float_eq(b.share, good[i].share, 1e-12, "%s", good[i].text);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_not(memory_budget_parse(str_from(bad[i]), &b), "%s", bad[i]);
}
