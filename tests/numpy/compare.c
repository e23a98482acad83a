// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the functions of cases/*.tdsl on the stored inputs and compares with what NumPy gave.
//
// usage: numpy-cases [--target TARGET] FOLDER GROUP...
//
// The archive's keys are described in make_cases.py. One line per failure; the last line is
// "N passed, N failed".
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

enum { MAX_ARGS = 16, MAX_RESULTS = 8 };

typedef struct runner {
  tcf_session *session;
  tcf_program *program;
  tcf_archive *archive;
  int passed, failed;
} runner;

static void on_diagnostic(void *user, const tcf_diagnostic *d) {
  (void)user;
  if (d->severity == TCF_ERROR) fprintf(stderr, "%s\n", d->text);
}

static tcf_tensor *stored(runner *r, const char *prefix, const char *name) {
  char key[256];
  tcf_tensor *t = NULL;
  snprintf(key, sizeof key, "%s.%s", prefix, name);
  return tcf_archive_load(r->session, r->archive, key, &t) ? NULL : t;
}

/// |got - wanted| <= absolute + relative |wanted|; the first element outside is described.
static bool compare(const tcf_tensor *got, const tcf_tensor *wanted, const double *tolerance,
                    char *why, size_t size) {
  bool same = tcf_tensor_dtype(got) == tcf_tensor_dtype(wanted) &&
              tcf_tensor_rank(got) == tcf_tensor_rank(wanted);
  for (int i = 0; same && i < tcf_tensor_rank(got); i++)
    same = tcf_tensor_dims(got)[i] == tcf_tensor_dims(wanted)[i];
  if (!same) {
    snprintf(why, size, "another type or shape");
    return false;
  }
  for (int64_t i = 0; i < tcf_tensor_elements(got); i++) {
    double a = tcf_tensor_get(got, i), b = tcf_tensor_get(wanted, i);
    // Of integers beyond 2^53 the doubles may be equal where the numbers are not.
    bool equal = tcf_tensor_get_integer(got, i) == tcf_tensor_get_integer(wanted, i);
    if (equal && (a == b || (isnan(a) && isnan(b)))) continue;
    bool exact = tolerance[0] == 0 && tolerance[1] == 0;
    if (!exact && fabs(a - b) <= tolerance[0] + tolerance[1] * fabs(b) && !isinf(b)) continue;
    snprintf(why, size, "element %lld is %.9g, NumPy has %.9g", (long long)i, a, b);
    return false;
  }
  return true;
}

static bool call_case(runner *r, tcf_function *f, const char *prefix, char *why, size_t size) {
  tcf_tensor *args[MAX_ARGS] = {0}, *results[MAX_RESULTS] = {0}, *wanted = NULL;
  size_t nargs = tcf_function_params(f), nresults = tcf_function_results(f);
  tcf_tensor *bounds = stored(r, prefix, "tolerance");
  bool good = bounds && nargs <= MAX_ARGS && nresults <= MAX_RESULTS;
  for (size_t i = 0; i < nargs && good; i++) {
    tcf_value_info info;
    tcf_function_param(f, i, &info);
    args[i] = stored(r, prefix, info.name);
    good = args[i] != NULL;
  }
  if (!good) snprintf(why, size, "inputs are missing: %s", tcf_session_message(r->session));
  if (good && tcf_call(f, (const tcf_tensor *const *)args, nargs, results, nresults)) {
    snprintf(why, size, "%s", tcf_session_message(r->session));
    good = false;
  }
  for (size_t i = 0; i < nresults && good; i++) {
    char name[32] = "out";
    if (nresults > 1) snprintf(name, sizeof name, "out%zu", i);
    wanted = stored(r, prefix, name);
    good = wanted && compare(results[i], wanted, tcf_tensor_data(bounds), why, size);
    tcf_tensor_free(wanted);
  }
  tcf_tensor_free(bounds);
  for (size_t i = 0; i < nargs && i < MAX_ARGS; i++) tcf_tensor_free(args[i]);
  for (size_t i = 0; i < nresults && i < MAX_RESULTS; i++) tcf_tensor_free(results[i]);
  return good;
}

static void run_function(runner *r, tcf_function *f, const char *group) {
  const char *name = tcf_function_name(f);
  int runs = 0;
  for (size_t i = 0; i < tcf_archive_count(r->archive); i++) {
    const char *key = tcf_archive_name(r->archive, i);
    const char *hash = strchr(key, '#'), *dot = strrchr(key, '.');
    if (!hash || (size_t)(hash - key) != strlen(name) || strncmp(key, name, strlen(name))) continue;
    if (strcmp(dot, ".tolerance")) continue;
    char prefix[200], why[600] = "";
    snprintf(prefix, sizeof prefix, "%.*s", (int)(dot - key), key);
    runs++;
    if (call_case(r, f, prefix, why, sizeof why)) {
      r->passed++;
      continue;
    }
    r->failed++;
    printf("FAIL %s/%s: %s\n", group, prefix, why);
  }
  if (runs == 0) {
    r->failed++;
    printf("FAIL %s/%s: no stored cases\n", group, name);
  }
}

static bool run_group(runner *r, const char *folder, const char *group) {
  char path[1000];
  snprintf(path, sizeof path, "%s/%s.tdsl", folder, group);
  if (tcf_program_load_file(r->session, path, &r->program)) return false;
  snprintf(path, sizeof path, "%s/%s.npz", folder, group);
  if (tcf_archive_open(r->session, path, &r->archive)) return false;
  for (size_t i = 0; i < tcf_program_count(r->program); i++)
    run_function(r, tcf_program_at(r->program, i), group);
  tcf_archive_free(r->archive);
  tcf_program_free(r->program);
  return true;
}

int main(int argc, char **argv) {
  tcf_options options = {.size = sizeof options, .diagnostic = on_diagnostic, .cache_dir = ""};
  int at = 1;
  if (argc > 2 && !strcmp(argv[1], "--target")) {
    options.target = argv[2];
    at = 3;
  }
  runner r = {0};
  if (argc - at < 2 || tcf_session_new(&options, &r.session)) {
    fprintf(stderr, "usage: numpy-cases [--target TARGET] FOLDER GROUP...\n");
    return 2;
  }
  for (int i = at + 1; i < argc; i++) {
    if (run_group(&r, argv[at], argv[i])) continue;
    r.failed++;
    printf("FAIL %s: %s\n", argv[i], tcf_session_message(r.session));
  }
  tcf_session_free(r.session);
  printf("%d passed, %d failed\n", r.passed, r.failed);
  return r.failed ? 1 : 0;
}
