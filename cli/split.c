// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// --split-backward[=x,w]: the forward and the backward part of a function instead of it.
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static tcf_status split(tcf_function *f, const strings *names, const tcf_size *dims, size_t ndims,
                        tcf_program **parts) {
  tcf_split_options o = {.size = sizeof o,
                         .wrt = names->items,
                         .nwrt = (size_t)names->count,
                         .sizes = dims,
                         .nsizes = ndims};
  tcf_function *forward, *backward;
  tcf_status status = tcf_function_split(f, &o, &forward, &backward);
  if (!status) *parts = tcf_function_program(forward);
  return status;
}

int split_program(tcf_session *s, tcf_function *f, const char *wrt, const tcf_size *dims,
                  size_t ndims, tcf_program **parts) {
  strings names = {0};
  char *words = strdup(wrt);
  if (!words) return no_memory();
  // "x,w"; what is between commas is a name, also if it is none.
  for (char *at = words, *comma; *words && at; at = comma) {
    comma = strchr(at, ',');
    if (comma) *comma++ = 0;
    strings_add(&names, at);
  }
  tcf_status status = split(f, &names, dims, ndims, parts);
  free(words);
  strings_free(&names);
  return report(s, status);
}
