// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The session's cache directory as hosts look after it: runtime/cache_folder.c does the work.
#include <string.h>

#include "api/session.h"

typedef struct cache_report {
  tcf_cache_callback found;
  void *user;
} cache_report;

static void report_entry(void *report_, const cache_finding *f) {
  const cache_report *r = report_;
  if (!r->found) return;
  tcf_cache_entry entry = {.name = f->item->name,
                           .kind = f->kind,
                           .fault = f->fault,
                           .bytes = f->item->size,
                           .used = f->item->used_s};
  r->found(r->user, &entry);
}

/// The session's directory; null, said: there is none.
static const char *directory_of(tcf_session *s) {
  if (!s->cache_wanted)
    return session_fail(s, TCF_WRONG_USE, "the session has no cache: its directory is \"\""), NULL;
  if (!s->cache_default_dir) return s->cache_dir.ptr;
  if (!s->cache_found_dir) s->cache_found_dir = cache_default_directory();
  if (!s->cache_found_dir)
    session_fail(s, TCF_NO_FILE,
                 "there is no cache directory: XDG_CACHE_HOME and HOME name none that begins with /");
  return s->cache_found_dir;
}

static tcf_status go_through(tcf_session *s, tcf_cache_task task, cache_report *report,
                             tcf_cache_totals *out) {
  error e;
  cache_totals all;
  const char *directory = directory_of(s);
  if (!directory) return s->cache_wanted ? TCF_NO_FILE : TCF_WRONG_USE;
  if (!cache_go_through(directory, (cache_task)task, s->cache_default_dir, report_entry, report, &all,
                        &e))
    return session_fail_error(s, &e);
  tcf_cache_totals totals = {.size = out->size,
                             .directory = directory,
                             .entries = all.entries,
                             .bytes = all.bytes,
                             .faults = all.faults,
                             .others = all.others};
  memcpy(out, &totals, out->size < sizeof totals ? out->size : sizeof totals);
  return TCF_OK;
}

tcf_status tcf_session_cache(tcf_session *s, tcf_cache_task task, tcf_cache_callback found,
                             void *user, tcf_cache_totals *totals) {
  entry e;
  tcf_status status = entry_open(&e, s);
  if (status) return status;
  status = need(s, totals, "the totals");
  if (!status && totals->size < sizeof *totals)
    status = session_fail(s, TCF_WRONG_USE, "the size of the totals is not set");
  if (!status && (unsigned)task > TCF_CACHE_CLEAR)
    status = session_fail(s, TCF_WRONG_USE, "there is no task %d of the cache", (int)task);
  if (!status) status = go_through(s, task, &(cache_report){found, user}, totals);
  return entry_close(&e, status);
}
