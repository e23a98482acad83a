// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of a long program that differ in their constants alone are one function, which reads them:
//
//   block.constants = { the constants of the kernel, in the order of its statements }
//
// The word stands behind the buffers of the step that has most.
#include "codegen/cpu/cpu.h"

static bool is_read(const tstmt *s) {
  dtype t = s->out[0]->type;
  // Zeros begin sums, and are cheap.
  return (t == DT_f32 || t == DT_f64) && s->value.f != 0;
}

/// Constants in the order of statements: all, or those that are read.
static void collect(const tregion *r, bool all, constants *out, arena *a) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_CONST && (all || is_read(s))) vec_push(a, out, s);
    collect(s->body, all, out, a);
    collect(s->other, all, out, a);
  }
}

/// The text of the kernel without its name and the constants that are read.
static str text_without(arena *a, const kernel *k) {
  strbuf all = sb_new(a), rest = sb_new(a);
  constants written = {0};
  int next = 0;
  kernel_print(k, &all);
  collect(&k->body, true, &written, a);
  for (const char *line = strchr(all.data, '('); *line;) {
    const char *end = strchr(line, '\n'), *found = strstr(line, " = const ");
    if (!end) end = line + strlen(line);
    bool blank = found && found < end && is_read(written.data[next++]);
    const char *type = blank ? strstr(found, " : ") : end;
    sb_printf(&rest, "%.*s", (int)((blank ? found : end) - line), line);
    sb_printf(&rest, "%.*s\n", (int)(end - type), type);
    line = *end ? end + 1 : end;
  }
  return sb_str(&rest);
}

int *kernels_like(arena *a, const program *p) {
  int n = p->kernels.len, *like = arena_array(a, int, n);
  int *members = arena_array(a, int, n);
  map seen = {0};
  for (int i = 0; i < n; i++) {
    int *first = NULL;
    str text = text_without(a, p->kernels.data[i]);
    first = map_get(&seen, text);
    if (!first) map_put(a, &seen, text, first = arena_copy(a, &i, sizeof i));
    like[i] = *first;
    members[like[i]]++;
  }
  for (int i = 0; i < n; i++)
    if (members[like[i]] == 1) like[i] = -1;
  return like;
}

int constants_word(const program *p) {
  int most = 0;
  for (int i = 0; i < p->steps.len; i++)
    if (p->steps.data[i].nbufs > most) most = p->steps.data[i].nbufs;
  return ARG_SYMBOLS + p->symbols.len + most;
}

lval constants_table(emit *e, arena *a, const kernel *k) {
  constants all = {0};
  collect(&k->body, false, &all, a);
  if (!all.len) return LLVMConstNull(e->ptr);
  lval *words = arena_array(a, lval, all.len);
  for (int i = 0; i < all.len; i++) {
    int64_t bits = 0;
    scalar_store(&bits, all.data[i]->out[0]->type, all.data[i]->value);
    words[i] = emit_int(e->i64, bits);
  }
  str name = str_printf(a, "%.*s.constants", STR_FMT(k->name));
  return constant_new(e, name, LLVMConstArray2(e->i64, words, (uint64_t)all.len), false, 8);
}

void constants_open(kgen *g) {
  collect(&g->k->body, false, &g->constants, g->arena);
  LLVMBuilderRef b = level_builder(g, 0);
  lval at = int64(g, 8 * (int64_t)constants_word(g->program));
  lval word = LLVMBuildGEP2(b, g->e->i8, LLVMGetParam(g->function, 0), &at, 1, "");
  g->constant_words = LLVMBuildLoad2(b, g->e->ptr, word, "");
}

lval constant_read(kgen *g, const tstmt *s) {
  for (int i = 0; i < g->constants.len; i++) {
    if (g->constants.data[i] != s) continue;
    LLVMBuilderRef b = level_builder(g, 0);
    lval at = int64(g, 8 * (int64_t)i);
    lval word = LLVMBuildGEP2(b, g->e->i8, g->constant_words, &at, 1, "");
    lval x = LLVMBuildLoad2(b, emit_type(g->e, s->out[0]->type, 0), word, "");
    unsigned invariant = LLVMGetMDKindIDInContext(g->e->context, "invariant.load", 14);
    LLVMSetMetadata(x, invariant,
                    LLVMMetadataAsValue(g->e->context,
                                        LLVMMDNodeInContext2(g->e->context, NULL, 0)));
    return x;
  }
  return NULL;
}
