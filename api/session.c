// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sessions: options, messages, diagnostics, and the boundary that turns faults into statuses.
#include "api/session.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clocale.h"

const char *tcf_version(void) { return "0.1.0"; }

const char *tcf_status_name(tcf_status status) {
  static const char *const names[] = {
      [TCF_OK] = "ok",
      [TCF_WRONG_PROGRAM] = "wrong program",
      [TCF_WRONG_USE] = "wrong use",
      [TCF_WRONG_DATA] = "wrong data",
      [TCF_NO_FILE] = "no file",
      [TCF_BAD_FILE] = "bad file",
      [TCF_NO_MEMORY] = "out of memory",
      [TCF_UNAVAILABLE] = "not available",
      [TCF_INTERNAL] = "internal error",
  };
  return (unsigned)status <= TCF_INTERNAL ? names[status] : "unknown status";
}

tcf_status session_guard(tcf_session *s, tcf_status (*work)(void *), void *args) {
  fault_frame frame;
  volatile tcf_status status;
  if (fault_try(&frame)) {
    status = work(args);
  } else {
    status = frame.kind == FAULT_NOMEM ? TCF_NO_MEMORY : TCF_INTERNAL;
    if (s)
      session_fail(s, status, "%s%s", frame.kind == FAULT_PANIC ? "internal error: " : "",
                   frame.text);
  }
  fault_pop(&frame);
  return status;
}

tcf_status session_fail(tcf_session *s, tcf_status status, const char *format, ...) {
  if (!s) return status;
  va_list args;
  va_start(args, format);
  clocale_vsnprintf(s->message, sizeof s->message, format, args);
  va_end(args);
  return status;
}

tcf_status session_fail_error(tcf_session *s, const error *e) {
  static const tcf_status statuses[] = {[ERROR_NONE] = TCF_INTERNAL,
                                        [ERROR_FILE] = TCF_NO_FILE,
                                        [ERROR_FORMAT] = TCF_BAD_FILE,
                                        [ERROR_MEMORY] = TCF_NO_MEMORY,
                                        [ERROR_DEVICE] = TCF_UNAVAILABLE,
                                        [ERROR_USAGE] = TCF_WRONG_USE};
  return session_fail(s, statuses[e->kind], "%s", e->text);
}

char *text_for_caller(str text) {
  char *copy = malloc((size_t)text.len + 1);
  if (!copy) fault_raise(FAULT_NOMEM, "out of memory");
  if (text.len) memcpy(copy, text.ptr, (size_t)text.len);
  copy[text.len] = 0;
  return copy;
}

void tcf_text_free(char *text) { free(text); }

// ---- diagnostics

static void deliver(tcf_session *s, diag_list *list, const diag *d) {
  strbuf text = sb_new(list->arena);
  diag_render_text(list, d, s->flags & TCF_COLOR, &text);
  tcf_diagnostic out = {.severity = d->severity == DIAG_ERROR     ? TCF_ERROR
                                    : d->severity == DIAG_WARNING ? TCF_WARNING
                                                                  : TCF_NOTE,
                        .code = d->code,
                        .message = str_z(list->arena, d->text),
                        .text = text.data};
  if (d->at.file) {
    line_col at = diag_line_col(list, d->at);
    out.file = str_z(list->arena, list->files.data[d->at.file - 1].path);
    out.line = at.line;
    out.column = at.col;
  }
  s->diagnostic(s->diagnostic_user, &out);
}

tcf_status session_diagnose(tcf_session *s, diag_list *list, int from) {
  const diag *first = NULL;
  for (int i = from; i < list->items.len; i++) {
    const diag *d = list->items.data[i];
    if (!first && d->severity == DIAG_ERROR) first = d;
    if (s->diagnostic) deliver(s, list, d);
  }
  strbuf json = sb_new(list->arena);
  diag_render_json(list, &json);
  char *kept = text_for_caller(sb_str(&json));
  free(s->diagnostics_json);
  s->diagnostics_json = kept;
  if (!first) return TCF_OK;
  if (!first->at.file) return session_fail(s, TCF_WRONG_PROGRAM, "%.*s", STR_FMT(first->text));
  line_col at = diag_line_col(list, first->at);
  return session_fail(s, TCF_WRONG_PROGRAM, "%.*s:%d:%d: %.*s",
                      STR_FMT(list->files.data[first->at.file - 1].path), at.line, at.col,
                      STR_FMT(first->text));
}

tcf_status session_data_error(tcf_program *p, span at, str text) {
  // Of its own list, so that calls do not add up in the program's.
  diag_list once = p->diags;
  once.items.data = NULL;
  once.items.len = once.items.cap = once.errors = 0;
  once.suppressed = false;
  scratch kept;
  scratch_open(&kept);
  once.arena = &kept.arena;
  diag_error(&once, DIAG_index_out_of_range, at, "%.*s", STR_FMT(text));
  session_diagnose(p->session, &once, 0);
  scratch_close(&kept);
  return TCF_WRONG_DATA;
}

const char *tcf_session_diagnostics_json(tcf_session *s) {
  return s && s->diagnostics_json ? s->diagnostics_json : "[]\n";
}

const char *tcf_session_message(const tcf_session *s) { return s ? s->message : ""; }

// ---- making and freeing

/// "1" or "sm_90a".
static bool parse_device(tcf_session *s, const char *text) {
  char *end;
  long number = strtol(text, &end, 10);
  s->target = TARGET_CUDA;
  s->ordinal = -1;
  if (!strncmp(text, "sm_", 3)) return s->cpu = str_dup(&s->arena, str_from(text)), true;
  if (end == text || *end || number < 0 || number > 1023) return false;
  return s->ordinal = (int)number, true;
}

static bool parse_target(tcf_session *s, const char *target) {
  str t = str_from(target ? target : "cpu");
  if (str_eqz(t, "interp")) return s->target = TARGET_INTERP, true;
  if (str_eqz(t, "interp-tile")) return s->target = TARGET_INTERP_TILE, true;
  if (str_starts(t, STR("interp-tile:")))  // as lowered for that GPU
    return s->target = TARGET_INTERP_TILE, s->cpu = str_dup(&s->arena, (str){t.ptr + 12, t.len - 12}), true;
  if (str_eqz(t, "cuda")) return s->target = TARGET_CUDA, true;
  if (str_starts(t, STR("cuda:"))) return parse_device(s, target + 5);
  if (str_starts(t, STR("cpu:")) && t.len > 4)
    return s->cpu = str_dup(&s->arena, (str){t.ptr + 4, t.len - 4}), true;
  return str_eqz(t, "cpu");
}

static bool cpu_is_known(tcf_session *s, str *why) {
  target_info unused;
  return !s->cpu.len || s->target != TARGET_CPU ||
         codegen_cpu_target(&s->arena, s->cpu, &unused, why);
}

static unsigned unknown_flags(unsigned flags) {
  unsigned known = 0;
#define PASS_OPTION(flag, name) known |= TCF_##flag;
#define TARGET_OPTION(flag, name) PASS_OPTION(flag, name)
#define CALL_OPTION(flag, name) PASS_OPTION(flag, name)
#define TEXT_OPTION(flag, name) PASS_OPTION(flag, name)
#include "ir/options.def"
  return flags & ~known;
}

/// There is no session to ask for the message, so the callback gets it.
static tcf_status wrong_options(tcf_session *s, const tcf_options *o, str text) {
  if (!o->diagnostic) return TCF_WRONG_USE;
  str full = str_printf(&s->arena, "error: %.*s\n", STR_FMT(text));
  tcf_diagnostic d = {.severity = TCF_ERROR, .message = text.ptr, .text = full.ptr};
  o->diagnostic(o->diagnostic_user, &d);
  return TCF_WRONG_USE;
}

static tcf_status unknown_target(tcf_session *s, const tcf_options *o, str why) {
  return wrong_options(s, o,
                       str_printf(&s->arena, "there is no target \"%s\"%s%.*s", o->target,
                                  why.len ? ": " : "", STR_FMT(why)));
}

/// The host may go to another working directory before the cache is used.
static str absolute_directory(arena *a, const char *path) {
  char here[PATH_MAX];
  if (!*path || *path == '/' || !getcwd(here, sizeof here)) return str_dup(a, str_from(path));
  return str_printf(a, "%s/%s", here, path);
}

typedef struct new_args {
  const tcf_options *options;
  tcf_session *session;
} new_args;

static tcf_status set_options(void *args_) {
  new_args *args = args_;
  tcf_session *s = args->session;
  // A caller built against an older header has a shorter struct; what it lacks stays zero.
  tcf_options o = {0};
  if (args->options) {
    if (args->options->size < sizeof o.size) return TCF_WRONG_USE;
    memcpy(&o, args->options, args->options->size < sizeof o ? args->options->size : sizeof o);
  }
  str why = STR("it is cpu, cpu:NAME, cuda, cuda:N, cuda:sm_N, interp or interp-tile");
  if (o.threads < 0)
    return wrong_options(s, &o, str_printf(&s->arena, "%d threads: 0 stands for all CPUs", o.threads));
  if (!parse_target(s, o.target)) return unknown_target(s, &o, why);
  if (s->cpu.len && session_llvm_room(s)) return TCF_NO_MEMORY;
  if (!cpu_is_known(s, &why)) return unknown_target(s, &o, why);
  unsigned unknown = unknown_flags(o.flags);
  if (unknown)
    return wrong_options(s, &o, str_printf(&s->arena, "there are no such flags: %#x", unknown));
  enum { EXCLUSIVE = TCF_DETERMINISTIC | TCF_UNORDERED_SUMS };
  if ((o.flags & EXCLUSIVE) == EXCLUSIVE)
    return wrong_options(s, &o,
                         STR("results are either deterministic or of unordered sums, not both"));
  s->flags = o.flags;
  s->threads = o.threads > 0 ? o.threads : pool_cpus();
  s->parallel_for = o.parallel_for;
  s->parallel_user = o.parallel_user;
  s->diagnostic = o.diagnostic;
  s->diagnostic_user = o.diagnostic_user;
  s->trial = o.trial;
  s->trial_user = o.trial_user;
  if (o.memory_budget) s->budget_text = str_dup(&s->arena, str_from(o.memory_budget));
  if (o.memory_budget && !memory_budget_parse(s->budget_text, &s->budget))
    return wrong_options(s, &o,
                         str_printf(&s->arena,
                                    "a budget of memory is bytes (536870912, 1.5GB, 512MiB) or a "
                                    "share from 0.0 to 1.0 (0.5), not '%s'",
                                    o.memory_budget));
  if (!(o.recompute_slack <= 1))
    return wrong_options(s, &o, STR("the slack of recomputation is a share up to 1"));
  s->recompute_slack = o.recompute_slack;
  if (o.schedule) s->schedule = str_dup(&s->arena, str_from(o.schedule));
  s->cache_default_dir = !o.cache_dir;
  s->cache_wanted = !o.cache_dir || *o.cache_dir;
  if (o.cache_dir) s->cache_dir = absolute_directory(&s->arena, o.cache_dir);
  s->cache_bytes = o.cache_bytes;
  return TCF_OK;
}

tcf_status tcf_session_new(const tcf_options *options, tcf_session **session) {
  if (!session) return TCF_WRONG_USE;
  new_args args = {options, calloc(1, sizeof(tcf_session))};
  if (!args.session) return TCF_NO_MEMORY;
  entry e;
  entry_open(&e, args.session);
  tcf_status status = entry_close(&e, session_guard(args.session, set_options, &args));
  if (status)
    tcf_session_free(args.session);
  else
    *session = args.session;
  return status;
}

void tcf_session_free(tcf_session *s) {
  entry e;
  if (entry_open(&e, s)) return;  // null, or in use
  while (s->programs) program_free(s->programs);
  if (s->jit) jit_free(s->jit);
  pool_free(s->pool);
  cache_close(s->cache);
  free(s->cache_found_dir);
  host_release(s);
  call_memory_release(&s->memory);
  call_memory_release(&s->scratch);
  if (s->device) cuda_free(s->device, s->device_arena.data);
  cuda_close(s->device);
  free(s->diagnostics_json);
  arena_free(&s->arena);
  e.session = NULL;
  free(s);
  entry_close(&e, TCF_OK);
}
