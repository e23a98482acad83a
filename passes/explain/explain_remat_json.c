// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Recomputation as one JSON object (docs/recomputation.md has its fields); byte counts are integers, times
// are seconds, null where a value may not be kept or computed again.
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/clocale.h"
#include "base/fault.h"
#include "passes/explain/explain_json.h"
#include "passes/explain/explain_remat.h"

static json_t *seconds(double s) { return isinf(s) ? json_null() : json_real(s); }

static json_t *value_object(const remat_study *x, const remat_value *v, const diag_list *files) {
  const node *n = v->value;
  json_t *axes = json_array();
  for (int i = 0; i < n->naxes; i++)
    json_array_append_new(axes, explain_json_text(x->g->axes.data[n->axes[i]].name));
  json_t *o =
      json_pack("{s:s, s:i, s:s, s:o, s:s}", "op", op_get(n->op)->name, "id", n->id, "type",
                dtype_name(n->type), "axes", axes, "decision", v->recomputed ? "again" : "kept");
  json_object_set_new(o, "bytes", json_integer((json_int_t)v->bytes));
  json_object_set_new(o, "flops", json_integer((json_int_t)v->flops));
  json_object_set_new(o, "keep_seconds", seconds(v->keep));
  json_object_set_new(o, "again_seconds", seconds(v->again));
  json_object_set_new(o, "reason", json_string(reason_name(v->why)));
  json_object_set_new(o, "explanation", json_string(reason_text(v->why)));
  json_object_set_new(o, "halved_by",
                      v->narrow != DT_COUNT ? json_string(dtype_name(v->narrow)) : json_null());
  json_object_set_new(o, "at", explain_json_position(files, n->at));
  return o;
}

static json_t *point_object(const remat_point *p) {
  return json_pack("{s:I, s:I, s:f, s:i, s:b, s:b, s:b}", "peak_bytes", (json_int_t)p->peak,
                   "saved_bytes", (json_int_t)p->saved, "predicted_seconds", p->seconds,
                   "recomputed", p->recomputed, "keeps_all", (p->corner & CORNER_KEEPS_ALL) != 0,
                   "least_memory", (p->corner & CORNER_LEAST) != 0, "taken",
                   (p->corner & CORNER_CHOSEN) != 0);
}

static void set_plans(json_t *root, const remat_study *x, const diag_list *files) {
  json_t *values = json_array(), *curve = json_array(), *assumed = json_array();
  for (int i = 0; i < x->g->symbols.len; i++)
    json_array_append_new(assumed, explain_json_text(explain_assumed(x->arena, x->g, i)));
  for (int i = 0; i < x->values.len; i++)
    json_array_append_new(values, value_object(x, &x->values.data[i], files));
  for (int i = 0; i < x->curve.len; i++)
    json_array_append_new(curve, point_object(&x->curve.data[i]));
  json_object_set_new(root, "assumed_sizes", assumed);
  json_object_set_new(root, "memory_bytes", json_integer((json_int_t)x->allocated));
  json_object_set_new(root, "least_bytes", json_integer((json_int_t)x->least));
  json_object_set_new(root, "budget_bytes",
                      x->budget >= 0 ? json_integer((json_int_t)x->budget) : json_null());
  json_object_set_new(root, "within_budget", json_boolean(x->fits));
  json_object_set_new(root, "taken", point_object(&x->chosen));
  json_object_set_new(root, "keeping_all", point_object(&x->all));
  json_object_set_new(root, "values", values);
  json_object_set_new(root, "curve", curve);
}

void explain_remat_json(const remat_study *x, const diag_list *files, strbuf *out) {
  json_t *root = json_pack("{s:o, s:o, s:b, s:b, s:b}", "function", explain_json_text(x->g->name),
                           "target", explain_json_text(x->target->name), "gradients", x->gradients,
                           "decided_before", x->decided, "planned", x->planned);
  if (x->planned) set_plans(root, x, files);
  explain_json_dump(root, out);
}
