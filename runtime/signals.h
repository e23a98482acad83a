// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Signals of this thread while files are written; what the process does with them is left alone.
//
//   SIGXFSZ, SIGPIPE        that a write raises are taken back: the write's error tells
//   SIGINT, SIGTERM, ...    wait while a temporary file has a name, so that it is removed first
#pragma once
#include <signal.h>
#include <stdbool.h>

typedef struct held_signals {
  sigset_t before;   // the thread's mask
  sigset_t pending;  // before anything was written
} held_signals;

/// Holds SIGXFSZ and SIGPIPE back on this thread. Pairs of hold and release nest.
void signals_hold(held_signals *h);
/// Until the release that follows, also those that end a process from outside.
void signals_hold_ends(void);
/// One of them is waiting and will end the process: there is no point in going on.
bool signals_end_is_near(void);
/// Takes back what writes raised, and restores the mask: signals that waited are delivered here.
void signals_release(const held_signals *h);
