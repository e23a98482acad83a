// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Wrong use of the public header: every function with every pointer missing in turn, and a session
// that is in use already.
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcc_fuse.h"

static const char text[] =
    "extern fn h(x: f32[N]) -> f32[N]\n"
    "fn f(x: f32[N, M]) -> f32[N, M] { return x * 2.0 }\n"
    "fn g(x: f32[N]) -> f32[N] { return h(x) + 1.0 }\n";

static char tried[16384];  // the calls of the table, as text

static void note(const char *call) {
  size_t used = strlen(tried);
  cr_assert_lt(used + strlen(call) + 2, sizeof tried);
  snprintf(tried + used, sizeof tried - used, "%s\n", call);
}

static void wrong(const tcf_session *s, tcf_status status, const char *call) {
  note(call);
  cr_expect_eq(status, TCF_WRONG_USE, "%s is %s", call, tcf_status_name(status));
  // Without a session there is nobody to ask.
  if (!strstr(call, "(NULL"))
    cr_expect(strstr(tcf_session_message(s), "NULL"), "%s: %s", call, tcf_session_message(s));
}

#define WRONG(call) wrong(s, (call), #call)
#define IS(call, value)                        \
  do {                                         \
    note(#call);                               \
    cr_expect((call) == (value), "%s", #call); \
  } while (0)
#define HARMLESS(call) (note(#call), (void)(call))

typedef struct world {
  tcf_session *s;
  tcf_program *p;
  tcf_function *f;
  tcf_tensor *x, *y;
} world;

static world make_world(const char *target) {
  world w;
  int64_t dims[2] = {2, 3};
  tcf_options o = {.size = sizeof o, .target = target, .cache_dir = "", .threads = 2};
  cr_assert_eq(tcf_session_new(&o, &w.s), TCF_OK);
  cr_assert_eq(tcf_program_load(w.s, "t", text, strlen(text), &w.p), TCF_OK, "%s",
               tcf_session_message(w.s));
  w.f = tcf_program_function(w.p, "f");
  cr_assert_eq(tcf_tensor_new(w.s, TCF_F32, 2, dims, &w.x), TCF_OK);
  cr_assert_eq(tcf_tensor_new(w.s, TCF_F32, 2, dims, &w.y), TCF_OK);
  tcf_tensor_fill(w.x, 1);
  return w;
}

static void free_world(world *w) {
  tcf_tensor_free(w->x);
  tcf_tensor_free(w->y);
  tcf_session_free(w->s);
}

static int host(void *user, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  (void)user, (void)in, (void)nin, (void)out;
  return 0;
}

static void plain(void) {}

static void of_sessions(world *w) {
  tcf_session *s = w->s;
  const char *name, *summary;
  tcf_device_info info = {.size = sizeof info};
  WRONG(tcf_session_new(NULL, NULL));
  HARMLESS(tcf_session_free(NULL));
  IS(*tcf_session_message(NULL), 0);
  IS(*tcf_session_diagnostics_json(NULL), '[');
  tcf_cache_totals totals = {.size = sizeof totals};
  WRONG(tcf_session_cache(NULL, TCF_CACHE_LIST, NULL, NULL, &totals));
  WRONG(tcf_session_cache(s, TCF_CACHE_LIST, NULL, NULL, NULL));
  WRONG(tcf_session_device(NULL, &info));
  WRONG(tcf_session_device(s, NULL));
  WRONG(tcf_synchronize(NULL));
  IS(tcf_list_row(TCF_LIST_OPS, 0, NULL, NULL, &summary), 0);
  IS(tcf_list_row(TCF_LIST_OPS, 0, NULL, &name, NULL), 0);
  IS(tcf_list_row((tcf_list)77, 0, NULL, &name, &summary), 0);
  IS(strcmp(tcf_status_name((tcf_status)99), "unknown status"), 0);
  IS(tcf_dtype_size((tcf_dtype)99), 0);
  IS(strcmp(tcf_dtype_name((tcf_dtype)99), "unknown"), 0);
  IS(strcmp(tcf_version(), "") > 0, 1);
  HARMLESS(tcf_text_free(NULL));
  WRONG(tcf_register_extern(NULL, "h", host, NULL));
  WRONG(tcf_register_extern(s, NULL, host, NULL));
  WRONG(tcf_register_extern(s, "h", NULL, NULL));
  WRONG(tcf_register_extern_c(NULL, "h", plain, "(f32[N]) -> f32[N]"));
  WRONG(tcf_register_extern_c(s, NULL, plain, "(f32[N]) -> f32[N]"));
  WRONG(tcf_register_extern_c(s, "h", NULL, "(f32[N]) -> f32[N]"));
  WRONG(tcf_register_extern_c(s, "h", plain, NULL));
}

static void of_tensors(world *w) {
  tcf_session *s = w->s;
  tcf_tensor *out;
  tcf_difference difference;
  struct DLManagedTensor *managed;
  int64_t dims[2] = {2, 3};
  double rate;
  WRONG(tcf_tensor_new(s, TCF_F32, 2, NULL, &out));
  WRONG(tcf_tensor_new(s, TCF_F32, 2, dims, NULL));
  WRONG(tcf_tensor_new(NULL, TCF_F32, 2, NULL, &out));
  WRONG(tcf_tensor_borrow(s, TCF_F32, 2, NULL, NULL, dims, &out));
  WRONG(tcf_tensor_borrow(s, TCF_F32, 2, dims, NULL, dims, NULL));
  cr_expect_eq(tcf_tensor_borrow(s, TCF_F32, 2, dims, NULL, NULL, &out), TCF_WRONG_USE);
  WRONG(tcf_tensor_new_device(NULL, TCF_F32, 2, dims, &out));
  WRONG(tcf_tensor_new_device(s, TCF_F32, 2, NULL, &out));
  WRONG(tcf_tensor_new_device(s, TCF_F32, 2, dims, NULL));
  WRONG(tcf_tensor_borrow_device(NULL, TCF_F32, 2, dims, NULL, dims, &out));
  WRONG(tcf_tensor_borrow_device(s, TCF_F32, 2, NULL, NULL, dims, &out));
  WRONG(tcf_tensor_borrow_device(s, TCF_F32, 2, dims, NULL, dims, NULL));
  HARMLESS(tcf_tensor_free(NULL));
  HARMLESS(tcf_tensor_dtype(NULL));
  IS(tcf_tensor_rank(NULL), 0);
  IS(tcf_tensor_dims(NULL), NULL);
  IS(tcf_tensor_strides(NULL), NULL);
  IS(tcf_tensor_data(NULL), NULL);
  IS(tcf_tensor_elements(NULL), 0);
  IS(tcf_tensor_device(NULL), -1);
  IS(isnan(tcf_tensor_get(NULL, 0)), 1);
  IS(isnan(tcf_tensor_get(w->x, 6)) && isnan(tcf_tensor_get(w->x, -1)), 1);
  IS(tcf_tensor_get_integer(NULL, 0), 0);
  IS(tcf_tensor_get_integer(w->x, 99), 0);
  HARMLESS(tcf_tensor_fill_random(NULL, 0));
  HARMLESS(tcf_tensor_fill_uniform(NULL, 0, 0, 1));
  HARMLESS(tcf_tensor_fill(NULL, 0));
  HARMLESS(tcf_tensor_fill_iota(NULL));
  WRONG(tcf_tensor_compare(s, NULL, w->x, 0, &difference));
  WRONG(tcf_tensor_compare(s, w->x, NULL, 0, &difference));
  WRONG(tcf_tensor_compare(s, w->x, w->x, 0, NULL));
  WRONG(tcf_tensor_copy(s, NULL, w->x));
  WRONG(tcf_tensor_copy(s, w->x, NULL));
  WRONG(tcf_tensor_from_dlpack(NULL, NULL, &out));
  WRONG(tcf_tensor_from_dlpack(s, NULL, &out));
  WRONG(tcf_tensor_from_dlpack(s, (struct DLManagedTensor *)dims, NULL));
  WRONG(tcf_tensor_to_dlpack(s, NULL, &managed));
  WRONG(tcf_tensor_to_dlpack(s, w->x, NULL));
  WRONG(tcf_device_copy_rate(NULL, 1 << 20, 0, &rate));
  WRONG(tcf_device_copy_rate(s, 1 << 20, 0, NULL));
}

static void of_files(world *w) {
  tcf_session *s = w->s;
  tcf_tensor *out;
  tcf_archive *a;
  char path[] = "/tmp/tcc-fuse-misuse-XXXXXX.npz";
  close(mkstemps(path, 4));
  tcf_output output = {.path = path, .name = "x", .tensor = w->x};
  cr_assert_eq(tcf_save(NULL, &output, 1), TCF_OK);
  cr_assert_eq(tcf_archive_open(s, path, &a), TCF_OK);
  remove(path);
  WRONG(tcf_npy_load(s, NULL, &out));
  WRONG(tcf_npy_load(s, "x.npy", NULL));
  WRONG(tcf_archive_open(s, NULL, &a));
  WRONG(tcf_archive_open(s, "x.npz", NULL));
  HARMLESS(tcf_archive_free(NULL));
  IS(tcf_archive_count(NULL), 0);
  IS(tcf_archive_name(NULL, 0), NULL);
  WRONG(tcf_archive_load(s, NULL, "x", &out));
  WRONG(tcf_archive_load(s, a, NULL, &out));
  WRONG(tcf_archive_load(s, a, "x", NULL));
  WRONG(tcf_save(s, NULL, 1));
  output.path = NULL;
  WRONG(tcf_save(s, &output, 1));
  output = (tcf_output){.path = path, .size = 3};
  WRONG(tcf_save(s, &output, 1));
  tcf_archive_free(a);
}

static void of_programs(world *w) {
  tcf_session *s = w->s;
  tcf_program *p;
  tcf_value_info info;
  int64_t dims[TCF_MAX_RANK];
  tcf_size sizes[] = {{"N", 2}, {NULL, 3}};
  WRONG(tcf_program_load_file(NULL, "x.tdsl", &p));
  WRONG(tcf_program_load_file(s, NULL, &p));
  WRONG(tcf_program_load_file(s, "x.tdsl", NULL));
  WRONG(tcf_program_load(NULL, "t", text, 3, &p));
  WRONG(tcf_program_load(s, NULL, text, 3, &p));
  WRONG(tcf_program_load(s, "t", NULL, 3, &p));
  WRONG(tcf_program_load(s, "t", text, 3, NULL));
  HARMLESS(tcf_program_free(NULL));
  IS(tcf_program_count(NULL), 0);
  IS(tcf_program_at(NULL, 0), NULL);
  IS(tcf_program_is_tile(NULL), 0);
  IS(tcf_program_function(NULL, "f"), NULL);
  IS(tcf_program_function(w->p, NULL), NULL);
  IS(tcf_function_name(NULL), NULL);
  IS(tcf_function_params(NULL), 0);
  IS(tcf_function_results(NULL), 0);
  IS(tcf_function_symbols(NULL), 0);
  IS(tcf_function_symbol(NULL, 0), NULL);
  WRONG(tcf_function_param(NULL, 0, &info));
  WRONG(tcf_function_param(w->f, 0, NULL));
  WRONG(tcf_function_result(NULL, 0, &info));
  WRONG(tcf_function_result(w->f, 0, NULL));
  WRONG(tcf_function_param_dims(NULL, 0, sizes, 1, dims));
  WRONG(tcf_function_param_dims(w->f, 0, NULL, 1, dims));
  WRONG(tcf_function_param_dims(w->f, 0, sizes, 1, NULL));
  WRONG(tcf_function_param_dims(w->f, 0, sizes, 2, dims));
  WRONG(tcf_function_result_dims(NULL, 0, sizes, 1, dims));
  WRONG(tcf_function_result_dims(w->f, 0, NULL, 1, dims));
  WRONG(tcf_function_result_dims(w->f, 0, sizes, 1, NULL));
  WRONG(tcf_function_result_dims(w->f, 0, sizes, 2, dims));
  tcf_function *forward, *backward;
  size_t first, count;
  WRONG(tcf_function_split(NULL, NULL, &forward, &backward));
  WRONG(tcf_function_split(w->f, NULL, NULL, &backward));
  WRONG(tcf_function_split(w->f, NULL, &forward, NULL));
  WRONG(tcf_function_saved(NULL, &first, &count));
  WRONG(tcf_function_saved(w->f, NULL, &count));
  WRONG(tcf_function_saved(w->f, &first, NULL));
  IS(tcf_function_program(NULL), NULL);
  IS(tcf_function_export_name(NULL), NULL);
  WRONG(tcf_function_export_as(NULL, "f"));
  WRONG(tcf_function_export_as(w->f, NULL));
  WRONG(tcf_function_keep_symbolic(NULL, "N", 1));
  WRONG(tcf_function_keep_symbolic(w->f, NULL, 1));
}

static void of_calls(world *w) {
  tcf_session *s = w->s;
  const tcf_tensor *args[] = {w->x};
  double tolerance, seconds[1];
  int exact;
  tcf_cost cost;
  tcf_kernel_usage usage;
  for (int twice = 0; twice < 2; twice++) {  // the second time, with a call to repeat
    WRONG(tcf_call(NULL, args, 1, &w->y, 1));
    WRONG(tcf_call(w->f, NULL, 1, &w->y, 1));
    WRONG(tcf_call(w->f, args, 1, NULL, 1));
    cr_expect_eq(tcf_call(w->f, (const tcf_tensor *const[]){NULL}, 1, &w->y, 1), TCF_WRONG_USE);
    cr_expect_eq(tcf_call(w->f, args, 1, &w->y, 1), TCF_OK);
  }
  WRONG(tcf_call_on_stream(NULL, args, 1, &w->y, 1, NULL));
  WRONG(tcf_prepare(NULL, args, 1));
  WRONG(tcf_prepare(w->f, NULL, 1));
  WRONG(tcf_function_tolerance(NULL, args, 1, 0, &tolerance));
  WRONG(tcf_function_tolerance(w->f, NULL, 1, 0, &tolerance));
  WRONG(tcf_function_tolerance(w->f, args, 1, 0, NULL));
  args[0] = NULL;
  cr_expect_eq(tcf_function_tolerance(w->f, args, 1, 0, &tolerance), TCF_WRONG_USE);
  args[0] = w->x;
  WRONG(tcf_function_is_exact(NULL, args, 1, 0, &exact));
  WRONG(tcf_function_is_exact(w->f, NULL, 1, 0, &exact));
  WRONG(tcf_function_is_exact(w->f, args, 1, 0, NULL));
  WRONG(tcf_function_cost(NULL, args, 1, &cost));
  WRONG(tcf_function_cost(w->f, NULL, 1, &cost));
  WRONG(tcf_function_cost(w->f, args, 1, NULL));
  WRONG(tcf_function_kernel(NULL, args, 1, 0, &usage));
  WRONG(tcf_function_kernel(w->f, NULL, 1, 0, &usage));
  WRONG(tcf_function_kernel(w->f, args, 1, 0, NULL));
  WRONG(tcf_device_time(NULL, args, 1, &w->y, 1, 0, 1, seconds));
}

static void of_texts(world *w) {
  tcf_session *s = w->s;
  char *out;
  size_t size;
  tcf_size sizes[] = {{NULL, 3}};
  tcf_emit_options o = {.size = sizeof o};
  WRONG(tcf_program_emit(NULL, &o, &out));
  WRONG(tcf_program_emit(w->p, NULL, &out));
  WRONG(tcf_program_emit(w->p, &o, NULL));
  o.sizes = sizes;
  o.nsizes = 1;
  WRONG(tcf_program_emit(w->p, &o, &out));
  o.size = 0;
  cr_expect_eq(tcf_program_emit(w->p, &o, &out), TCF_WRONG_USE);
  WRONG(tcf_function_object(NULL, NULL, 0, &out, &size));
  WRONG(tcf_function_object(w->f, NULL, 1, &out, &size));
  WRONG(tcf_function_object(w->f, sizes, 1, &out, &size));
  WRONG(tcf_function_object(w->f, NULL, 0, NULL, &size));
  WRONG(tcf_function_object(w->f, NULL, 0, &out, NULL));
  WRONG(tcf_function_header(NULL, NULL, 0, &out));
  WRONG(tcf_function_header(w->f, NULL, 1, &out));
  WRONG(tcf_function_header(w->f, NULL, 0, NULL));
  WRONG(tcf_function_library(NULL, NULL, 0, "x.a", NULL));
  WRONG(tcf_function_library(w->f, NULL, 1, "x.a", NULL));
  WRONG(tcf_function_library(w->f, NULL, 0, NULL, NULL));
  WRONG(tcf_function_library_header(NULL, NULL, 0, &out));
  WRONG(tcf_function_library_header(w->f, NULL, 1, &out));
  WRONG(tcf_function_library_header(w->f, NULL, 0, NULL));
  tcf_function *const fs[] = {w->f}, *const none[] = {w->f, NULL};
  WRONG(tcf_functions_header(NULL, 1, NULL, 0, &out));
  WRONG(tcf_functions_header(none, 2, NULL, 0, &out));
  WRONG(tcf_functions_header(fs, 1, NULL, 1, &out));
  WRONG(tcf_functions_header(fs, 1, NULL, 0, NULL));
  WRONG(tcf_functions_library(NULL, 1, NULL, 0, "x.a", NULL));
  WRONG(tcf_functions_library(none, 2, NULL, 0, "x.a", NULL));
  WRONG(tcf_functions_library(fs, 1, NULL, 1, "x.a", NULL));
  WRONG(tcf_functions_library(fs, 1, NULL, 0, NULL, NULL));
  WRONG(tcf_functions_library_header(NULL, 1, NULL, 0, &out));
  WRONG(tcf_functions_library_header(none, 2, NULL, 0, &out));
  WRONG(tcf_functions_library_header(fs, 1, NULL, 1, &out));
  WRONG(tcf_functions_library_header(fs, 1, NULL, 0, NULL));
  WRONG(tcf_function_cubin(NULL, NULL, 0, &out, &size));
  WRONG(tcf_function_cubin(w->f, NULL, 1, &out, &size));
  WRONG(tcf_function_cubin(w->f, NULL, 0, NULL, &size));
  WRONG(tcf_function_cubin(w->f, NULL, 0, &out, NULL));
  WRONG(tcf_program_check(NULL));
  WRONG(tcf_program_signatures(NULL, TCF_TEXT, &out));
  WRONG(tcf_program_signatures(w->p, TCF_TEXT, NULL));
  WRONG(tcf_program_explain(NULL, NULL, NULL, 0, TCF_TEXT, &out));
  WRONG(tcf_program_explain(w->p, NULL, NULL, 1, TCF_TEXT, &out));
  WRONG(tcf_program_explain(w->p, NULL, NULL, 0, TCF_TEXT, NULL));
  cr_expect_eq(tcf_program_explain(w->p, NULL, NULL, 0, (tcf_format)7, &out), TCF_WRONG_USE);
  cr_expect_eq(tcf_program_explain(w->p, NULL, NULL, 0, TCF_SVG, &out), TCF_WRONG_USE);
  WRONG(tcf_program_explain_recomputation(NULL, NULL, NULL, 0, TCF_TEXT, &out));
  WRONG(tcf_program_explain_recomputation(w->p, NULL, NULL, 1, TCF_TEXT, &out));
  WRONG(tcf_program_explain_recomputation(w->p, NULL, NULL, 0, TCF_TEXT, NULL));
  cr_expect_eq(tcf_program_explain_recomputation(w->p, NULL, NULL, 0, TCF_HTML, &out), TCF_WRONG_USE);
  WRONG(tcf_format_source(NULL, "t", text, 3, &out));
  WRONG(tcf_format_source(s, NULL, text, 3, &out));
  WRONG(tcf_format_source(s, "t", NULL, 3, &out));
  WRONG(tcf_format_source(s, "t", text, 3, NULL));
}

/// The table has every function of the header.
static void expect_complete(void) {
  FILE *f = fopen(TCF_SOURCE_DIR "/include/tcc_fuse.h", "r");
  cr_assert(f);
  char line[512], name[80];
  int functions = 0;
  bool declares = false;
  while (fgets(line, sizeof line, f)) {
    declares = declares || !strncmp(line, "TCF_API ", 8);
    const char *open = strchr(line, '('), *begin = open;
    if (!declares || !open) continue;
    declares = false;
    while (begin > line && (begin[-1] == '_' || (begin[-1] >= 'a' && begin[-1] <= 'z'))) begin--;
    snprintf(name, sizeof name, "%.*s(", (int)(open - begin), begin);
    cr_expect(strstr(tried, name), "%s is not in the table", name);
    functions++;
  }
  fclose(f);
  cr_assert_geq(functions, 70);
}

Test(api_misuse, every_pointer_is_missing_in_turn) {
  world w = make_world("cpu");
  of_sessions(&w);
  of_tensors(&w);
  of_files(&w);
  of_programs(&w);
  of_calls(&w);
  of_texts(&w);
  expect_complete();
  free_world(&w);
}

static void keep_text(void *user, const tcf_diagnostic *d) {
  snprintf(user, 300, "%s", d->message);
}

Test(api_misuse, a_number_of_threads_is_not_negative) {
  char message[300] = "";
  tcf_session *s = NULL;
  tcf_options o = {.size = sizeof o, .threads = -3, .diagnostic = keep_text};
  o.diagnostic_user = message;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  cr_assert_null(s);
  cr_assert(strstr(message, "-3 threads"), "%s", message);
}

Test(api_misuse, a_budget_is_bytes_or_a_share) {
  static const char *const budgets[] = {"", "half", "1.5", "1e9", "-1"};
  for (size_t i = 0; i <= sizeof budgets / sizeof *budgets; i++) {
    bool slack = i == sizeof budgets / sizeof *budgets;
    char message[300] = "";
    tcf_session *s = NULL;
    tcf_options o = {.size = sizeof o, .diagnostic = keep_text, .diagnostic_user = message};
    if (slack) o.recompute_slack = 1.5;
    else o.memory_budget = budgets[i];
    cr_assert_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
    cr_assert_null(s);
    cr_assert(strstr(message, slack ? "slack" : "budget"), "%s", message);
  }
}

// ---- in use

typedef struct user {
  tcf_function *f;
  tcf_tensor *x, *y;
  atomic_int *done, *refused, *other;
} user;

static void *use(void *argument) {
  user *u = argument;
  const tcf_tensor *args[] = {u->x};
  for (int i = 0; i < 3000; i++) {
    tcf_status status = tcf_call(u->f, args, 1, &u->y, 1);
    if (!(i % 500)) (void)tcf_function_keep_symbolic(u->f, "N", i % 1000 != 0);
    atomic_fetch_add(!status ? u->done : status == TCF_WRONG_USE ? u->refused : u->other, 1);
  }
  return NULL;
}

Test(api_misuse, two_threads_at_once_are_refused, .timeout = 60) {
  enum { THREADS = 4 };
  world w = make_world("cpu");
  pthread_t threads[THREADS];
  user users[THREADS];
  atomic_int done = 0, refused = 0, other = 0;
  for (int i = 0; i < THREADS; i++) {
    int64_t dims[2] = {100 + i, 300};
    users[i] = (user){.f = w.f, .done = &done, .refused = &refused, .other = &other};
    cr_assert_eq(tcf_tensor_new(NULL, TCF_F32, 2, dims, &users[i].x), TCF_OK);
    cr_assert_eq(tcf_tensor_new(NULL, TCF_F32, 2, dims, &users[i].y), TCF_OK);
    cr_assert_eq(pthread_create(&threads[i], NULL, use, &users[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(other, 0);
  cr_expect_gt(done, 0);
  cr_expect_eq(done + refused, THREADS * 3000);
  // The session is as good as new.
  cr_expect_eq(tcf_call(w.f, (const tcf_tensor *const[]){w.x}, 1, &w.y, 1), TCF_OK, "%s",
               tcf_session_message(w.s));
  cr_expect_eq(tcf_tensor_get(w.y, 5), 2);
  for (int i = 0; i < THREADS; i++) {
    tcf_tensor_free(users[i].x);
    tcf_tensor_free(users[i].y);
  }
  free_world(&w);
}

/// A host function that calls back into the session that calls it.
static int call_back(void *user_, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  world *w = user_;
  tcf_tensor *made = NULL, *scratch = NULL;
  tcf_program *p = NULL;
  cr_expect_eq(tcf_call(tcf_program_at(w->p, 0), in, nin, &made, 1), TCF_WRONG_USE);
  cr_expect_eq(tcf_program_load(w->s, "t", text, strlen(text), &p), TCF_WRONG_USE);
  cr_expect(!made && !p);
  tcf_program_free(w->p);  // nothing happens
  tcf_session_free(w->s);
  // What needs a session for messages only does without.
  cr_expect_eq(tcf_tensor_new(w->s, TCF_F32, 1, tcf_tensor_dims(out), &scratch), TCF_OK);
  cr_expect_eq(tcf_tensor_copy(w->s, out, in[0]), TCF_OK);
  tcf_tensor_free(scratch);
  return 0;
}

Test(api_misuse, a_callback_does_not_enter_again) {
  const char *const targets[] = {"cpu", "interp"};
  for (int i = 0; i < 2; i++) {
    world w = make_world(targets[i]);
    int64_t dims[1] = {4};
    tcf_tensor *x, *y = NULL;
    cr_assert_eq(tcf_register_extern(w.s, "h", call_back, &w), TCF_OK);
    cr_assert_eq(tcf_tensor_new(NULL, TCF_F32, 1, dims, &x), TCF_OK);
    tcf_tensor_fill(x, 3);
    cr_assert_eq(tcf_call(tcf_program_function(w.p, "g"), (const tcf_tensor *const[]){x}, 1, &y, 1),
                 TCF_OK, "%s", tcf_session_message(w.s));
    cr_expect_eq(tcf_tensor_get(y, 2), 4);
    tcf_tensor_free(x);
    tcf_tensor_free(y);
    free_world(&w);
  }
}
