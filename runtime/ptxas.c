// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX to a cubin without a device, by NVIDIA's assembler.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/file.h"
#include "runtime/tool.h"

enum { CUBIN_LIMIT = 1 << 30 };

bool ptxas_find(char *path, size_t size) {
  char more[1024];
  const char *home = getenv("CUDA_HOME");
  snprintf(more, sizeof more, "%s/bin", home && *home ? home : "/usr/local/cuda");
  return tool_find("ptxas", more, path, size);
}

static bool assemble(const tool_place *p, char *tool, const char *arch, ptxas_output *out,
                     error *e) {
  char option[64], in[320], cubin[320];
  snprintf(option, sizeof option, "-arch=%s", arch);
  tool_file(p, "code.ptx", in);
  tool_file(p, "code.cubin", cubin);
  char *argv[] = {tool, option, "-v", "-o", cubin, in, NULL};
  return tool_run(p, argv, &out->log, e) &&
         (out->cubin = file_read(cubin, CUBIN_LIMIT, &out->size, e));
}

bool ptxas_run(const char *arch, const char *ptx, size_t size, ptxas_output *out, error *e) {
  char tool[4096];
  tool_place p;
  *out = (ptxas_output){0};
  if (!ptxas_find(tool, sizeof tool))
    return error_set(e, ERROR_DEVICE,
                     "ptxas is not in $PATH or $CUDA_HOME/bin (/usr/local/cuda/bin without that)");
  if (!tool_place_open(&p, e)) return false;
  bool ok = tool_write(&p, "code.ptx", ptx, size, e) && assemble(&p, tool, arch, out, e);
  tool_place_close(&p);
  if (!ok) ptxas_free(out);
  return ok;
}

void ptxas_free(ptxas_output *out) {
  free(out->cubin);
  free(out->log);
  *out = (ptxas_output){0};
}

/// The number before `words` in the text up to `end`; 0: it is not there.
static int number_before(const char *text, const char *end, const char *words) {
  const char *at = strstr(text, words);
  if (!at || at > end) return 0;
  while (at > text && at[-1] == ' ') at--;
  while (at > text && at[-1] >= '0' && at[-1] <= '9') at--;
  return atoi(at);
}

// ptxas info    : Compiling entry function 'softmax_0' for 'sm_90a'
// ptxas info    : Function properties for softmax_0
//     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// ptxas info    : Used 32 registers, used 1 barriers, 4096 bytes smem
bool ptxas_usage_of(const ptxas_output *out, const char *kernel, ptxas_usage *usage) {
  char name[256];
  snprintf(name, sizeof name, "entry function '%s'", kernel);
  const char *begin = out->log ? strstr(out->log, name) : NULL;
  if (!begin) return false;
  const char *end = strstr(begin + 1, "entry function '");
  if (!end) end = begin + strlen(begin);
  *usage = (ptxas_usage){number_before(begin, end, "registers"),
                         number_before(begin, end, "bytes stack frame"),
                         number_before(begin, end, "bytes smem")};
  return usage->registers > 0;
}
