// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compiling needs of the host before it starts, because neither can be reported once it lacks:
// stack of the calling thread (its end is a fault of the process), and memory for LLVM (which ends
// the process when an allocation fails).
#define _GNU_SOURCE  // pthread_getattr_np
#include <pthread.h>
#include <sys/mman.h>

#include "api/session.h"

/// What is left below this frame; SIZE_MAX: unknown, as on a stack that is not the thread's own.
static size_t stack_left(void) {
  pthread_attr_t attributes;
  void *low;
  size_t size;
  if (pthread_getattr_np(pthread_self(), &attributes)) return SIZE_MAX;
  int failed = pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  // The frame and not a local: sanitizers keep locals elsewhere.
  size_t left = (size_t)((char *)__builtin_frame_address(0) - (char *)low);
  return !failed && left < size ? left : SIZE_MAX;
}

tcf_status session_compile_guard(tcf_session *s, tcf_status (*work)(void *), void *args) {
  size_t left = stack_left();
  if (left >= COMPILE_STACK) return session_guard(s, work, args);
  return session_fail(s, TCF_NO_MEMORY,
                      "the calling thread has %zu KB of stack left; what parses or compiles needs "
                      "%d KB",
                      left >> 10, COMPILE_STACK >> 10);
}

tcf_status session_llvm_room(tcf_session *s) {
  // Not touched, so that it costs a few microseconds and counts where address space or promised
  // memory is limited.
  void *room = mmap(NULL, LLVM_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED)
    return session_fail(s, TCF_NO_MEMORY, "out of memory (%d MB for the code generator)",
                        LLVM_ROOM >> 20);
  munmap(room, LLVM_ROOM);
  return TCF_OK;
}
