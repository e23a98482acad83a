// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Threads of a kernel: looking up and building layouts, and their text.
//
//   kernel @k(...) threads 256 cluster 2 producers 4 blocks_per_sm 1 {
//     axes N, T
//     layout { N:8 = t8@32, T:1024 = r8 t32@1 r4 }
//     layout { T:64 = t32@1 r2 }                       // of loops with layout=1
//
// Digits are written innermost first: rS is in registers, tS@D over threads.
#include "base/fault.h"
#include "ir/tile_parse.h"

enum { MOST_THREADS = 1024, MOST_CLUSTER = 8, MOST_EXTENT = 1 << 24 };

static bool region_adds_to(const tregion *r, int buf) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_STORE && s->adds && s->buf == buf) return true;
    if (region_adds_to(s->body, buf) || region_adds_to(s->other, buf)) return true;
  }
  return false;
}

bool kernel_adds_to(const kernel *k, int buf) { return region_adds_to(&k->body, buf); }

int kernel_tile_threads(const kernel *k) { return k->threads * (k->cluster ? k->cluster : 1); }

const axis_layout *thread_layout_find(const thread_layout *l, int axis, int extent) {
  for (int i = 0; i < l->axes.len; i++)
    if (l->axes.data[i].axis == axis && l->axes.data[i].extent == extent) return &l->axes.data[i];
  return NULL;
}

int kernel_add_layout(kernel *k) {
  vec_push(k->arena, &k->layouts, (thread_layout){0});
  return k->layouts.len - 1;
}

void kernel_set_layout(kernel *k, int layout, int axis, const layout_digit *digits, int n) {
  axis_layout a = {.axis = axis, .extent = 1};
  check(n <= MAX_DIGITS);
  for (int i = 0; i < n; i++) {
    if (digits[i].size == 1) continue;
    a.extent *= digits[i].size;
    a.digits[a.ndigits++] = digits[i];
  }
  thread_layout *l = &k->layouts.data[layout];
  if (a.ndigits && !thread_layout_find(l, axis, a.extent)) vec_push(k->arena, &l->axes, a);
}

// ---- text

static void put_axis_layout(const kernel *k, const axis_layout *a, strbuf *out) {
  bool known = a->axis >= 0 && a->axis < k->axes.len;
  sb_put(out, known ? k->axes.data[a->axis].name : STR("?"));
  sb_printf(out, ":%d =", a->extent);
  for (int i = 0; i < a->ndigits && i < MAX_DIGITS; i++) {
    layout_digit d = a->digits[i];
    if (d.stride) sb_printf(out, " t%d@%d", d.size, d.stride);
    else sb_printf(out, " r%d", d.size);
  }
}

void tile_print_threads(const kernel *k, strbuf *out) {
  if (k->threads) sb_printf(out, " threads %d", k->threads);
  if (k->cluster) sb_printf(out, " cluster %d", k->cluster);
  if (k->producer_warps) sb_printf(out, " producers %d", k->producer_warps);
  if (k->blocks_per_sm) sb_printf(out, " blocks_per_sm %d", k->blocks_per_sm);
  if (!k->resident_size) return;
  sb_printf(out, " where %.*s <= %lld", STR_FMT(ix_get(&k->ix, k->resident_size)->name),
            (long long)k->resident_most);
}

void tile_print_layouts(const kernel *k, strbuf *out) {
  for (int i = 0; i < k->layouts.len; i++) {
    const thread_layout *l = &k->layouts.data[i];
    sb_puts(out, "\n  layout {");
    for (int j = 0; j < l->axes.len; j++) {
      sb_puts(out, j ? ", " : " ");
      put_axis_layout(k, &l->axes.data[j], out);
    }
    sb_puts(out, " }");
  }
}

void tile_parse_threads(text_cursor *c, kernel *k) {
  if (text_accept_word(c, "threads")) k->threads = (int)text_int(c, 1, MOST_THREADS);
  if (text_accept_word(c, "cluster")) k->cluster = (int)text_int(c, 1, MOST_CLUSTER);
  if (text_accept_word(c, "producers")) k->producer_warps = (int)text_int(c, 1, 32);
  if (!text_accept_word(c, "blocks_per_sm")) return;
  k->blocks_per_sm = (int)text_int(c, 1, 32);
  if (!text_accept_word(c, "where")) return;
  str size = text_name(c, "the name of a size");
  if (!c->failed) k->resident_size = ix_sym(&k->ix, size);
  text_expect(c, '<');
  text_expect(c, '=');
  k->resident_most = text_int(c, 1, INT32_MAX);
}

/// "r8" or "t32@1"
static void read_digit(text_cursor *c, axis_layout *a) {
  text_peek(c);
  int begin = c->at;
  char kind = c->failed || c->at >= c->text.len ? 0 : c->text.ptr[c->at];
  if (a->ndigits == MAX_DIGITS)
    return text_fail(c, DIAG_ir_limit, begin, "more than %d digits", MAX_DIGITS);
  c->at++;
  layout_digit d = {.size = (int)text_int(c, 1, MOST_EXTENT)};
  if (kind == 't') {
    text_expect(c, '@');
    d.stride = (int)text_int(c, 1, MOST_THREADS * MOST_CLUSTER);
  }
  a->digits[a->ndigits++] = d;
}

static void read_axis_layout(text_cursor *c, const kernel *k, axis_layout *a) {
  text_peek(c);
  int begin = c->at;
  str name = text_name(c, "the name of an axis");
  a->axis = c->failed ? 0 : kernel_find_axis(k, name);
  if (a->axis < 0)
    text_fail(c, DIAG_ir_unknown, begin, "the kernel has no axis %.*s", STR_FMT(name));
  text_expect(c, ':');
  a->extent = (int)text_int(c, 1, MOST_EXTENT);
  text_expect(c, '=');
  do read_digit(c, a);
  while (text_peek(c) == 'r' || text_peek(c) == 't');
}

void tile_parse_layouts(text_cursor *c, kernel *k) {
  while (text_accept_word(c, "layout")) {
    thread_layout l = {0};
    text_expect(c, '{');
    while (!c->failed && text_peek(c) != '}') {
      axis_layout a = {0};
      if (l.axes.len) text_expect(c, ',');
      read_axis_layout(c, k, &a);
      vec_push(k->arena, &l.axes, a);
    }
    text_expect(c, '}');
    vec_push(k->arena, &k->layouts, l);
  }
}
