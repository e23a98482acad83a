// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading: files by import, functions by name, and what can be said without types or axes.
#include "frontend/program.h"

#include "frontend/builtin.h"
#include "frontend/spelling.h"

enum { MAX_FILES = 1000 };

// ---- files

static bool is_std(str path) { return str_eqz(path, "std") || str_eqz(path, "std.tdsl"); }

/// Among the files of the user; the library is the first unit.
static unit *find_unit(program *p, str name) {
  for (int i = 1; i < p->units.len; i++)
    if (str_eq(p->diags->files.data[p->units.data[i]->file - 1].path, name))
      return p->units.data[i];
  return NULL;
}

static unit *add_unit(program *p, uint32_t file) {
  unit *u = arena_new(p->arena, unit);
  parse_unit(p->arena, p->diags, file, u);
  vec_push(p->arena, &p->units, u);
  return u;
}

static void load_import(program *p, str importer, import_decl import) {
  str name, text, error = STR("imports are not possible here");
  if (is_std(import.path)) return;
  bool found = p->options->load &&
               p->options->load(p->options->ctx, importer, import.path, &name, &text, &error);
  if (!found) {
    diag_error(p->diags, DIAG_import_failed, import.at, "cannot import \"%.*s\": %.*s",
               STR_FMT(import.path), STR_FMT(error));
  } else if (!find_unit(p, name)) {
    if (p->units.len >= MAX_FILES)
      diag_error(p->diags, DIAG_import_failed, import.at, "more than %d files", MAX_FILES);
    else
      add_unit(p, diag_add_file(p->diags, name, text));
  }
}

static void load_files(program *p, uint32_t file) {
  add_unit(p, diag_add_file(p->diags, STR("std/std.tdsl"), frontend_std_text()));
  add_unit(p, file);
  // Units grow while they are walked: imports of imports come later in the list.
  for (int i = 1; i < p->units.len; i++) {
    unit *u = p->units.data[i];
    str importer = p->diags->files.data[u->file - 1].path;
    for (int k = 0; k < u->imports.len; k++) load_import(p, importer, u->imports.data[k]);
  }
}

static void add_function(program *p, func *f, bool prelude, bool root) {
  map *table = prelude ? &p->library : &p->functions;
  f->prelude = prelude;
  f->root = root;
  if (!f->name.len) return;
  func *other = map_get(table, f->name);
  diag *d = NULL;
  if (builtin_find(f->name)) {
    d = diag_error(p->diags, DIAG_duplicate_function, f->name_at,
                   "`%.*s` is built in; choose another name", STR_FMT(f->name));
  } else if (other) {
    d = diag_error(p->diags, DIAG_duplicate_function, f->name_at,
                   "the function `%.*s` is defined twice", STR_FMT(f->name));
    diag_add_note(p->diags, d, other->name_at, "first defined here");
  } else {
    map_put(p->arena, table, f->name, f);
  }
  if (d) f->state = FUNC_FAILED;
}

static func *find_function(program *p, str name) {
  func *f = map_get(&p->functions, name);
  return f ? f : map_get(&p->library, name);
}

// ---- bodies: calls, names, returns

typedef struct walk {
  program *p;
  func *f;
  map names;          // name -> let_name*, or the parameter's own entry
  vec(let_name *) lets;
  vec(func *) callees;
  vec(span) call_at;  // of the callees
} walk;

/// Its value is poison: the rest of the function is still checked.
static void unknown_function(walk *w, const expr *e) {
  program *p = w->p;
  vec(str) names = {0};
  int n;
  const builtin *table = builtin_table(&n);
  for (int i = 0; i < n; i++) vec_push(p->arena, &names, str_from(table[i].name));
  for (int i = 0; i < p->functions.len; i++)
    vec_push(p->arena, &names, p->functions.entries[i].key);
  for (int i = 0; i < p->library.len; i++) vec_push(p->arena, &names, p->library.entries[i].key);
  let_name *local = map_get(&w->names, e->name);
  const foreign *foreign = local ? NULL : foreign_function(e->name);
  const char *hint = foreign ? foreign->hint : NULL;
  diag *d = diag_error(p->diags, DIAG_unknown_function, e->name_at,
                       "there is no function `%.*s`%s%s", STR_FMT(e->name), hint ? "; " : "",
                       hint ? hint : "");
  const char *same = foreign ? foreign->function : foreign_type(e->name);
  str meant = {0};
  if (same) meant = str_from(same);
  else if (!foreign) meant = nearest_name(e->name, names.data, names.len);
  if (meant.len && !local) diag_add_fixit(p->diags, d, e->name_at, "%.*s", STR_FMT(meant));
  if (local)
    diag_add_note(p->diags, d, local->at, "`%.*s` is a value; views of it take brackets: %.*s[...]",
                  STR_FMT(e->name), STR_FMT(e->name));
}

static void walk_expr(walk *w, expr *e) {
  if (!e) return;
  if (e->kind == EXPR_NAME) {
    let_name *local = map_get(&w->names, e->name);
    if (local) local->used = true;
  } else if (e->kind == EXPR_CALL && builtin_find(e->name)) {
    w->f->differentiates |= builtin_find(e->name)->kind == BUILTIN_GRAD;
  } else if (e->kind == EXPR_CALL) {
    e->callee = find_function(w->p, e->name);
    if (e->callee) {
      vec_push(w->p->arena, &w->callees, e->callee);
      vec_push(w->p->arena, &w->call_at, e->at);
    } else {
      unknown_function(w, e);
    }
  }
  for (int i = 0; i < e->nargs; i++) walk_expr(w, e->args[i]);
}

static void walk_type(walk *w, const type_ref *t) {
  int rests = 0;
  for (int i = 0; i < t->naxes; i++) {
    const axis_decl *decl = &t->axes[i];
    walk_expr(w, decl->size);
    bool twice = decl->rest && rests++;
    for (int k = 0; k < i && decl->name.len && !twice; k++)
      twice = str_eq(t->axes[k].name, decl->name);
    if (!twice) continue;
    diag_error(w->p->diags, DIAG_duplicate_axis, decl->at, "%s%.*s is twice in this type",
               decl->rest ? "`..`" : "the axis ", STR_FMT(decl->name));
    w->f->state = FUNC_FAILED;
  }
  if (t->naxes <= MAX_AXES) return;
  diag_error(w->p->diags, DIAG_too_many_axes, t->at, "%d axes; the limit is %d", t->naxes,
             MAX_AXES);
  w->f->state = FUNC_FAILED;
}

static void declare(walk *w, let_name *n, bool is_let) {
  if (!n->name.len) return;
  let_name *first = map_get(&w->names, n->name);
  if (first) {
    diag *d = diag_error(w->p->diags, DIAG_duplicate_name, n->at,
                         "`%.*s` is already a name in this function", STR_FMT(n->name));
    diag_add_note(w->p->diags, d, first->at, "first given here");
    w->f->state = FUNC_FAILED;
    return;
  }
  map_put(w->p->arena, &w->names, n->name, n);
  if (is_let) vec_push(w->p->arena, &w->lets, n);
}

static void walk_block(walk *w, const block *b) {
  bool returned = false;
  for (int i = 0; i < b->len; i++) {
    stmt *s = b->data[i];
    if (returned) {
      diag_error(w->p->diags, DIAG_after_return, s->at, "nothing can follow `return`");
      w->f->state = FUNC_FAILED;
      returned = false;
    }
    if (s->type) walk_type(w, s->type);
    walk_expr(w, s->value);
    for (int k = 0; k < s->nnames; k++) declare(w, &s->names[k], true);
    for (int k = 0; k < s->stream.len; k++) walk_expr(w, s->stream.data[k]);
    walk_block(w, &s->body);
    returned |= s->kind == STMT_RETURN;
  }
}

/// What follows a return was reported, so a return anywhere counts.
static bool block_returns(const block *b) {
  for (int i = 0; i < b->len; i++) {
    const stmt *s = b->data[i];
    if (s->kind == STMT_RETURN || (s->kind != STMT_LET && block_returns(&s->body))) return true;
  }
  return false;
}

static void note_unused(walk *w) {
  for (int i = 0; i < w->lets.len; i++) {
    const let_name *n = w->lets.data[i];
    if (!n->used && n->name.ptr[0] != '_') vec_push(w->p->arena, &w->p->unused, n);
  }
}

void program_warn_unused(program *p) {
  for (int i = 0; i < p->unused.len; i++) {
    const let_name *n = p->unused.data[i];
    diag *d = diag_warning(p->diags, DIAG_unused_value, n->at, "`%.*s` is never used",
                           STR_FMT(n->name));
    diag_add_fixit(p->diags, d, (span){n->at.file, n->at.begin, n->at.begin}, "_");
  }
}

static void walk_func(walk *w) {
  func *f = w->f;
  for (int i = 0; i < f->params.len; i++) {
    param *one = &f->params.data[i];
    let_name *n = arena_new(w->p->arena, let_name);
    *n = (let_name){.name = one->name, .at = one->at};
    declare(w, n, false);
    walk_type(w, &one->type);
    if (one->kind == PARAM_AXES && i + 1 < f->params.len)
      diag_error(w->p->diags, DIAG_rest_misuse, one->at,
                 "`axis %.*s..` takes all further axes and must be the last parameter",
                 STR_FMT(one->name));
  }
  for (int i = 0; i < f->nresults; i++) walk_type(w, &f->results[i]);
  for (int i = 0; i < f->facts.len; i++) walk_expr(w, f->facts.data[i]);
  if (f->vjp.len) f->derivative = find_function(w->p, f->vjp);
  if (f->vjp.len && !f->derivative)
    unknown_function(w, &(expr){.name = f->vjp, .name_at = f->vjp_at, .at = f->vjp_at});
  walk_block(w, &f->body);
  if (!f->is_extern && !f->bad_syntax && !block_returns(&f->body))
    diag_error(w->p->diags, DIAG_missing_return, f->end_at, "`%.*s` ends without `return`",
               STR_FMT(f->name));
  if (!f->prelude) note_unused(w);
}

// ---- recursion

typedef struct call_graph {
  program *p;
  map walks;  // function name (by address of func) -> walk*
  vec(func *) path;
  vec(span) path_at;  // path_at[i]: where path[i] was called
} call_graph;

static void report_cycle(call_graph *cg, func *f, span at) {
  int from = cg->path.len - 1;
  while (cg->path.data[from] != f) from--;
  diag *d = diag_error(cg->p->diags, DIAG_recursion, at,
                       "`%.*s` calls itself; functions are inlined, so recursion cannot end",
                       STR_FMT(f->name));
  for (int i = from + 1; i < cg->path.len; i++)
    diag_add_note(cg->p->diags, d, cg->path_at.data[i], "through this call of `%.*s`",
                  STR_FMT(cg->path.data[i]->name));
  for (int i = from; i < cg->path.len; i++) cg->path.data[i]->state = FUNC_FAILED;
}

/// Depth first: whoever is on the path and met again is recursive. A call of a failed function
/// fails quietly later. The depth is the number of functions in a chain of calls, so it is bounded.
static void visit(call_graph *cg, func *f, span at) {
  walk *w = map_get(&cg->walks, MAP_KEY(f));
  if (!w) return;
  for (int i = 0; i < cg->path.len; i++)
    if (cg->path.data[i] == f) {
      if (f->state != FUNC_FAILED) report_cycle(cg, f, at);
      return;
    }
  if (f->state == FUNC_GOOD) return;
  if (cg->path.len >= MAX_NESTING) {
    diag_error(cg->p->diags, DIAG_inline_depth, at, "more than %d functions call one another",
               MAX_NESTING);
    f->state = FUNC_FAILED;
    return;
  }
  bool failed = f->state == FUNC_FAILED;
  vec_push(cg->p->arena, &cg->path, f);
  vec_push(cg->p->arena, &cg->path_at, at);
  int len = w->callees.len;
  w->callees.len = 0;  // each function's calls are followed once
  for (int i = 0; i < len; i++) visit(cg, w->callees.data[i], w->call_at.data[i]);
  cg->path.len--;
  cg->path_at.len--;
  if (!failed && f->state == FUNC_NEW) f->state = FUNC_GOOD;
}

bool program_load(program *p, uint32_t file) {
  int errors = p->diags->errors;
  load_files(p, file);
  for (int i = 0; i < p->units.len; i++)
    for (int k = 0; k < p->units.data[i]->funcs.len; k++)
      add_function(p, p->units.data[i]->funcs.data[k], i == 0, i == 1);
  call_graph cg = {.p = p};
  for (int i = 0; i < p->units.len; i++)
    for (int k = 0; k < p->units.data[i]->funcs.len; k++) {
      walk *w = arena_new(p->arena, walk);
      *w = (walk){.p = p, .f = p->units.data[i]->funcs.data[k]};
      walk_func(w);
      map_put(p->arena, &cg.walks, MAP_KEY(w->f), w);
    }
  for (int i = 0; i < cg.walks.len; i++) {
    walk *w = cg.walks.entries[i].value;
    visit(&cg, w->f, w->f->name_at);
  }
  return p->diags->errors == errors;
}
