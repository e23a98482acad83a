// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Solving for size symbols: see ir/sizes.h.
//
//   x: f32[N, 2*M + 1], shape [3, 9]   ->   N = 3, M = 4
#include "ir/sizes.h"

size_system size_system_new(arena *a, const ix_pool *from, const str *symbols, int nsymbols) {
  size_system s = {.from = from, .nsymbols = nsymbols};
  ix_init(&s.pool, a);
  s.symbols = arena_array(a, size_symbol, nsymbols);
  for (int k = 0; k < nsymbols; k++) s.symbols[k] = (size_symbol){symbols[k], -1, -1};
  return s;
}

void size_system_add(size_system *s, ix size, int64_t value, int param) {
  vec_push(s->pool.arena, &s->equations, ((size_equation){size, value, param}));
}

size_symbol *size_system_find(const size_system *s, str name) {
  for (int k = 0; k < s->nsymbols; k++)
    if (str_eq(s->symbols[k].name, name)) return &s->symbols[k];
  return NULL;
}

static bool known_value(void *ctx, str name, int64_t *v) {
  const size_symbol *symbol = size_system_find(ctx, name);
  return symbol && (*v = symbol->value) >= 0;
}

ix size_system_bind(size_system *s, ix size) {
  return ix_bind(&s->pool, s->from, size, known_value, s);
}

/// True when a symbol became known.
static bool solve(size_system *s, const size_equation *e) {
  str name;
  int64_t coef, rest, by;
  if (!ix_linear(&s->pool, size_system_bind(s, e->size), &name, &coef, &rest)) return false;
  size_symbol *symbol = size_system_find(s, name);
  if (!symbol || __builtin_sub_overflow(e->value, rest, &by)) return false;
  if (by % coef || by / coef < 0) return false;
  symbol->value = by / coef;
  symbol->param = e->param;
  return true;
}

void size_system_solve(size_system *s) {
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < s->equations.len; i++) again |= solve(s, &s->equations.data[i]);
  }
}
