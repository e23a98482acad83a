// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The functions of a program with their signatures, as text in the language and as JSON.
#include <jansson.h>
#include <stdlib.h>

#include "api/session.h"
#include "base/clocale.h"

typedef struct list_args {
  const tcf_program *program;
  tcf_format format;
  arena arena;
  char *text;
  bool lost;  // memory ran out for an item
} list_args;

// ---- text

/// "f32[N, D = 2 * N]"
static void put_type(const sig_value *v, strbuf *out) {
  sb_puts(out, dtype_name(v->type));
  for (int k = 0; k < v->rank; k++) {
    sb_printf(out, "%s%s", k ? ", " : "[", v->axes[k]);
    if (strcmp(v->axes[k], v->sizes[k])) sb_printf(out, " = %s", v->sizes[k]);
  }
  if (v->rank) sb_putc(out, ']');
}

/// "fn f(x: f32[N]) -> (f32[N], i32) where N >= 1"
static void put_signature(const tcf_function *f, strbuf *out) {
  const signature *s = &f->sig;
  sb_printf(out, "fn %s(", f->name);
  for (int i = 0; i < s->nparams; i++) {
    sb_printf(out, "%s%s: ", i ? ", " : "", s->params[i].name);
    put_type(&s->params[i], out);
  }
  sb_puts(out, s->nresults == 1 ? ") -> " : ") -> (");
  for (int i = 0; i < s->nresults; i++) {
    if (i) sb_puts(out, ", ");
    put_type(&s->results[i], out);
  }
  if (s->nresults != 1) sb_putc(out, ')');
  signature_put_facts(s, NULL, " where ", out);
}

// ---- JSON

static void add(list_args *args, json_t *list, json_t *item) {
  args->lost |= json_array_append_new(list, item) != 0;
}

static json_t *value(list_args *args, const sig_value *v) {
  json_t *axes = json_array();
  for (int k = 0; k < v->rank; k++)
    add(args, axes, json_pack("{s:s, s:s}", "name", v->axes[k], "size", v->sizes[k]));
  return json_pack("{s:s, s:s, s:o}", "name", v->name, "type", dtype_name(v->type), "axes", axes);
}

static json_t *values(list_args *args, const sig_value *v, int n) {
  json_t *list = json_array();
  for (int i = 0; i < n; i++) add(args, list, value(args, &v[i]));
  return list;
}

static json_t *symbols(list_args *args, const signature *s) {
  json_t *list = json_array();
  for (int k = 0; k < s->nsymbols; k++) {
    const ix_fact *fact = ix_find_fact(s->ix, str_from(s->symbols[k]));
    json_t *most = fact && fact->max < INT64_MAX ? json_integer(fact->max) : json_null();
    add(args, list,
        json_pack("{s:s, s:I, s:o, s:I}", "name", s->symbols[k], "least",
                  (json_int_t)(fact ? fact->min : 0), "most", most, "multiple_of",
                  (json_int_t)(fact ? fact->multiple_of : 1)));
  }
  return list;
}

static json_t *function(list_args *args, const tcf_function *f) {
  strbuf text = sb_new(&args->arena);
  put_signature(f, &text);
  return json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", f->name, "signature", text.data,
                   "parameters", values(args, f->sig.params, f->sig.nparams), "results",
                   values(args, f->sig.results, f->sig.nresults), "sizes", symbols(args, &f->sig));
}

static void put_json(list_args *args, strbuf *out) {
  json_t *root = json_array();
  const tcf_program *p = args->program;
  for (int i = 0; i < p->nfunctions; i++)
    add(args, root, function(args, &p->functions[i]));
  locale_t before = clocale_enter();
  char *dumped = !args->lost ? json_dumps(root, JSON_INDENT(2)) : NULL;
  clocale_leave(before);
  json_decref(root);
  if (!dumped) fault_raise(FAULT_NOMEM, "out of memory for a list in JSON");
  sb_puts(out, dumped);
  sb_putc(out, '\n');
  free(dumped);
}

// ----

static tcf_status list_functions(void *args_) {
  list_args *args = args_;
  strbuf out = sb_new(&args->arena);
  const tcf_program *p = args->program;
  for (int i = 0; args->format == TCF_TEXT && i < p->nfunctions; i++) {
    put_signature(&p->functions[i], &out);
    sb_putc(&out, '\n');
  }
  if (args->format == TCF_JSON) put_json(args, &out);
  args->text = text_for_caller(sb_str(&out));
  return TCF_OK;
}

tcf_status tcf_program_signatures(const tcf_program *p, tcf_format format, char **text) {
  entry e;
  tcf_status status = entry_open(&e, p ? p->session : NULL);
  if (status) return status;
  list_args args = {.program = p, .format = format};
  status = need(e.session, text, "the text");
  if (!status && format != TCF_TEXT && format != TCF_JSON)
    status = session_fail(e.session, TCF_WRONG_USE, "there is no format %d of this", (int)format);
  if (!status) status = session_guard(e.session, list_functions, &args);
  arena_free(&args.arena);
  if (!status) *text = args.text;
  return entry_close(&e, status);
}
