// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A forward and a backward part called one after the other, as a host does.
#pragma once
#include "tests/unit/api_support.h"

enum { MOST_VALUES = 24 };

typedef struct parts {
  tcf_session *s;
  tcf_function *forward, *backward;
  tcf_tensor *results[MOST_VALUES], *gradients[MOST_VALUES];  // of the last run
} parts;

static inline tcf_value_info param_of(const tcf_function *f, size_t i) {
  tcf_value_info v;
  cr_assert_eq(tcf_function_param(f, i, &v), TCF_OK);
  return v;
}

static inline tcf_value_info result_of(const tcf_function *f, size_t i) {
  tcf_value_info v;
  cr_assert_eq(tcf_function_result(f, i, &v), TCF_OK);
  return v;
}

static inline parts split_function(tcf_session *s, tcf_function *f,
                                   const tcf_split_options *options) {
  parts p = {.s = s};
  cr_assert(f, "%s", tcf_session_message(s));
  cr_assert_eq(tcf_function_split(f, options, &p.forward, &p.backward), TCF_OK, "%s",
               tcf_session_message(s));
  return p;
}

static inline void parts_forget(parts *p) {
  for (int i = 0; i < MOST_VALUES; i++) {
    tcf_tensor_free(p->results[i]);
    tcf_tensor_free(p->gradients[i]);
    p->results[i] = p->gradients[i] = NULL;
  }
}

/// What the backward part takes under that name: an argument, a result of the forward part, or a seed.
static inline const tcf_tensor *value_named(const parts *p, const char *name,
                                            tcf_tensor *const *args, tcf_tensor *const *seeds) {
  size_t seed = 0;
  for (size_t i = 0; i < tcf_function_params(p->forward); i++)
    if (!strcmp(param_of(p->forward, i).name, name)) return args[i];
  for (size_t i = 0; i < tcf_function_results(p->forward); i++) {
    tcf_value_info v = result_of(p->forward, i);
    if (!strcmp(v.name, name)) return p->results[i];
    if (!strncmp(name, "d_", 2) && !strcmp(v.name, name + 2)) return seeds[seed];
    if (v.dtype <= TCF_BF16) seed++;
  }
  cr_assert_fail("nothing is called %s", name);
  return NULL;
}

static inline void parts_run(parts *p, tcf_tensor *const *args, tcf_tensor *const *seeds) {
  parts_forget(p);
  size_t nargs = tcf_function_params(p->forward), nresults = tcf_function_results(p->forward);
  size_t nback = tcf_function_params(p->backward), ngrads = tcf_function_results(p->backward);
  cr_assert_leq(nresults, MOST_VALUES);
  cr_assert_eq(tcf_call(p->forward, (const tcf_tensor *const *)args, nargs, p->results, nresults),
               TCF_OK, "%s", tcf_session_message(p->s));
  const tcf_tensor *in[MOST_VALUES];
  for (size_t i = 0; i < nback; i++)
    in[i] = value_named(p, param_of(p->backward, i).name, args, seeds);
  cr_assert_eq(tcf_call(p->backward, in, nback, p->gradients, ngrads), TCF_OK, "%s",
               tcf_session_message(p->s));
}

/// Arguments of a function, random from the seed, of the sizes given.
static inline void make_arguments(tcf_session *s, const tcf_function *f, const tcf_size *sizes,
                                  size_t nsizes, uint64_t seed, tcf_tensor **args) {
  for (size_t i = 0; i < tcf_function_params(f); i++) {
    tcf_value_info v = param_of(f, i);
    int64_t dims[TCF_MAX_RANK];
    cr_assert_eq(tcf_function_param_dims(f, i, sizes, nsizes, dims), TCF_OK);
    cr_assert_eq(tcf_tensor_new(s, v.dtype, v.rank, dims, &args[i]), TCF_OK);
    if (v.dtype <= TCF_BF16) tcf_tensor_fill_random(args[i], seed + i);
    else tcf_tensor_fill_uniform(args[i], seed + i, 0, 3);
  }
}

static inline void free_tensors(tcf_tensor **t, size_t n) {
  for (size_t i = 0; i < n; i++) tcf_tensor_free(t[i]);
}

static inline bool same_bits(const tcf_tensor *a, const tcf_tensor *b) {
  size_t size = tcf_dtype_size(tcf_tensor_dtype(a)) * (size_t)tcf_tensor_elements(a);
  return tcf_tensor_dtype(a) == tcf_tensor_dtype(b) &&
         tcf_tensor_elements(a) == tcf_tensor_elements(b) &&
         !memcmp(tcf_tensor_data(a), tcf_tensor_data(b), size);
}

/// The number of saved values.
static inline size_t count_saved(const parts *p) {
  size_t first, count;
  cr_assert_eq(tcf_function_saved(p->forward, &first, &count), TCF_OK);
  cr_assert_eq(first + count, tcf_function_results(p->forward));
  return count;
}
