// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Whether this is still the process that made something: threads and device contexts are not there in
// the child of a fork. Told by a page that the kernel wipes in children, because asking for the
// process' number on every call would cost more than the question is worth.
#pragma once
#include <stdbool.h>
#include <sys/types.h>

typedef struct fork_mark {
  volatile int *word;  // null: the number is compared
  pid_t maker;
} fork_mark;

fork_mark fork_mark_new(void);
/// False in a child that was forked since.
bool fork_mark_is_here(const fork_mark *m);
/// This process counts as the maker from now on.
void fork_mark_renew(fork_mark *m);
void fork_mark_free(fork_mark *m);
