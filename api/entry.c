// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where the host enters the library: a session takes one call at a time, and what runs in it has the
// default floating point modes.
#include "api/session.h"

tcf_status entry_open(entry *e, tcf_session *s) {
  // The message is left alone: it belongs to whoever is inside.
  if (!s || atomic_exchange_explicit(&s->busy, true, memory_order_acquire)) return TCF_WRONG_USE;
  *e = (entry){s, float_modes_enter(false)};
  return TCF_OK;
}

tcf_status entry_open_function(entry *e, const tcf_function *f) {
  return f ? entry_open(e, f->program->session) : TCF_WRONG_USE;
}

void entry_open_tensors(entry *e, tcf_session **s) {
  if (!*s || entry_open(e, *s)) {
    *s = NULL;
    *e = (entry){NULL, float_modes_enter(false)};
  }
}

tcf_status entry_close(entry *e, tcf_status status) {
  float_modes_leave(e->modes);
  if (e->session) atomic_store_explicit(&e->session->busy, false, memory_order_release);
  return status;
}

tcf_status need(tcf_session *s, const void *pointer, const char *what) {
  return pointer ? TCF_OK : session_fail(s, TCF_WRONG_USE, "%s is missing (NULL)", what);
}

tcf_status need_sizes(tcf_session *s, const tcf_size *sizes, size_t n) {
  tcf_status status = n ? need(s, sizes, "the list of sizes") : TCF_OK;
  for (size_t i = 0; !status && i < n; i++) status = need(s, sizes[i].name, "the name of a size");
  return status;
}
