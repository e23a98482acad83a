// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See runtime/fork.h.
#define _GNU_SOURCE  // MADV_WIPEONFORK
#include "runtime/fork.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, HERE = 1 };

fork_mark fork_mark_new(void) {
  fork_mark m = {NULL, getpid()};
  void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return m;
  if (madvise(page, PAGE, MADV_WIPEONFORK)) {  // a kernel before 4.14
    munmap(page, PAGE);
    return m;
  }
  m.word = page;
  *m.word = HERE;
  return m;
}

bool fork_mark_is_here(const fork_mark *m) {
  return m->word ? *m->word == HERE : m->maker == getpid();
}

void fork_mark_renew(fork_mark *m) {
  m->maker = getpid();
  if (m->word) *m->word = HERE;
}

void fork_mark_free(fork_mark *m) {
  if (m->word) munmap((void *)m->word, PAGE);
  m->word = NULL;
}
