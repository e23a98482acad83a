// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules about threads, layouts, staging, and units of dots. Walks a kernel that is sound
// otherwise, with the open ranges and the layout in force.
//
// - Digits multiply to their extent; those of threads are powers of two below the thread count, but
//   for one that ends with it, along which nothing is combined.
// - The axes of a value or access lie on different digits of the thread number: each thread of a
//   block then has its own elements, or all of them alike. What only tensor cores read, in place,
//   lies on no threads.
// - A value is used only where its axes lie as they did where it was made.
// - Operands of tensor cores come from on-chip buffers, rows of wgmma also from registers; their
//   accumulators lie as the unit wants.
// - Operands of pairs are widened bf16 values of an even depth; threads have no pairs.
#include <stdarg.h>

#include "ir/target.h"
#include "ir/tile_verify.h"
#include "ir/units.h"

typedef struct walker {
  const kernel *k;
  arena *arena;
  tile_complain *complain;
  void *ctx;
  int *extent;          // by axis: of the current range; 0 closed
  int layout;           // in force
  int *made_in;         // by value id: the layout in force at its definition
  const tstmt **maker;  // by value id
  // Tensor cores read buffers when they multiply, not when the operand is loaded.
  int *stored;          // by buffer: stores that the walk has seen
  int *loaded_at;       // by value id: of a load, what its buffer's was then
  const tregion **region_of, *region;  // by value id: of a load; at hand
  bool *elsewhere;      // by value id: something else than a tensor core reads it
  bool turns;           // in a loop whose steps warpgroups take in turns
} walker;

static void bad(walker *w, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(walker *w, const tstmt *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  w->complain(w->ctx, s, str_vprintf(w->arena, format, args));
  va_end(args);
}

static char *axis_z(const walker *w, int a) { return str_z(w->arena, w->k->axes.data[a].name); }

static bool power_of_two(int v) { return v > 0 && !(v & (v - 1)); }

static const axis_layout *find(const walker *w, int layout, int axis, int extent) {
  return layout < w->k->layouts.len ? thread_layout_find(&w->k->layouts.data[layout], axis, extent)
                                    : NULL;
}

// ---- the layouts by themselves

/// The bits of the thread number that a digit is made of: of the topmost, up to the last thread's.
static int digit_bits(layout_digit d) {
  int end = d.stride;
  while (end < d.stride * d.size) end *= 2;
  return end - d.stride;
}

/// Sizes and strides are powers of two; a digit that ends with the block may have any size.
static bool is_digit(const walker *w, layout_digit d) {
  bool ends = d.stride * d.size == w->k->threads && !w->k->cluster;
  return power_of_two(d.stride) && (ends || power_of_two(d.size));
}

/// The bits of the thread number that the digits are made of; reports digits that overlap.
static int thread_bits(walker *w, const axis_layout *a, bool report) {
  int bits = 0;
  for (int i = 0; i < a->ndigits; i++) {
    layout_digit d = a->digits[i];
    if (!d.stride) continue;
    int own = digit_bits(d);
    if (report && (bits & own))
      bad(w, NULL, "digits of %s:%d overlap in the thread number", axis_z(w, a->axis), a->extent);
    bits |= own;
  }
  return bits;
}

static void verify_axis_layout(walker *w, const axis_layout *a) {
  int64_t product = 1;
  char *name = axis_z(w, a->axis);
  bool powers = true;
  if (!a->ndigits) bad(w, NULL, "%s:%d has no digits", name, a->extent);
  for (int i = 0; i < a->ndigits && product <= 1 << 24; i++) {
    layout_digit d = a->digits[i];
    product *= d.size;
    if (!d.stride) continue;
    powers = powers && is_digit(w, d);
    if (!is_digit(w, d))
      bad(w, NULL, "t%d@%d of %s: sizes and strides of thread digits are powers of two", d.size,
          d.stride, name);
    else if ((int64_t)d.size * d.stride > kernel_tile_threads(w->k))
      bad(w, NULL, "t%d@%d of %s goes beyond %d threads", d.size, d.stride, name,
          kernel_tile_threads(w->k));
    else if (d.stride < w->k->threads && (int64_t)d.size * d.stride > w->k->threads)
      bad(w, NULL, "t%d@%d of %s is partly of threads, partly of blocks", d.size, d.stride, name);
  }
  if (product != a->extent)
    bad(w, NULL, "the digits of %s:%d do not make that extent", name, a->extent);
  if (powers) thread_bits(w, a, true);
}

static void verify_local(walker *w, const tile_buf *b) {
  for (int d = 0; w->k->threads && d < b->rank; d++) {
    int64_t size;
    if (!ix_is_const(&w->k->ix, b->dims[d], &size))
      bad(w, NULL, "%.*s has no constant size, as threads need it", STR_FMT(b->name));
  }
  if (b->swizzle && b->panel * dtype_bytes(b->type) != 128)
    bad(w, NULL, "%.*s is swizzled, but its panels are not 128 bytes wide", STR_FMT(b->name));
  if (b->pad && (b->panel || !w->k->threads))
    bad(w, NULL, "%.*s is padded: only rows without panels are, for threads", STR_FMT(b->name));
  if (b->pairs && w->k->threads)
    bad(w, NULL, "%.*s has pairs, which threads do not read", STR_FMT(b->name));
  if (b->pairs && b->panel % w->k->vec_lanes)
    bad(w, NULL, "%.*s has panels of pairs that are no whole vectors", STR_FMT(b->name));
}

// ---- how much shared memory
//
// What the generator asks for is more: scratch of reductions, barriers, alignment. It knows the
// architecture and says so itself; here is what none could have.

static int64_t saturating_product(int64_t a, int64_t b) {
  int64_t r;
  return __builtin_mul_overflow(a, b, &r) ? INT64_MAX / 2 : r;
}

static int64_t bytes_of_local(const walker *w, const tile_buf *b) {
  int64_t bytes = dtype_bytes(b->type), size;
  for (int d = 0; d < b->rank; d++)
    if (ix_is_const(&w->k->ix, b->dims[d], &size)) bytes = saturating_product(bytes, size);
  return bytes;
}

static bool fills(const tregion *r, int buf, bool staged) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool inside = staged || (s->kind == TILE_LOOP && s->stage);
    if (staged && s->kind == TILE_STORE && s->buf == buf) return true;
    if (fills(s->body, buf, inside) || fills(s->other, buf, inside)) return true;
  }
  return false;
}

/// Bytes of the buffers declared in the region, of which a loop with stages has several copies. What
/// regions inside declare has one place after the other, except beside producers.
static int64_t bytes_of_locals(const walker *w, const tregion *r, int stages) {
  int64_t sum = 0, most = 0;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    int64_t inside = bytes_of_locals(w, s->body, s->kind == TILE_LOOP ? s->stages : 0);
    int64_t other = bytes_of_locals(w, s->other, 0), own = 0;
    if (other > inside) inside = other;
    bool copies = s->kind == TILE_LOCAL && stages > 1 && fills(r, s->buf, false);
    if (s->kind == TILE_LOCAL)
      own = saturating_product(bytes_of_local(w, &w->k->bufs.data[s->buf]), copies ? stages : 1);
    if (w->k->producer_warps && __builtin_add_overflow(own, inside, &own)) return INT64_MAX;
    if (__builtin_add_overflow(sum, own, &sum)) return INT64_MAX;
    if (w->k->producer_warps) continue;
    if (__builtin_add_overflow(sum, inside, &inside)) return INT64_MAX;
    if (inside > most) most = inside;
  }
  return sum > most ? sum : most;
}

static void verify_shared(walker *w) {
  const kernel *k = w->k;
  int64_t bytes = bytes_of_locals(w, &k->body, 0) / (k->cluster ? k->cluster : 1);
  const target_info *most = target_with_most_shared();
  if (bytes <= most->shared_per_block) return;
  bad(w, NULL, "the on-chip buffers of a block have %lld bytes; no GPU has more than %lld (%.*s)",
      (long long)bytes, (long long)most->shared_per_block, STR_FMT(target_arch(most)));
}

static void verify_head(walker *w) {
  const kernel *k = w->k;
  for (int i = k->nargs; i < k->bufs.len; i++) verify_local(w, &k->bufs.data[i]);
  if (!k->threads) {
    if (k->layouts.len || k->cluster || k->producer_warps || k->blocks_per_sm)
      bad(w, NULL, "a kernel without threads has no layouts, clusters, producers or resident blocks");
    return;
  }
  if (k->threads % 32 || k->threads + 32 * k->producer_warps > 1024)
    bad(w, NULL, "%d threads and %d producer warps: a block has whole warps, at most 1024 threads",
        k->threads, k->producer_warps);
  enum { RESIDENT = 2048 };  // threads of a multiprocessor
  int threads = k->threads + 32 * k->producer_warps;
  if (k->blocks_per_sm * threads > RESIDENT)
    bad(w, NULL, "%d blocks of %d threads: a multiprocessor has at most %d", k->blocks_per_sm, threads,
        RESIDENT);
  if (k->cluster && (!power_of_two(k->cluster) || !power_of_two(k->threads) || k->producer_warps))
    bad(w, NULL, "clusters are of 2, 4 or 8 blocks of a power of two threads, without producers");
  if (k->layouts.len > MOST_LAYOUTS) bad(w, NULL, "more than %d layouts", MOST_LAYOUTS);
  for (int i = 0; i < k->layouts.len; i++) {
    const thread_layout *l = &k->layouts.data[i];
    for (int j = 0; j < l->axes.len; j++) {
      const axis_layout *a = &l->axes.data[j];
      if (thread_layout_find(l, a->axis, a->extent) != a)
        bad(w, NULL, "layout %d names %s:%d twice", i, axis_z(w, a->axis), a->extent);
      verify_axis_layout(w, a);
    }
  }
}

// ---- the walk

/// What has several axes has them on different threads.
static void verify_apart(walker *w, const tstmt *s, const int *axes, const int *extents, int n) {
  int bits = 0;
  for (int i = 0; i < n; i++) {
    const axis_layout *l = find(w, w->layout, axes[i], extents[i]);
    int own = l ? thread_bits(w, l, false) : 0;
    if (own & bits)
      bad(w, s, "%s:%d lies on threads of another axis", axis_z(w, axes[i]), extents[i]);
    bits |= own;
  }
}

/// The axes that a store covers, at their current extents.
static void verify_store(walker *w, const tstmt *s) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int a = 0; a < w->k->axes.len && n < MAX_AXES; a++) {
    bool uses = false;
    for (int d = 0; d < s->nix; d++) uses |= ix_uses_axis(&w->k->ix, s->ix[d], a);
    if (!uses || !w->extent[a]) continue;
    axes[n] = a;
    extents[n++] = w->extent[a];
  }
  verify_apart(w, s, axes, extents, n);
}

static bool is_in_warp(layout_digit d) {
  enum { WARP = 32 };
  return d.size == 1 || (int64_t)d.stride * d.size <= WARP;
}

/// Threads of several warps that hold lanes of an axis wait for each other when these are combined.
static void verify_combined(walker *w, const tstmt *s) {
  for (int i = 0; i < s->naxes && w->turns; i++) {
    int extent = 0;
    for (int k = 0; k < s->nin && !extent; k++) extent = tval_extent(s->in[k], s->axes[i]);
    const axis_layout *l = find(w, w->layout, s->axes[i], extent);
    for (int d = 0; l && d < l->ndigits; d++)
      if (l->digits[d].stride && !is_in_warp(l->digits[d]))
        bad(w, s, "%s:%d is combined over t%d@%d: in turns, warps do not wait for each other",
            axis_z(w, s->axes[i]), extent, l->digits[d].size, l->digits[d].stride);
  }
}

/// Lanes that are left of a reduction lie on threads that hold the axis already: the others are
/// combined into them.
static void verify_left(walker *w, const tstmt *s) {
  int axis = s->axes[0];
  const axis_layout *of = find(w, w->layout, axis, tval_extent(s->in[0], axis));
  const axis_layout *left = find(w, w->layout, axis, s->extent);
  bool registers = !left;
  for (int d = 0; left && d < left->ndigits; d++) registers |= !left->digits[d].stride;
  if (registers || !of || thread_bits(w, left, false) & ~thread_bits(w, of, false))
    bad(w, s, "%s:%d does not lie on threads of %s:%d alone", axis_z(w, axis), s->extent,
        axis_z(w, axis), tval_extent(s->in[0], axis));
}

static bool same_layout(const axis_layout *a, const axis_layout *b) {
  if (!a || !b) return a == b;
  if (a->ndigits != b->ndigits) return false;
  for (int i = 0; i < a->ndigits; i++)
    if (a->digits[i].size != b->digits[i].size || a->digits[i].stride != b->digits[i].stride)
      return false;
  return true;
}

static void verify_operands(walker *w, const tstmt *s) {
  for (int i = 0; i < s->nin; i++) {
    const tval *v = s->in[i];
    int made = w->made_in[v->id];
    if (made == w->layout) continue;
    for (int k = 0; k < v->naxes; k++)
      if (!same_layout(find(w, made, v->axes[k], v->extents[k]),
                       find(w, w->layout, v->axes[k], v->extents[k])))
        bad(w, s, "operand %d lies otherwise along %s where it was made", i, axis_z(w, v->axes[k]));
  }
}

static void define(walker *w, const tstmt *s, tval *const *values, int n) {
  for (int i = 0; i < n; i++) {
    if (w->k->threads && w->elsewhere[values[i]->id])
      verify_apart(w, s, values[i]->axes, values[i]->extents, values[i]->naxes);
    w->made_in[values[i]->id] = w->layout;
    w->maker[values[i]->id] = s;
  }
}

/// The value that v is a cast of; null when v is something else.
static const tval *cast_from(const walker *w, const tval *v) {
  const tstmt *cast = w->maker[v->id];
  return cast && cast->kind == TILE_MAP && cast->op == OP_cast ? cast->in[0] : NULL;
}

/// The load of an on-chip buffer that the value is or widens; null when it is something else.
static const tstmt *widened_load(const walker *w, const tval *v) {
  const tval *narrow = cast_from(w, v);
  const tstmt *load = w->maker[narrow ? narrow->id : v->id];
  return unit_reads_load(w->k, load) ? load : NULL;
}

/// Notes for each value the statement that makes it.
static void find_makers(walker *w, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; k < s->nout; k++) w->maker[s->out[k]->id] = s;
    find_makers(w, s->body);
    find_makers(w, s->other);
  }
}

/// Marks what is not loaded from chip for tensor cores alone; a cast reads for its own readers. True
/// when there was something new.
static bool mark_elsewhere(walker *w, const tregion *r) {
  bool more = false;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool cast = s->kind == TILE_MAP && s->op == OP_cast && !w->elsewhere[s->out[0]->id];
    for (int k = 0; k < s->nin; k++) {
      bool *marked = &w->elsewhere[s->in[k]->id],
           by_unit = cast || (tstmt_on_tensor_cores(s) && k < 2);
      more |= !by_unit && !*marked;
      *marked |= !by_unit;
    }
    for (int k = 0; k < s->nout; k++) {
      bool *marked = &w->elsewhere[s->out[k]->id], made = !widened_load(w, s->out[k]);
      more |= made && !*marked;
      *marked |= made;
    }
    more |= mark_elsewhere(w, s->body);
    more |= mark_elsewhere(w, s->other);
  }
  return more;
}

static void find_elsewhere(walker *w) {
  w->elsewhere = arena_array(w->arena, bool, w->k->nvals);
  find_makers(w, &w->k->body);
  while (mark_elsewhere(w, &w->k->body)) continue;
}

/// The only axis of v with more than one lane that `other` lacks; -1 none or several.
static int own_axis(const tval *v, const tval *other) {
  int found = -1;
  for (int i = 0; i < v->naxes; i++) {
    if (v->extents[i] == 1 || tval_extent(other, v->axes[i])) continue;
    if (found >= 0) return -1;
    found = v->axes[i];
  }
  return found;
}

/// The contracted axis that has more than one element, or one that does not; -2: there are several.
static int depth_axis(const tstmt *s) {
  int found = -1;
  for (int i = 0; i < s->naxes; i++) {
    if (tval_extent(s->in[0], s->axes[i]) == 1) continue;
    if (found >= 0) return -2;
    found = s->axes[i];
  }
  return found >= 0 ? found : s->axes[0];
}

/// The operand as the unit takes it, of its type: a load from chip, or rows in registers; null: it
/// does not.
static const tval *unit_operand_value(const walker *w, const tstmt *s, int i) {
  const tstmt *load = widened_load(w, s->in[i]);
  const tval *narrow = cast_from(w, s->in[i]);
  if (load) return load->out[0];
  return i == 0 && narrow && unit_takes_registers(s->unit, narrow->type) ? narrow : NULL;
}

/// Rows that are no load have the unit's fragments in their registers.
static void verify_rows_in_registers(walker *w, const tstmt *s, int m, int depth) {
  if (!tval_extent(s->in[0], m))
    return bad(w, s, "columns of %s are not in registers", dot_unit_name(s->unit));
  const axis_layout *l = find(w, w->layout, depth, tval_extent(s->in[0], depth));
  int own = unit_column_digits(s->unit, l);
  bool lies = own > 0;
  for (int i = own; l && i < l->ndigits; i++) lies &= !l->digits[i].stride;
  if (!lies)
    bad(w, s, "rows in registers do not lie along %s as columns of the accumulator do",
        axis_z(w, depth));
}

/// Columns that warpgroups share are whole panels, or lie in one, where its rows lie along them.
static bool suits_panels(const walker *w, const tstmt *s, const unit_operand *o, int n) {
  const axis_layout *l = find(w, w->layout, n, tval_extent(s->out[0], n));
  int own = 1;
  for (int i = 0; l && i + 1 < l->ndigits; i++) own *= l->digits[i].size;
  bool shared = l && l->ndigits && l->digits[l->ndigits - 1].stride >= unit_get(s->unit)->threads;
  return !shared || o->k_unit || own % o->panel == 0 || o->panel % own == 0;
}

/// Both operands where the unit reads them: *of_rows is the one with axis m.
static void verify_operand_places(walker *w, const tstmt *s, int m, int n, int depth) {
  for (int i = 0; i < 2; i++) {
    bool of_rows = tval_extent(s->in[i], m) > 0;
    unit_operand o;
    const char *why;
    const tstmt *load = widened_load(w, s->in[i]);
    if (!load) {
      verify_rows_in_registers(w, s, m, depth);
      continue;
    }
    bool placed = unit_operand_of(w->k, load, of_rows ? m : n, depth, &o, &why);
    if (placed) why = unit_refuses(s->unit, &o, of_rows);
    if (why) bad(w, s, "%s cannot read operand %d: %s", dot_unit_name(s->unit), i, why);
    else if (unit_get(s->unit)->places == UNIT_PANELS && !of_rows && !suits_panels(w, s, &o, n))
      bad(w, s, "the columns of a warpgroup are in two panels of operand %d", i);
    if (w->stored[load->buf] != w->loaded_at[load->out[0]->id])
      bad(w, s, "operand %d has been stored to since it was loaded", i);
    if (w->region_of[load->out[0]->id] != w->region)
      bad(w, s, "operand %d is loaded outside of the region of the dot", i);
  }
}

/// The sums lie on the threads as the unit has them.
static void verify_sums(walker *w, const tstmt *s, int m, int n) {
  const tval *sum = s->out[0];
  for (int i = 0; i < sum->naxes; i++)
    if (sum->axes[i] != m && sum->axes[i] != n && sum->extents[i] > 1)
      return bad(w, s, "a tensor core has no axis %s", axis_z(w, sum->axes[i]));
  const axis_layout *lm = find(w, w->layout, m, tval_extent(sum, m));
  const axis_layout *ln = find(w, w->layout, n, tval_extent(sum, n));
  int own = unit_column_digits(s->unit, ln);
  if (!unit_row_digits(s->unit, lm) || !own)
    return bad(w, s, "the accumulator does not lie as the tensor core wants it");
  for (int i = own; unit_get(s->unit)->places == UNIT_PANELS && i < ln->ndigits; i++) {
    bool shared = i + 1 == ln->ndigits && ln->digits[i].stride >= unit_get(s->unit)->threads;
    if (ln->digits[i].stride && !shared)
      bad(w, s,
          "columns of a warpgroup are in its registers, those of several one after the other");
  }
}

static void verify_tensor_dot(walker *w, const tstmt *s) {
  const unit_info *unit = unit_get(s->unit);
  const tval *a = unit_operand_value(w, s, 0), *b = unit_operand_value(w, s, 1);
  if (!w->k->threads) return bad(w, s, "a tensor core needs threads");
  if (w->k->cluster) return bad(w, s, "tensor cores are for kernels without clusters");
  if (w->k->threads % unit->threads)
    bad(w, s, "%s is done by %d threads together", unit->name, unit->threads);
  if (!a || !b || a->type != b->type || !unit_takes(s->unit, a->type))
    return bad(w, s,
               "operands of tensor cores are widened loads of on-chip buffers, alike in type");
  if (s->in[2]->type != DT_f32) return bad(w, s, "tensor cores sum in f32");
  int m = own_axis(s->in[0], s->in[1]), n = own_axis(s->in[1], s->in[0]), k = depth_axis(s);
  if (m < 0 || n < 0) return bad(w, s, "tensor cores need one axis of rows and one of columns");
  if (!unit_row_digits(s->unit, find(w, w->layout, m, tval_extent(s->in[0], m)))) {
    int swap = m;  // the second operand may be that of the rows
    m = n;
    n = swap;
  }
  if (k < 0) return bad(w, s, "tensor cores sum over one axis at a time");
  int step = unit_step(s->unit, a->type), depth = tval_extent(s->in[0], k);
  if (depth % step || !depth)
    return bad(w, s, "tensor cores sum over multiples of %d, not %d", step, depth);
  verify_sums(w, s, m, n);
  verify_operand_places(w, s, m, n, k);
}

static void verify_pair_dot(walker *w, const tstmt *s) {
  int step = unit_step(s->unit, DT_bf16);
  if (w->k->threads) return bad(w, s, "threads have no dots of pairs");
  if (s->in[2]->type != DT_f32) bad(w, s, "pairs are summed in f32");
  for (int i = 0; i < 2; i++) {
    const tval *narrow = cast_from(w, s->in[i]);
    if (!narrow || !unit_takes(s->unit, narrow->type))
      return bad(w, s, "operands of pairs are widened bf16 values");
    int last = s->axes[s->naxes - 1], extent = tval_extent(narrow, last);
    if (extent == 0 || extent % step)
      bad(w, s, "an operand of pairs has %d elements along %s", extent, axis_z(w, last));
  }
}

static void verify_unit(walker *w, const tstmt *s) {
  if (unit_get(s->unit)->places == UNIT_WIDENED) verify_pair_dot(w, s);
  else if (unit_is_tensor(s->unit)) verify_tensor_dot(w, s);
}

static void walk_region(walker *w, const tregion *r);

static void walk_loop(walker *w, const tstmt *s) {
  const kernel *k = w->k;
  int outer = w->extent[s->axis], layout = w->layout;
  bool turns = w->turns;
  if (!k->threads && (s->stages || s->layout)) bad(w, s, "stages and layouts are for threads");
  if (s->stages < 0 || s->stages > 16) bad(w, s, "%d stages", s->stages);
  if (s->layout < 0 || (s->layout && s->layout >= k->layouts.len))
    return bad(w, s, "there is no layout %d", s->layout);
  if (s->layout && s->nout) bad(w, s, "a loop with a layout of its own carries nothing");
  define(w, s, s->out, s->nout);
  w->extent[s->axis] = s->extent;
  if (s->layout) w->layout = s->layout;
  w->turns = (turns || s->turns) && !s->stage;
  define(w, NULL, s->body->params, s->body->nparams);
  walk_region(w, s->body);
  w->turns = turns;
  w->layout = layout;
  w->extent[s->axis] = outer;
}

static bool is_on_tile(const tstmt *s) { return s->cond == COND_ANY || s->cond == COND_ALL; }

static void walk_region(walker *w, const tregion *r) {
  const tregion *outer = w->region;
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    w->region = r;
    if (s->kind == TILE_STORE) w->stored[s->buf]++;
    if (s->kind == TILE_LOAD) {
      w->loaded_at[s->out[0]->id] = w->stored[s->buf];
      w->region_of[s->out[0]->id] = r;
    }
    bool combines = s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE ||
                    (s->kind == TILE_DOT && s->unit == DOT_FMA);
    verify_operands(w, s);
    if (combines) verify_combined(w, s);
    if (s->kind == TILE_REDUCE && s->extent && w->k->threads) verify_left(w, s);
    if (s->kind == TILE_DOT) verify_unit(w, s);
    if (s->kind == TILE_STORE && w->k->threads) verify_store(w, s);
    if (s->kind == TILE_LOOP) {
      walk_loop(w, s);
      continue;
    }
    if (s->kind == TILE_IF) {
      if (w->k->cluster && is_on_tile(s))
        bad(w, s, "blocks of a cluster do not agree on conditions");
      if (w->turns && is_on_tile(s)) bad(w, s, "in turns, warpgroups do not agree on conditions");
      bool finished = s->cond == COND_FINISHED;
      int open = finished ? w->extent[s->axis] : 0;
      if (finished) w->extent[s->axis] = 0;
      walk_region(w, s->body);
      if (s->other) walk_region(w, s->other);
      if (finished) w->extent[s->axis] = open;
    }
    define(w, s, s->out, s->nout);
  }
  w->region = outer;
}

void tile_verify_threads(const kernel *k, arena *a, tile_complain *complain, void *ctx) {
  walker w = {.k = k, .arena = a, .complain = complain, .ctx = ctx};
  w.extent = arena_array(a, int, k->axes.len);
  w.made_in = arena_array(a, int, k->nvals);
  w.maker = arena_array(a, const tstmt *, k->nvals);
  w.stored = arena_array(a, int, k->bufs.len);
  w.loaded_at = arena_array(a, int, k->nvals);
  w.region_of = arena_array(a, const tregion *, k->nvals);
  verify_head(&w);
  if (k->threads) verify_shared(&w);
  for (int i = 0; i < k->grid.len; i++) w.extent[k->grid.data[i].axis] = k->grid.data[i].extent;
  find_elsewhere(&w);
  walk_region(&w, &k->body);
}
