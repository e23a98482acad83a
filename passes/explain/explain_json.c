// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The explanation as one JSON object; byte counts are integers, times are seconds.
#include <stdlib.h>

#include "base/clocale.h"
#include "base/fault.h"
#include "passes/explain/explain.h"
#include "passes/explain/explain_json.h"

json_t *explain_json_text(str s) {
  json_t *t = json_stringn(s.ptr ? s.ptr : "", (size_t)s.len);
  return t ? t : json_string("?");
}

json_t *explain_json_position(const diag_list *files, span at) {
  if (!files || !at.file || (int)at.file > files->files.len) return json_null();
  line_col lc = diag_line_col(files, at);
  return json_pack("{s:o, s:i, s:i, s:i, s:i}", "file",
                   explain_json_text(files->files.data[at.file - 1].path), "line", lc.line, "column", lc.col,
                   "begin", (int)at.begin, "end", (int)at.end);
}

static json_t *buffers(const explain_buffer *b, int n) {
  static const char *const roles[] = {"param", "output", "intermediate"};
  json_t *list = json_array();
  for (int i = 0; i < n; i++)
    json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:I, s:o}", "name", explain_json_text(b[i].name), "type",
                                          explain_json_text(b[i].type), "role", roles[b[i].role], "bytes",
                                          (json_int_t)b[i].bytes, "in_place_of",
                                          b[i].over.len ? explain_json_text(b[i].over) : json_null()));
  return list;
}

static json_t *edge(const explain_edge *e, const diag_list *files) {
  const decision *d = &e->why;
  json_t *o = json_pack("{s:b, s:s, s:s}", "fused", d->fused, "reason", reason_name(d->why),
                        "explanation", reason_text(d->why));
  json_object_set_new(o, "producer", e->producer.len ? explain_json_text(e->producer) : json_null());
  json_object_set_new(o, "consumer", explain_json_text(e->consumer));
  json_object_set_new(o, "producer_kernel",
                      e->other_kernel >= 0 ? json_integer(e->other_kernel) : json_null());
  json_object_set_new(o, "shared", e->shared.len ? explain_json_text(e->shared) : json_null());
  json_object_set_new(o, "bytes", json_integer((json_int_t)d->bytes));
  json_object_set_new(o, "flops", json_integer((json_int_t)d->flops));
  json_object_set_new(o, "producer_at", explain_json_position(files, d->producer_at));
  json_object_set_new(o, "consumer_at", explain_json_position(files, d->consumer_at));
  return o;
}

static void set_costs(json_t *o, const explain_kernel *k) {
  static const char *const bounds[] = {"memory", "compute", "launch", "latency"};
  json_object_set_new(o, "bytes_read", json_integer((json_int_t)k->bytes_read));
  json_object_set_new(o, "bytes_written", json_integer((json_int_t)k->bytes_written));
  json_object_set_new(o, "flops", json_integer((json_int_t)k->flops));
  json_object_set_new(o, "needed_flops", json_integer((json_int_t)k->needed_flops));
  json_object_set_new(o, "needed_bytes", json_integer((json_int_t)k->needed_bytes));
  json_object_set_new(o, "intensity", json_real(k->intensity));
  json_object_set_new(o, "attainable_flops_per_second", json_real(k->attainable));
  json_object_set_new(o, "bound", json_string(bounds[k->bound]));
  json_object_set_new(o, "predicted_seconds", json_real(k->seconds));
  json_object_set_new(o, "roofline_seconds", json_real(k->roof_seconds));
  json_object_set_new(o, "roofline_share", json_real(k->roof_share));
  json_object_set_new(o, "measured_seconds",
                      k->measured_seconds > 0 ? json_real(k->measured_seconds) : json_null());
}

static void set_usage(json_t *o, const explain_usage *u) {
  bool known = u->source.len;
  json_object_set_new(o, "registers", known ? json_integer(u->registers) : json_null());
  json_object_set_new(o, "spilled_bytes", known ? json_integer(u->spilled_bytes) : json_null());
  json_object_set_new(o, "registers_by", known ? explain_json_text(u->source) : json_null());
  json_object_set_new(o, "registers_unknown", u->unknown.len ? explain_json_text(u->unknown) : json_null());
}

static json_t *schedule(const explain_schedule *s) {
  if (!s->threads) return json_null();
  json_t *o = json_pack(
      "{s:i, s:i, s:I, s:i, s:I, s:I, s:i, s:I, s:i, s:b, s:I, s:i, s:f, s:o, s:o}", "threads", s->threads,
      "producer_threads", s->producer_threads, "tiles", (json_int_t)s->tiles, "cluster", s->cluster,
      "chunks", (json_int_t)s->chunks, "part_bytes", (json_int_t)s->part_bytes, "column_sums",
      s->column_sums, "chunk_rows", (json_int_t)s->chunk_rows, "ring_stages", s->ring_stages, "persistent", s->persistent, "shared_bytes", (json_int_t)s->shared_bytes,
      "resident_blocks", s->resident, "occupancy", s->occupancy, "unit",
      s->unit ? json_string(s->unit) : json_null(), "layout", explain_json_text(s->layout));
  set_usage(o, &s->usage);
  return o;
}

static json_t *rule_names(unsigned rules) {
  json_t *names = json_array();
  for (int i = 0; i < RULE_COUNT; i++)
    if (rules >> i & 1) json_array_append_new(names, json_string(rule_name(i)));
  return names;
}

static json_t *later_walk(const explain_later *l, const diag_list *files) {
  return json_pack("{s:o, s:i, s:o, s:s, s:s, s:o, s:o, s:o}", "value", explain_json_text(l->value), "walk",
                   l->walk, "waits_for", explain_json_text(l->waits), "reason", reason_name(l->why), "text",
                   reason_text(l->why), "obstacle", explain_json_text(l->obstacle), "at", explain_json_position(files, l->at),
                   "rules_off", rule_names(l->rules));
}

static json_t *contract_object(const explain_contract *c, const diag_list *files) {
  json_t *states = json_array(), *later = json_array(), *memory = json_array(),
         *added = json_array();
  for (int i = 0; i < c->states.len; i++) {
    const explain_state *s = &c->states.data[i];
    json_array_append_new(
        states, json_pack("{s:o, s:i, s:o}", "value", explain_json_text(s->value), "walk", s->walk, "frame",
                          s->frame.len ? explain_json_text(s->frame) : json_null()));
  }
  for (int i = 0; i < c->later.len; i++)
    json_array_append_new(later, later_walk(&c->later.data[i], files));
  for (int i = 0; i < c->added.len; i++)
    json_array_append_new(added, explain_json_text(c->added.data[i]));
  for (int i = 0; i < c->memory.len; i++) json_array_append_new(memory, explain_json_text(c->memory.data[i]));
  return json_pack("{s:o, s:b, s:i, s:o, s:o, s:o, s:f, s:b, s:o, s:o, s:o}", "promise",
                   explain_json_text(c->promise), "chosen", c->chosen, "walks", c->walks, "states",
                   states, "later_walks", later, "rules", rule_names(c->rules), "skipped_share",
                   c->skipped, "skips_by_data", c->skips_by_data, "other_form",
                   c->other_form.len ? explain_json_text(c->other_form) : json_null(), "added",
                   added, "in_memory", memory);
}

static json_t *kernel_object(const explain_kernel *k, const diag_list *files) {
  json_t *o = json_pack("{s:i, s:s, s:o, s:i}", "kernel", k->number, "kind",
                        group_kind_name(k->kind), "what", explain_json_text(k->what), "operators",
                        k->operators);
  json_object_set_new(o, "first_phase", json_integer(k->first_phase));
  json_object_set_new(o, "last_phase", json_integer(k->last_phase));
  json_object_set_new(o, "at", explain_json_position(files, k->at));
  json_t *spans = json_array(), *edges = json_array(), *limits = json_array();
  for (int i = 0; i < k->spans.len; i++)
    json_array_append_new(spans, explain_json_position(files, k->spans.data[i]));
  for (int i = 0; i < k->edges.len; i++)
    json_array_append_new(edges, edge(&k->edges.data[i], files));
  for (int i = 0; i < k->limits.len; i++) json_array_append_new(limits, explain_json_text(k->limits.data[i]));
  if (k->contract.there) json_object_set_new(o, "contract", contract_object(&k->contract, files));
  json_object_set_new(o, "spans", spans);
  json_object_set_new(o, "inputs", buffers(k->inputs.data, k->inputs.len));
  json_object_set_new(o, "outputs", buffers(k->outputs.data, k->outputs.len));
  set_costs(o, k);
  json_object_set_new(o, "schedule", schedule(&k->schedule));
  json_object_set_new(o, "edges", edges);
  json_object_set_new(o, "limits", limits);
  return o;
}

void explain_json_dump(json_t *root, strbuf *out) {
  locale_t before = clocale_enter();
  char *dumped = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
  clocale_leave(before);
  json_decref(root);
  if (!dumped) fault_raise(FAULT_NOMEM, "out of memory for the JSON text of an explanation");
  sb_puts(out, dumped);
  sb_putc(out, '\n');
  free(dumped);
}

void explain_json(const explanation *e, const diag_list *files, strbuf *out) {
  json_t *root = json_pack("{s:o, s:o}", "function", explain_json_text(e->function), "target",
                           explain_json_text(e->target->name));
  json_t *assumed = json_array(), *kernels = json_array();
  for (int i = 0; i < e->assumed.len; i++)
    json_array_append_new(assumed, explain_json_text(e->assumed.data[i]));
  for (int i = 0; i < e->kernels.len; i++)
    json_array_append_new(kernels, kernel_object(&e->kernels.data[i], files));
  json_object_set_new(root, "assumed_sizes", assumed);
  json_object_set_new(root, "bytes", json_integer((json_int_t)e->bytes));
  json_object_set_new(root, "unfused_bytes", json_integer((json_int_t)e->unfused_bytes));
  json_object_set_new(root, "needed_bytes", json_integer((json_int_t)e->needed_bytes));
  json_object_set_new(root, "memory_bytes", json_integer((json_int_t)e->memory.bytes));
  json_object_set_new(root, "memory_live_bytes", json_integer((json_int_t)e->memory.live));
  json_object_set_new(root, "memory_in_results_bytes", json_integer((json_int_t)e->memory.hosted));
  json_object_set_new(root, "flops", json_integer((json_int_t)e->flops));
  json_object_set_new(root, "predicted_seconds", json_real(e->seconds));
  json_object_set_new(root, "kernels", kernels);
  explain_json_dump(root, out);
}
