// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See runtime/library.h.
#include "runtime/library.h"

#include <stdio.h>

static bool check_symbol(const tcf_library_symbol *s, int64_t v, error *e) {
  long long least = s->least, most = s->most, multiple = s->multiple_of;
  if (v < s->least || v > s->most)
    return error_set(e, ERROR_USAGE, "%s = %lld, but the function demands %s %s %lld", s->name,
                     (long long)v, s->name,
                     v < s->least ? ">=" : "<=", v < s->least ? least : most);
  if (multiple > 1 && v % multiple)
    return error_set(e, ERROR_USAGE, "%s = %lld, but the function demands a multiple of %lld",
                     s->name, (long long)v, multiple);
  return true;
}

static const char *what(const tcf_library_pointer *p) {
  return p->is_result ? "result" : "argument";
}

/// There, and at a multiple of what is demanded. An array without elements may be null.
static bool check_pointer(const tcf_library_pointer *p, const void *data, int64_t bytes,
                          int64_t alignment, error *e) {
  if (p->alignment > alignment) alignment = p->alignment;
  if (!data && bytes) return error_set(e, ERROR_USAGE, "%s %s is missing", what(p), p->name);
  if ((uintptr_t)data % (uintptr_t)alignment)
    return error_set(e, ERROR_USAGE, "%s %s is not at a multiple of %lld bytes", what(p), p->name,
                     (long long)alignment);
  return true;
}

/// Result i shares no memory with the pointers before it: all parameters, and other results.
static bool check_result(const tcf_library *l, void *const *pointers, const int64_t *bytes,
                         int64_t i, error *e) {
  uintptr_t at = (uintptr_t)pointers[i];
  for (int64_t k = 0; k < i; k++) {
    uintptr_t other = (uintptr_t)pointers[k];
    bool apart = at < other ? other - at >= (uintptr_t)bytes[i] : at - other >= (uintptr_t)bytes[k];
    if (!bytes[i] || !bytes[k] || apart) continue;
    return error_set(e, ERROR_USAGE, "result %s shares memory with %s %s", l->pointers[i].name,
                     what(&l->pointers[k]), l->pointers[k].name);
  }
  return true;
}

static bool check_pointers(const tcf_library *l, void *const *pointers, const int64_t *bytes,
                           int64_t alignment, error *e) {
  for (int64_t i = 0; i < l->npointers; i++)
    if (!check_pointer(&l->pointers[i], pointers[i], bytes[i], alignment, e)) return false;
  for (int64_t i = 0; i < l->npointers; i++)
    if (l->pointers[i].is_result && !check_result(l, pointers, bytes, i, e)) return false;
  return true;
}

int32_t library_check(const tcf_library *l, void *const *pointers, const int64_t *symbols,
                      int64_t alignment, int64_t *bytes, error *e) {
  for (int64_t k = 0; k < l->nsymbols; k++)
    if (!check_symbol(&l->symbols[k], symbols[k], e)) return TCF_CALL_ARGUMENTS;
  int32_t negative = l->negative(symbols);
  if (negative >= 0) {
    error_set(e, ERROR_USAGE, "%s would have a negative size", l->lengths[negative]);
    return TCF_CALL_ARGUMENTS;
  }
  l->bytes(symbols, bytes);
  return check_pointers(l, pointers, bytes, alignment, e) ? TCF_CALL_OK : TCF_CALL_ARGUMENTS;
}

int32_t library_index_error(const tcf_library *l, int64_t site, int64_t index,
                            const int64_t *symbols, error *e) {
  for (int64_t i = 0; i < l->nsites; i++) {
    const tcf_library_site *s = &l->sites[i];
    if (s->site != site - 1) continue;
    int64_t size = symbols ? l->axis_size(symbols, i) : -1;
    char of_size[40] = "";
    if (size >= 0) snprintf(of_size, sizeof of_size, " of size %lld", (long long)size);
    error_set(e, ERROR_USAGE, "%s: index %lld is outside of %s%s%s", s->place, (long long)index,
              s->axis ? "axis " : "an axis", s->axis ? s->axis : "", of_size);
    return TCF_CALL_INDEX;
  }
  error_set(e, ERROR_USAGE, "index %lld is outside of an axis", (long long)index);
  return TCF_CALL_INDEX;
}
