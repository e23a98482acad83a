// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What keeps a kernel from the roofline, and what the remainder needs: a sentence each. A sentence
// says what the figures of the kernel say, and proposes only what would help it.
#include "passes/explain/explain_format.h"

static str percent(arena *a, double part, double whole) {
  return str_printf(a, "%.0f%%", whole > 0 ? 100 * part / whole : 0);
}

static str ratio(arena *a, double v) { return str_printf(a, v < 99.5 ? "%.2g" : "%.0f", v); }

/// An intermediate result read here: the reason why it is in memory is that of the cut edge.
static const explain_edge *cut_of(const explain_kernel *k, const node *value) {
  for (int i = 0; i < k->edges.len; i++)
    if (!k->edges.data[i].why.fused && k->edges.data[i].why.producer == value->id)
      return &k->edges.data[i];
  return NULL;
}

/// Traffic of intermediate results, where it is worth a word.
static void limit_by_traffic(arena *a, explain_kernel *k) {
  double bytes = k->bytes_read + k->bytes_written;
  for (int i = 0; i < k->inputs.len; i++) {
    const explain_buffer *b = &k->inputs.data[i];
    if (b->role == ROLE_PARAM || (double)b->bytes < 0.005 * bytes) continue;
    const explain_edge *cut = cut_of(k, b->value);
    vec_push(a, &k->limits,
             str_printf(a,
                        "reading %.*s back is %.*s of the traffic; keeping it on chip needs "
                        "one kernel with its producer: %s",
                        STR_FMT(b->name), STR_FMT(percent(a, (double)b->bytes, bytes)),
                        cut ? reason_text(cut->why.why) : "it is read through a view"));
  }
  for (int i = 0; i < k->outputs.len; i++) {
    const explain_buffer *b = &k->outputs.data[i];
    if (b->role != ROLE_TEMP || (double)b->bytes < 0.005 * bytes) continue;
    vec_push(a, &k->limits,
             str_printf(a, "writing %.*s for a later kernel is %.*s of the traffic",
                        STR_FMT(b->name), STR_FMT(percent(a, (double)b->bytes, bytes))));
  }
}

/// " on wgmma"
static str unit_text(arena *a, const explain_kernel *k) {
  return k->schedule.unit ? str_printf(a, " on %s", k->schedule.unit) : STR("");
}

static str memory_text(arena *a, const explain_kernel *k) {
  if (k->balance <= 0)
    return STR(
        "memory bound: it computes nothing; only fewer or smaller bytes "
        "make it faster");
  return str_printf(a,
                    "memory bound: its %.*s flops per byte are below the %.*s at which its "
                    "arithmetic%.*s would limit; fewer or smaller bytes make it faster",
                    STR_FMT(ratio(a, k->intensity)), STR_FMT(ratio(a, k->balance)),
                    STR_FMT(unit_text(a, k)));
}

static str compute_text(arena *a, const explain_kernel *k) {
  if (!k->heaviest) return STR("");
  str share = percent(a, k->heaviest_share, 1), unit = unit_text(a, k);
  if (!strcmp(k->heaviest, "dot"))
    return str_printf(
        a,
        "compute bound: the multiply-adds of the contraction%.*s are %.*s of its "
        "arithmetic; only a faster core, more cores or fewer operations make it faster",
        STR_FMT(unit), STR_FMT(share));
  return str_printf(
      a,
      "compute bound: %s is %.*s of its arithmetic; fewer or cheaper operations make it "
      "faster",
      k->heaviest, STR_FMT(share));
}

static str latency_text(arena *a, const target_info *t, const explain_kernel *k) {
  strbuf out = sb_new(a);
  const explain_schedule *s = &k->schedule;
  long long blocks = (long long)s->tiles * s->cluster;
  if (blocks < t->cores)
    sb_printf(&out, "%lld block%s of %d threads leave%s %lld of %d multiprocessors idle", blocks,
              blocks == 1 ? "" : "s", s->threads, blocks == 1 ? "s" : "", t->cores - blocks,
              t->cores);
  else
    sb_printf(&out,
              "what %d resident block%s of %d threads ask%s for at once does not fill the "
              "bandwidth of memory",
              s->resident, s->resident == 1 ? "" : "s", s->threads, s->resident == 1 ? "s" : "");
  sb_puts(&out, "; at full speed the work would take ");
  explain_put_seconds(
      &out, k->memory_seconds > k->compute_seconds ? k->memory_seconds : k->compute_seconds);
  return sb_str(&out);
}

void explain_limits(arena *a, const target_info *t, explain_kernel *k) {
  limit_by_traffic(a, k);
  if (k->needed_flops < 0.95 * k->flops)
    vec_push(a, &k->limits,
             str_printf(a,
                        "%.*s of the work is recomputation; removing it needs the repeated "
                        "values in memory",
                        STR_FMT(percent(a, k->flops - k->needed_flops, k->flops))));
  str bound = STR("");
  switch (k->bound) {
    case BOUND_MEMORY: bound = memory_text(a, k); break;
    case BOUND_COMPUTE: bound = compute_text(a, k); break;
    case BOUND_LAUNCH:
      bound =
          STR("starting the kernel takes longer than its work; larger sizes or fewer kernels "
              "would use the machine");
      break;
    case BOUND_LATENCY: bound = latency_text(a, t, k); break;
  }
  if (bound.len) vec_push(a, &k->limits, bound);
}
