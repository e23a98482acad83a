// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See runtime/signals.h.
#define _GNU_SOURCE  // sigtimedwait
#include "runtime/signals.h"

#include <stddef.h>
#include <time.h>

enum { WRITES = 2, ENDS = 4 };
static const int of_writes[WRITES] = {SIGXFSZ, SIGPIPE};
static const int of_ends[ENDS] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static void block(const int *signals, int n, sigset_t *before) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < n; i++) sigaddset(&set, signals[i]);
  pthread_sigmask(SIG_BLOCK, &set, before);
}

void signals_hold(held_signals *h) {
  sigpending(&h->pending);
  block(of_writes, WRITES, &h->before);
}

void signals_hold_ends(void) { block(of_ends, ENDS, NULL); }

bool signals_end_is_near(void) {
  sigset_t waiting;
  struct sigaction action;
  if (sigpending(&waiting)) return false;
  for (int i = 0; i < ENDS; i++)
    if (sigismember(&waiting, of_ends[i]) == 1 && !sigaction(of_ends[i], NULL, &action) &&
        action.sa_handler == SIG_DFL)
      return true;
  return false;
}

void signals_release(const held_signals *h) {
  sigset_t ours;
  sigemptyset(&ours);
  for (int i = 0; i < WRITES; i++)
    if (!sigismember(&h->pending, of_writes[i])) sigaddset(&ours, of_writes[i]);
  while (sigtimedwait(&ours, NULL, &(struct timespec){0}) > 0) continue;
  pthread_sigmask(SIG_SETMASK, &h->before, NULL);
}
