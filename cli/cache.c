// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// cache list|verify|clear: the directory of compiled code.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

static const char *const tasks[] = {"list", "verify", "clear"};

typedef struct cache_view {
  tcf_cache_task task;
  json_t *entries;  // null: text
} cache_view;

/// "512 B", "12.3 KiB", "1.7 GiB"
static const char *size_text(uint64_t bytes, char text[32]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double v = (double)bytes;
  int unit = 0;
  while (v >= 1024 && unit < 4) v /= 1024, unit++;
  snprintf(text, 32, "%.*f %s", unit ? 1 : 0, v, units[unit]);
  return text;
}

static void print_row(const tcf_cache_entry *e) {
  char size[32], used[32] = "?";
  time_t when = (time_t)e->used;
  struct tm local;
  if (localtime_r(&when, &local)) strftime(used, sizeof used, "%Y-%m-%d %H:%M:%S", &local);
  printf("%-19s  %-8s  %10s  %s%s%s\n", used, *e->kind ? e->kind : "?", size_text(e->bytes, size),
         e->name, e->fault ? ": " : "", e->fault ? e->fault : "");
}

static void keep_object(json_t *entries, const tcf_cache_entry *e) {
  json_array_append_new(
      entries, json_pack("{s:s, s:s?, s:I, s:I, s:s?}", "name", e->name, "kind",
                         *e->kind ? e->kind : NULL, "bytes", (json_int_t)e->bytes, "used",
                         (json_int_t)e->used, "fault", e->fault));
}

/// `list` shows all of them, the other tasks what is wrong.
static void show_entry(void *view_, const tcf_cache_entry *e) {
  const cache_view *v = view_;
  if (v->entries) keep_object(v->entries, e);
  else if (v->task == TCF_CACHE_LIST) print_row(e);
  else if (v->task == TCF_CACHE_VERIFY && e->fault) printf("%s: %s\n", e->name, e->fault);
  if (v->task == TCF_CACHE_CLEAR && e->fault) complain("%s cannot be removed: %s", e->name, e->fault);
}

static const char *entries_text(uint64_t n, char text[40]) {
  snprintf(text, 40, "%llu %s", (unsigned long long)n, n == 1 ? "entry" : "entries");
  return text;
}

static void print_totals(const cache_view *v, const tcf_cache_totals *t) {
  char count[40], size[32];
  printf("%s%s, %s, in %s", v->task == TCF_CACHE_CLEAR ? "removed " : "",
         entries_text(t->entries, count), size_text(t->bytes, size), t->directory);
  if (v->task == TCF_CACHE_VERIFY)
    printf(t->faults ? ": %llu cannot be used" : ": all are sound", (unsigned long long)t->faults);
  if (t->others)
    printf("; %llu other file%s there", (unsigned long long)t->others, t->others == 1 ? "" : "s");
  putchar('\n');
}

static int print_json(const cache_view *v, const tcf_cache_totals *t) {
  json_t *root = json_pack("{s:s, s:s, s:O, s:I, s:I, s:I, s:I}", "task", tasks[v->task], "directory",
                           t->directory, "entries", v->entries, "count", (json_int_t)t->entries,
                           "bytes", (json_int_t)t->bytes, "faults", (json_int_t)t->faults, "others",
                           (json_int_t)t->others);
  char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (!text) return complain("%s cannot be said in JSON: it is not UTF-8", t->directory), EXIT_ENVIRONMENT;
  puts(text);
  free(text);
  return EXIT_DONE;
}

static int go_through(tcf_session *s, tcf_cache_task task, bool json) {
  cache_view v = {task, json ? json_array() : NULL};
  tcf_cache_totals totals = {.size = sizeof totals};
  if (json && !v.entries) return no_memory();
  int status = report(s, tcf_session_cache(s, task, show_entry, &v, &totals));
  if (!status && json) status = print_json(&v, &totals);
  else if (!status) print_totals(&v, &totals);
  json_decref(v.entries);
  if (status || !totals.faults || task == TCF_CACHE_LIST) return status;
  return task == TCF_CACHE_VERIFY ? EXIT_CHECK : EXIT_ENVIRONMENT;
}

/// The task's number; -1: there is none, said.
static int task_of(const strings *words) {
  enum { COUNT = sizeof tasks / sizeof *tasks };
  if (words->count != 1) return complain("cache takes list, verify or clear"), -1;
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(words->items[0], tasks[i])) return i;
  const char *near = nearest(words->items[0], tasks, COUNT);
  complain("cache takes list, verify or clear, not '%s'%s%s%s", words->items[0],
           near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
  return -1;
}

int cache_command(int argc, char **argv) {
  common o = {0};
  const char *format = "text";
  const option options[] = {
      {"--cache-dir", 0, OPTION_VALUE, "DIR", "the directory (default: that of compiled code)",
       &o.cache_dir},
      {"--format", 0, OPTION_VALUE, "FORMAT", "text or json", &format, "text json"},
      {0}};
  const command *c = find_command("cache");
  strings words = {0};
  bool help = false;
  tcf_session *s = NULL;
  int status = parse_options(c, options, argc, argv, &words, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help) {
    int task = task_of(&words);
    bool json = !strcmp(format, "json");
    if (task < 0) status = EXIT_USAGE;
    else if (!json && strcmp(format, "text"))
      status = (complain("--format is text or json, not '%s'", format), EXIT_USAGE);
    if (!status) status = open_session(&o, "interp", &s);
    if (!status) status = go_through(s, (tcf_cache_task)task, json);
  }
  tcf_session_free(s);
  strings_free(&words);
  return flushed(status);
}
