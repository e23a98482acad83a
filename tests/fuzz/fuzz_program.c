// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// libFuzzer target: the text of a program. The first word decides what reads it, so that the lexer
// and parser of the language, the checker, and both IR parsers are covered; what is accepted goes
// through the passes, is printed, and must be read again with the same result.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

static char *emit(tcf_program *p, tcf_stage stage) {
  char *text = NULL;
  tcf_emit_options options = {.size = sizeof options, .stage = stage};
  tcf_status status = tcf_program_emit(p, &options, &text);
  if (status == TCF_INTERNAL) abort();
  return status ? NULL : text;
}

/// What is printed is canonical: printing what was read from it gives the same text.
static void check_round_trip(tcf_session *s, const char *text, tcf_stage stage) {
  tcf_program *again;
  if (tcf_program_load(s, "printed", text, strlen(text), &again)) {
    fprintf(stderr, "printed IR is not accepted: %s\n%s", tcf_session_message(s), text);
    abort();
  }
  char *second = emit(again, stage);
  if (second && strcmp(text, second)) {
    fprintf(stderr, "not canonical:\n%s\n%s", text, second);
    abort();
  }
  tcf_text_free(second);
  tcf_program_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tcf_session *s;
  tcf_program *p = NULL;
  tcf_options options = {.size = sizeof options, .target = "interp", .threads = 1,
                         .cache_dir = ""};
  if (tcf_session_new(&options, &s)) return 0;
  tcf_status status = tcf_program_load(s, "fuzz", (const char *)data, size, &p);
  if (status == TCF_INTERNAL) {
    fprintf(stderr, "%s\n", tcf_session_message(s));
    abort();
  }
  if (status == TCF_OK) {
    char *graph = emit(p, TCF_STAGE_GRAPH);
    if (graph && *graph && size > 5 && memcmp(data, "progr", 5) && memcmp(data, "kerne", 5))
      check_round_trip(s, graph, TCF_STAGE_GRAPH);
    tcf_text_free(graph);
    if (size < 2000) tcf_text_free(emit(p, TCF_STAGE_TILE));
  }
  char *formatted = NULL;
  if (!tcf_format_source(s, "fuzz", (const char *)data, size, &formatted)) tcf_text_free(formatted);
  tcf_program_free(p);
  tcf_session_free(s);
  return 0;
}
