// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs of one function f through the public header, on every way to run them that needs no GPU.
#pragma once
#include <criterion/criterion.h>
#include <string.h>

#include "include/tcc_fuse.h"

enum { TARGETS = 4 };
static const char *const every_target[TARGETS] = {"cpu", "interp", "interp-tile",
                                                  "interp-tile:sm_90a"};

static inline tcf_session *open_on(const char *target) {
  tcf_options o = {.size = sizeof o, .target = target, .cache_dir = ""};
  tcf_session *s;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  return s;
}

static inline tcf_function *compile(tcf_session *s, const char *text) {
  tcf_program *p;
  cr_assert_eq(tcf_program_load(s, "test.tdsl", text, strlen(text), &p), TCF_OK, "%s",
               tcf_session_message(s));
  return tcf_program_function(p, "f");
}
