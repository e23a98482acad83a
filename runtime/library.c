// See runtime/library.h.
#include "runtime/library.h"

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

int32_t library_check(const tcf_library *l, void *const *pointers, const int64_t *symbols,
                      size_t alignment, error *e) {
  for (int64_t k = 0; k < l->nsymbols; k++)
    if (!check_symbol(&l->symbols[k], symbols[k], e)) return TCF_CALL_ARGUMENTS;
  int32_t negative = l->negative(symbols);
  if (negative >= 0) {
    error_set(e, ERROR_USAGE, "%s would have a negative size", l->lengths[negative]);
    return TCF_CALL_ARGUMENTS;
  }
  for (int64_t i = 0; i < l->npointers; i++)
    if ((uintptr_t)pointers[i] % alignment) {
      error_set(e, ERROR_USAGE, "argument %lld is not at a multiple of %zu bytes", (long long)i + 1,
                alignment);
      return TCF_CALL_ARGUMENTS;
    }
  return TCF_CALL_OK;
}

int32_t library_index_error(const tcf_library *l, int64_t site, int64_t index, error *e) {
  for (int64_t i = 0; i < l->nsites; i++) {
    const tcf_library_site *s = &l->sites[i];
    if (s->site != site - 1) continue;
    error_set(e, ERROR_USAGE, "%s: index %lld is outside of %s%s", s->place, (long long)index,
              s->axis ? "axis " : "an axis", s->axis ? s->axis : "");
    return TCF_CALL_INDEX;
  }
  error_set(e, ERROR_USAGE, "index %lld is outside of an axis", (long long)index);
  return TCF_CALL_INDEX;
}
