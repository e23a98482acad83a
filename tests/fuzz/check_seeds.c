// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a fuzz target on files, each in a process of its own: a target that ends on one of its seeds
// would mutate nothing.
//
// usage: seeds-TARGET FILE...       the last line is "N passed, N failed"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST = 4096, SECONDS = 60 };  // as much as the fuzzer gives

static int run(const char *path) {
  static uint8_t data[LARGEST];
  FILE *f = fopen(path, "rb");
  if (!f) return 1;
  size_t size = fread(data, 1, sizeof data, f);
  fclose(f);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(data, size);
    _exit(0);
  }
  int status = 1;
  return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}

int main(int argc, char **argv) {
  int failed = 0;
  for (int i = 1; i < argc; i++) {
    if (!run(argv[i])) continue;
    failed++;
    printf("the target ends on %s\n", argv[i]);
  }
  printf("%d passed, %d failed\n", argc - 1 - failed, failed);
  return failed > 0;
}
