// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names of one inlined function, and errors that tell how the program came there.
#include "frontend/lower.h"
#include "frontend/spelling.h"

// ---- errors

const scope *user_scope(const scope *s) {
  while (s->f->prelude && s->caller) s = s->caller;
  return s;
}

span stamp_span(const scope *s, span at) {
  for (; s->f->prelude && s->caller; s = s->caller) at = s->call_at;
  return at;
}

void close_error(lowerer *l) {
  if (!l->open) return;
  int n = 0;
  for (const scope *s = user_scope(l->open_scope); s->caller && n < MOST_CALL_NOTES; s = s->caller, n++)
    diag_add_note(l->diags, l->open, s->call_at, "in this call of `%.*s`", STR_FMT(s->f->name));
  l->open = NULL;
}

/// An error in a library function is shown at the call in the user's program.
diag *scope_error(scope *s, int code, span at, const char *format, ...) {
  lowerer *l = s->l;
  va_list args;
  va_start(args, format);
  str text = str_vprintf(l->arena, format, args);
  va_end(args);
  close_error(l);
  l->errors++;
  span shown = stamp_span(s, at);
  str key = str_printf(l->arena, "%d:%u:%u:%.*s", code, at.file, at.begin, STR_FMT(text));
  if (map_get(&l->reported, key)) return arena_new(l->arena, diag);
  diag *d = diag_error(l->diags, code, shown, "%.*s", STR_FMT(text));
  map_put(l->arena, &l->reported, key, d);
  if (s->f->prelude && s->caller)
    diag_add_note(l->diags, d, at, "inside `%.*s`, here", STR_FMT(s->f->name));
  l->open = d;
  l->open_scope = s;
  return d;
}

void scope_note(scope *s, diag *d, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  str text = str_vprintf(s->l->arena, format, args);
  va_end(args);
  diag_add_note(s->l->diags, d, at, "%.*s", STR_FMT(text));
}

void scope_fixit(scope *s, diag *d, span at, const char *format, ...) {
  if (s->f->prelude) return;
  va_list args;
  va_start(args, format);
  str text = str_vprintf(s->l->arena, format, args);
  va_end(args);
  diag_add_fixit(s->l->diags, d, at, "%.*s", STR_FMT(text));
}

static str span_bytes(const scope *s, span at) {
  if (!at.file) return (str){0};
  str text = s->l->diags->files.data[at.file - 1].text;
  return (str){text.ptr + at.begin, (int)(at.end - at.begin)};
}

static bool is_short(str text, int longest) {
  if (text.len == 0 || text.len > longest) return false;
  for (int i = 0; i < text.len; i++)
    if (text.ptr[i] == '\n' || (text.ptr[i] == '/' && i + 1 < text.len && text.ptr[i + 1] == '/'))
      return false;
  return true;
}

void scope_fix_wrap(scope *s, diag *d, span at, const char *type) {
  str text = span_bytes(s, at);
  if (is_short(text, 40)) {
    bool parens = text.ptr[0] == '(' && text.ptr[text.len - 1] == ')';
    scope_fixit(s, d, at, parens ? "%s%.*s" : "%s(%.*s)", type, STR_FMT(text));
  } else if (text.len) {
    scope_fixit(s, d, (span){at.file, at.begin, at.begin}, "%s(", type);
    scope_fixit(s, d, (span){at.file, at.end, at.end}, ")");
  }
}

str source_text(scope *s, span at) {
  str text = span_bytes(s, at);
  return is_short(text, 24) ? str_printf(s->l->arena, "`%.*s`", STR_FMT(text)) : STR("this value");
}

// ---- axis sets

bool set_has(const axis_set *set, int axis) {
  for (int i = 0; i < set->n; i++)
    if (set->axes[i] == axis) return true;
  return false;
}

void set_add(axis_set *set, int axis) {
  if (!set_has(set, axis) && set->n < 2 * MAX_AXES) set->axes[set->n++] = axis;
}

bool check_axis_count(scope *s, const axis_set *set, span at) {
  if (set->n <= MAX_AXES) return true;
  scope_error(s, DIAG_too_many_axes, at, "the result would have %d axes or more; the limit is %d",
              set->n, MAX_AXES);
  return false;
}

// ---- axes by name

axis_name *find_axis(const scope *s, str name) { return map_get(&s->axes, name); }

str axis_text(const scope *s, int axis) {
  for (int i = 0; i < s->axes.len; i++) {
    const axis_name *a = s->axes.entries[i].value;
    if (a->axis == axis) return s->axes.entries[i].key;
  }
  return s->l->g->axes.data[axis].name;
}

str axes_text(const scope *s, const int *axes, int n) {
  strbuf b = sb_new(s->l->arena);
  for (int i = 0; i < n; i++) {
    if (i) sb_puts(&b, ", ");
    sb_put(&b, axis_text(s, axes[i]));
  }
  return n ? sb_str(&b) : STR("no axes");
}

str node_text(const scope *s, const node *n) {
  if (!n->naxes) return str_from(dtype_name(n->type));
  return str_printf(s->l->arena, "%s[%.*s]", dtype_name(n->type),
                    STR_FMT(axes_text(s, n->axes, n->naxes)));
}

void bind_axis(scope *s, str name, axis_name *a) { map_put(s->l->arena, &s->axes, name, a); }

/// A name is a value or an axis, not both.
static bool name_is_free(scope *s, str name, span at, const char *as) {
  const local *v = map_get(&s->locals, name);
  const axis_name *a = find_axis(s, name);
  if (!v && !a) return true;
  diag *d = scope_error(s, DIAG_name_conflict, at, "`%.*s` cannot be %s; it is %s", STR_FMT(name),
                        as, v ? "a value" : "an axis");
  scope_note(s, d, v ? v->at : a->at, "introduced here");
  return false;
}

typedef struct symbol_seen {
  str symbol;
  bool seen;
} symbol_seen;

static bool see_symbol(void *ctx, str name, int64_t *value) {
  symbol_seen *s = ctx;
  (void)value;
  s->seen |= str_eq(name, s->symbol);
  return false;
}

static bool mentions(const scope *s, ix size, ix symbol) {
  symbol_seen seen = {size_text(s, symbol), false};
  ix_bind(&s->l->g->ix, &s->l->g->ix, size, see_symbol, &seen);
  return seen.seen;
}

/// The axis of that name in the function that the calls began with.
static const axis_name *axis_of_symbol(const scope *s, ix symbol) {
  while (s->caller) s = s->caller;
  return find_axis(s, size_text(s, symbol));
}

/// "M = N": of two symbols the one that comes later has the size of the one before it; "E = 2 * J".
/// Empty where neither size is a symbol.
static str equal_sizes_text(scope *s, ix a, ix b) {
  const ix_pool *p = &s->l->g->ix;
  bool a_symbol = ix_get(p, a)->kind == IX_SYM, b_symbol = ix_get(p, b)->kind == IX_SYM;
  ix symbol = a, other = b;
  if (a_symbol && b_symbol) {
    const axis_name *a_axis = axis_of_symbol(s, a), *b_axis = axis_of_symbol(s, b);
    if (a_axis && b_axis && b_axis->at.begin > a_axis->at.begin) symbol = b, other = a;
  } else if (!a_symbol || mentions(s, b, a)) {
    if (!b_symbol || mentions(s, a, b)) return (str){0};
    symbol = b, other = a;
  }
  return str_printf(s->l->arena, "%.*s = %.*s", STR_FMT(size_text(s, symbol)),
                    STR_FMT(size_formula(s, other)));
}

void note_equal_sizes(scope *s, diag *d, const axis_name *a, ix old, ix size) {
  str equal = equal_sizes_text(s, old, size);
  if (!equal.len) scope_note(s, d, a->at, "%.*s is introduced here", STR_FMT(a->name));
  else
    scope_note(s, d, a->at,
               "%.*s is introduced here; sizes that are always equal are declared so: %.*s",
               STR_FMT(a->name), STR_FMT(equal));
}

int define_axis(scope *s, str name, span at, ix size) {
  axis_name *a = find_axis(s, name);
  if (!a) {
    if (!name_is_free(s, name, at, "an axis")) return -1;
    a = arena_new(s->l->arena, axis_name);
    *a = (axis_name){.name = name, .axis = -1, .at = at};
    bind_axis(s, name, a);
  }
  if (a->axis < 0) {
    a->axis = graph_add_axis(s->l->g, a->name, size);
    return a->axis;
  }
  ix old = graph_axis_size(s->l->g, a->axis);
  if (sizes_equal(s, old, size)) return a->axis;
  diag *d = scope_error(s, DIAG_size_mismatch, at,
                        "the axis %.*s has size %.*s; here it would have size %.*s", STR_FMT(name),
                        STR_FMT(size_text(s, old)), STR_FMT(size_text(s, size)));
  note_equal_sizes(s, d, a, old, size);
  return -1;
}

bool define_local(scope *s, str name, span at, value v) {
  if (!name.len || !name_is_free(s, name, at, "a value")) return false;
  local *entry = arena_new(s->l->arena, local);
  *entry = (local){v, at};
  map_put(s->l->arena, &s->locals, name, entry);
  return true;
}

static str nearest_axis(const scope *s, str name, const node *of) {
  vec(str) names = {0};
  for (int i = 0; i < s->axes.len; i++) {
    const axis_name *a = s->axes.entries[i].value;
    bool there = a->axis >= 0 && (!of || node_has_axis(of, a->axis));
    if (there) vec_push(s->l->arena, &names, s->axes.entries[i].key);
  }
  // Of one letter, only the same letter in the other case is near.
  for (int i = 0; i < names.len && name.len == 1; i++)
    if (names.data[i].len == 1 && (names.data[i].ptr[0] ^ name.ptr[0]) == 0x20)
      return names.data[i];
  return nearest_name(name, names.data, names.len);
}

int need_axis(scope *s, str name, span at) {
  const axis_name *a = find_axis(s, name);
  if (a && a->axis >= 0) return a->axis;
  if (a) {
    scope_error(s, DIAG_unknown_axis, at,
                "the axis %.*s is new here and has no size yet", STR_FMT(name));
  } else if (map_get(&s->locals, name)) {
    scope_error(s, DIAG_argument_kind, at, "`%.*s` is a value; an axis is needed here",
                STR_FMT(name));
  } else if (map_get(&s->packs, name)) {
    scope_error(s, DIAG_argument_kind, at, "%.*s stands for several axes; one is needed here",
                STR_FMT(name));
  } else if (!s->f->bad_syntax) {
    diag *d = scope_error(s, DIAG_unknown_axis, at, "there is no axis %.*s", STR_FMT(name));
    str near = nearest_axis(s, name, NULL);
    if (near.len) scope_fixit(s, d, at, "%.*s", STR_FMT(near));
  } else {
    s->l->errors++;
  }
  return -1;
}

static void note_declaration(scope *s, diag *d, const node *n, span n_at) {
  for (int i = 0; i < s->locals.len; i++) {
    const local *v = s->locals.entries[i].value;
    if (v->v.kind == VALUE_NODE && v->v.n == n && v->at.begin != n_at.begin) {
      scope_note(s, d, v->at, "`%.*s` is %.*s", STR_FMT(s->locals.entries[i].key),
                 STR_FMT(node_text(s, n)));
      return;
    }
  }
}

bool need_axis_of(scope *s, const node *n, span n_at, int axis, span at) {
  if (axis >= 0 && node_has_axis(n, axis)) return true;
  str name = axis >= 0 ? axis_text(s, axis) : span_bytes(s, at);
  diag *d = scope_error(s, DIAG_no_such_axis, at, "%.*s has no axis %.*s; it has %.*s",
                        STR_FMT(source_text(s, n_at)), STR_FMT(name),
                        STR_FMT(axes_text(s, n->axes, n->naxes)));
  str near = nearest_axis(s, name, n);
  if (near.len && !str_eq(near, name)) scope_fixit(s, d, at, "%.*s", STR_FMT(near));
  note_declaration(s, d, n, n_at);
  return false;
}

bool is_axis_expr(const scope *s, const expr *e) {
  if (e->kind == EXPR_REST) return true;
  return e->kind == EXPR_NAME && !map_get(&s->locals, e->name) &&
         (find_axis(s, e->name) || map_get(&s->packs, e->name));
}

bool collect_axes(scope *s, const expr *e, axis_set *out) {
  if (e->kind == EXPR_POISON) return s->l->errors++, false;
  if (e->kind == EXPR_REST) {
    if (!s->f->generic) {
      scope_error(s, DIAG_rest_misuse, e->at,
                  "`..` has a meaning only in functions with `..` in their signature");
      return false;
    }
    for (int i = 0; i < s->rest.n; i++) set_add(out, s->rest.axes[i]);
    return true;
  }
  if (e->kind != EXPR_NAME) {
    diag *d = scope_error(s, DIAG_argument_kind, e->at, "the name of an axis is needed here");
    // sum(x, axis = D)
    bool named = e->kind == EXPR_NAMED && is_axis_expr(s, e->args[0]);
    if (named) scope_fixit(s, d, e->at, "%.*s", STR_FMT(e->args[0]->name));
    return false;
  }
  const axis_set *pack = map_get(&s->packs, e->name);
  for (int i = 0; pack && i < pack->n; i++) set_add(out, pack->axes[i]);
  if (pack) return true;
  int axis = need_axis(s, e->name, e->at);
  if (axis < 0) return false;
  if (set_has(out, axis)) {
    scope_error(s, DIAG_duplicate_axis, e->at, "the axis %.*s is named twice", STR_FMT(e->name));
    return false;
  }
  set_add(out, axis);
  return true;
}
