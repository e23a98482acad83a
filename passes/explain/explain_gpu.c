// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How kernels run on a GPU: their blocks, what of a multiprocessor these take, and the time that
// follows, by a model of the device:
//
// - memory is at full speed when enough threads are resident, or bytes copied ahead by rings of
//   stages, to keep the bytes in flight that bandwidth times latency asks for;
// - arithmetic is at full speed when the blocks fill the multiprocessors evenly;
// - blocks of loop nests wait for what each step of a product brings on chip.
#include <math.h>
#include <string.h>

#include "ir/tile_text.h"
#include "passes/explain/explain_format.h"

/// Bytes of on-chip buffers that are alive at once in the region, rings of stages included.
static int64_t shared_bytes(const kernel *k, const tregion *r, int copies) {
  int64_t own = 0, inner = 0;
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_LOCAL) {
      const tile_buf *b = &k->bufs.data[s->buf];
      int64_t elements = 1;
      for (int d = 0; d < b->rank; d++) {
        int64_t dim = ix_estimate(&k->ix, b->dims[d]);
        if (d + 1 == b->rank) dim += b->pad;
        if (b->panel && d == b->panel_dim) dim = (dim + b->panel - 1) / b->panel * b->panel;
        elements *= dim;
      }
      own += elements * dtype_bytes(b->type) * copies;
    }
    int ring = s->kind == TILE_LOOP && s->stages > 1 ? s->stages : 1;
    if (s->body) inner = fmax((double)inner, (double)shared_bytes(k, s->body, ring));
    if (s->other) inner = fmax((double)inner, (double)shared_bytes(k, s->other, 1));
  }
  return own + inner;
}

static int64_t grid_tiles(const kernel *k) {
  int64_t tiles = 1;
  for (int i = 0; i < k->grid.len; i++) {
    int64_t size = ix_estimate(&k->ix, k->axes.data[k->grid.data[i].axis].size);
    tiles *= (size + k->grid.data[i].extent - 1) / k->grid.data[i].extent;
  }
  return tiles > 0 ? tiles : 1;
}

/// Stages of the rings in the region, the most of any; 1: nothing is copied ahead.
static int ring_stages(const tregion *r) {
  int most = 1;
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_LOOP && s->stages > most) most = s->stages;
    int below = s->body ? ring_stages(s->body) : 1;
    if (below > most) most = below;
  }
  return most;
}

static const char *dot_unit_of(const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_DOT) return dot_unit_name(s->unit);
    const char *below = s->body ? dot_unit_of(s->body) : NULL;
    if (below) return below;
  }
  return NULL;
}

/// "N:8 = t8@32, T:1024 = r8 t32@1 r4", without the words around it.
static str layout_text(arena *a, const kernel *k) {
  strbuf all = sb_new(a);
  kernel first = *k;
  first.layouts.len = k->layouts.len ? 1 : 0;
  tile_print_layouts(&first, &all);
  str text = sb_str(&all);
  int begin = 0, end = text.len;
  while (begin < end && text.ptr[begin] != '{') begin++;
  if (begin < end) begin++;
  while (begin < end && text.ptr[begin] == ' ') begin++;
  while (end > begin && (text.ptr[end - 1] == ' ' || text.ptr[end - 1] == '}')) end--;
  return (str){text.ptr + begin, end - begin};
}

/// Registers are given to whole warps, from the part of the multiprocessor that the warp runs on.
static int64_t blocks_by_registers(const target_info *t, int threads, int registers) {
  enum { WARP = 32 };
  if (!registers) return INT64_MAX;
  int unit = t->registers_at_once, of_warp = (registers * WARP + unit - 1) / unit * unit;
  int warps = t->registers_per_core / t->register_banks / of_warp * t->register_banks;
  return warps / ((threads + WARP - 1) / WARP);
}

static int resident_blocks(const target_info *t, const explain_schedule *s) {
  int threads = s->threads + s->producer_threads;
  int64_t by_threads = t->threads_per_core / threads;
  int64_t by_memory = t->shared_per_core / (s->shared_bytes + t->shared_reserved);
  int64_t by_registers = blocks_by_registers(t, threads, s->usage.registers);
  int64_t n = by_threads < by_memory ? by_threads : by_memory;
  if (by_registers < n) n = by_registers;
  return n > t->blocks_per_core ? t->blocks_per_core : n < 1 ? 1 : (int)n;
}

/// Bytes of the arguments that the region loads and its kernel stores.
static int64_t bytes_between(const kernel *k, const tregion *r, bool *counted) {
  int64_t bytes = 0;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->body) bytes += bytes_between(k, s->body, counted);
    if (s->kind != TILE_LOAD || s->buf >= k->nargs || !k->bufs.data[s->buf].written ||
        counted[s->buf])
      continue;
    counted[s->buf] = true;
    const tile_buf *b = &k->bufs.data[s->buf];
    int64_t one = dtype_bytes(b->type);
    for (int d = 0; d < b->rank; d++) one *= ix_estimate(&k->ix, b->dims[d]);
    bytes += one;
  }
  return bytes;
}

static void find_chunks(arena *a, const kernel *k, explain_schedule *s) {
  const tstmt *finish = kernel_finish(k);
  for (int i = 0; finish && i < k->grid.len; i++) {
    if (k->grid.data[i].axis != finish->axis) continue;
    int64_t size = ix_estimate(&k->ix, k->axes.data[finish->axis].size);
    s->chunks = (size + k->grid.data[i].extent - 1) / k->grid.data[i].extent;
    s->part_bytes = bytes_between(k, finish->body, arena_array(a, bool, k->bufs.len + 1));
  }
}

explain_schedule explain_kernel_schedule(arena *a, const kernel *k, const target_info *t,
                                         const explain_usage *usage) {
  explain_schedule s = {.threads = k->threads, .producer_threads = 32 * k->producer_warps};
  s.tiles = grid_tiles(k);
  s.cluster = k->cluster ? k->cluster : 1;
  s.ring_stages = ring_stages(&k->body);
  find_chunks(a, k, &s);
  s.shared_bytes = shared_bytes(k, &k->body, 1) / s.cluster;
  if (usage) s.usage = *usage;
  if (s.usage.source.len) s.shared_bytes = s.usage.shared_bytes;
  s.resident = resident_blocks(t, &s);
  if (k->blocks_per_sm && s.resident > k->blocks_per_sm) s.resident = k->blocks_per_sm;
  s.persistent = k->blocks_per_sm > 0;
  s.occupancy = (double)s.resident * (s.threads + s.producer_threads) / t->threads_per_core;
  s.unit = dot_unit_of(&k->body);
  s.layout = layout_text(a, k);
  return s;
}

/// The last block stores, takes its ticket, loads what all stored, and stores: one after the other.
static double finish_seconds(const target_info *t, const explain_schedule *s) {
  enum { WAITS = 3 };
  return s->chunks ? WAITS * t->memory_latency : 0;
}

double explain_gpu_seconds(const target_info *t, const explain_schedule *s, double memory,
                           double compute, double launch) {
  enum { BYTES_OF_THREAD = 32 };
  double room = (double)t->cores * s->resident, all = (double)s->tiles * s->cluster;
  double blocks = fmin(all, room), of_block = (double)s->threads * BYTES_OF_THREAD;
  if (s->ring_stages > 1) {  // all stages but the one in use
    double ahead = (double)s->shared_bytes * (s->ring_stages - 1) / s->ring_stages;
    of_block = fmax(of_block, ahead);
  }
  double share = fmin(1, blocks * of_block / (t->bytes_per_second * t->memory_latency));
  double rounds = ceil(all / t->cores) * t->cores;
  return fmax(memory / share, compute * rounds / all) + launch + finish_seconds(t, s);
}

/// While a block waits, only the others of its multiprocessor compute. Operands that every block reads
/// come from the cache. (Linear and cross-entropy, 8192 x 4096 x 128256 in bf16: 76.7 ms on an H200.)
double explain_nest_seconds(const target_info *t, const explain_schedule *s, const kernel_cost *c,
                            double memory, double compute, double launch) {
  static const double cached = 0.75;  // latency of the cache, of that of memory
  // Against products of warpgroups, and where operands come from on-chip memory for each multiply-add.
  static const double by_warps = 4.0 / 3, by_threads = 2;
  if (s->unit) compute *= strcmp(s->unit, dot_unit_name(DOT_MMA)) ? by_threads : t->wgmma ? by_warps : 1;
  double tiles = (double)s->tiles, of_core = fmin(s->resident, ceil(tiles / t->cores));
  double own = compute * t->cores / tiles, waits = (double)c->waits / tiles * cached * t->memory_latency;
  double turns = ceil(tiles / ((double)t->cores * s->resident)) * fmax(of_core * own, waits + own);
  double moved = (double)c->moved / (t->l2_bytes_per_second * t->cores);
  return fmax(fmax(memory, moved), turns) + launch + finish_seconds(t, s);
}

void explain_put_schedule(strbuf *out, const explain_schedule *s) {
  long long blocks = s->tiles * s->cluster;
  sb_printf(out, "%lld %s of %d threads", s->persistent ? (long long)s->tiles : blocks,
            s->persistent ? "tiles for resident blocks"
            : blocks == 1 ? "block"
                          : "blocks",
            s->threads);
  if (s->cluster > 1) sb_printf(out, " in clusters of %d", s->cluster);
  if (s->producer_threads) sb_printf(out, " and %d that copy", s->producer_threads);
  sb_printf(out, ", %d on a multiprocessor (%.0f%% of its threads)", s->resident,
            100 * s->occupancy);
  if (s->shared_bytes) {
    sb_puts(out, ", ");
    explain_put_scaled(out, (double)s->shared_bytes, "B");
    sb_puts(out, " on chip");
    if (s->ring_stages > 1) sb_printf(out, " in %d stages", s->ring_stages);
  }
  if (s->unit) sb_printf(out, ", %s", s->unit);
  if (s->column_sums)
    sb_printf(out, "; each walks %lld rows and keeps %d sum%s of columns", (long long)s->chunk_rows,
              s->column_sums, s->column_sums == 1 ? "" : "s");
  if (!s->chunks) return;
  sb_printf(out, "; the last of %lld combines what all leave in memory (", (long long)s->chunks);
  explain_put_scaled(out, (double)s->part_bytes, "B");
  sb_putc(out, ')');
}

void explain_put_usage(strbuf *out, const explain_usage *u) {
  if (!u->source.len) {
    sb_printf(out, "not known: %.*s", STR_FMT(u->unknown));
    return;
  }
  sb_printf(out, "%d a thread, ", u->registers);
  if (u->spilled_bytes) sb_printf(out, "%d bytes of it spilled", u->spilled_bytes);
  else sb_puts(out, "none spilled");
  sb_printf(out, "; by %.*s", STR_FMT(u->source));
}
