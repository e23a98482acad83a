// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The outside of a function: its params, results and size symbols, whichever level it was read
// from, and the binding of symbols by the sizes of arguments.
#pragma once
#include "ir/tile.h"
#include "runtime/tensor.h"

typedef struct sig_value {
  char *name;
  dtype type;
  int rank;
  ix dims[MAX_AXES];
  const char *axes[MAX_AXES];
  const char *sizes[MAX_AXES];  // as text
} sig_value;

typedef struct signature {
  ix_pool *ix;
  sig_value *params, *results;
  int nparams, nresults;
  char **symbols;
  int nsymbols;
} signature;

signature signature_of_graph(arena *a, graph *g);
signature signature_of_program(arena *a, struct program *p);

/// Finds sizes[symbol] from the dims of the params (ir/sizes.h); all axes are checked, and the
/// `where` facts too. False with a text that names the arguments.
bool signature_bind(const signature *s, const tensor *const *args, int64_t *sizes, arena *a,
                    str *why);
/// The sizes given (entries < 0 are unknown) keep the `where` facts; false with the one that does not.
bool signature_keeps_facts(const signature *s, const int64_t *sizes, arena *a, str *why);
/// dims of a value under a binding; false with the missing symbol's name.
bool signature_dims(const signature *s, const sig_value *v, const int64_t *sizes, int64_t *dims,
                    str *missing);
int signature_symbol(const signature *s, str name);  // -1 absent
/// "where T % 4 == 0, T <= 128" with `before` for "where ": of the symbols whose size is unknown (known[k] < 0;
/// null: none is known). False: there are none, and nothing is written.
bool signature_put_facts(const signature *s, const int64_t *known, const char *before, strbuf *out);
