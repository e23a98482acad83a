// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// libFuzzer target: array files. The first byte picks the format, the rest is the file.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tcc_fuse.h"

static void read_all(tcf_session *s, const char *path) {
  tcf_archive *archive;
  if (tcf_archive_open(s, path, &archive)) return;
  for (size_t i = 0; i < tcf_archive_count(archive); i++) {
    tcf_tensor *t;
    if (tcf_archive_load(s, archive, tcf_archive_name(archive, i), &t)) continue;
    for (int64_t k = 0; k < tcf_tensor_elements(t); k++) (void)tcf_tensor_get(t, k);
    tcf_tensor_free(t);
  }
  tcf_archive_free(archive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const endings[] = {"npy", "npz", "safetensors"};
  if (size == 0) return 0;
  int format = data[0] % 3;
  char path[100];
  snprintf(path, sizeof path, "/dev/shm/tcf-fuzz-%d.%s", (int)getpid(), endings[format]);
  FILE *f = fopen(path, "wb");
  if (!f) return 0;
  fwrite(data + 1, 1, size - 1, f);
  fclose(f);
  tcf_session *s;
  tcf_options options = {.size = sizeof options, .target = "interp", .cache_dir = ""};
  if (tcf_session_new(&options, &s)) return 0;
  tcf_tensor *t = NULL;
  if (format) read_all(s, path);
  else if (!tcf_npy_load(s, path, &t)) tcf_tensor_free(t);
  tcf_session_free(s);
  unlink(path);
  return 0;
}
