// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Non-local exits: out of memory and internal errors leave the library through the API boundary.
//
// The library never exits the process. An API call opens a frame with fault_try(); code below it
// that cannot go on (memory exhausted, broken invariant) calls fault_raise(), which unwinds to the
// frame. The frame pointer is the only thread-local datum of the library and is null outside API
// calls. What a frame unwinds over must live in arenas that somebody outside of it frees, in a
// scratch, or be released by the owner of the frame.
#pragma once
#include <setjmp.h>
#include <stdbool.h>

#include "base/arena.h"

typedef enum { FAULT_NONE, FAULT_NOMEM, FAULT_PANIC } fault_kind;

/// An arena of a function that may be unwound: a fault frees it on its way out.
typedef struct scratch {
  arena arena;
  struct scratch *outer;  // of the same frame
} scratch;
/// The innermost frame has it until scratch_close(), last opened first closed.
void scratch_open(scratch *s);
void scratch_close(scratch *s);

typedef struct fault_frame {
  jmp_buf env;
  struct fault_frame *outer;
  scratch *scratches;
  fault_kind kind;
  char text[1024];
} fault_frame;

void fault_push(fault_frame *frame);
void fault_pop(fault_frame *frame);
/// Unwinds to the innermost frame; without one (a bug in a test), prints and aborts.
_Noreturn void fault_raise(fault_kind kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/// True when entered, false when a fault unwound to it; close with fault_pop() in both cases.
///   fault_frame f;
///   if (fault_try(&f)) { work } else { f.kind, f.text }
///   fault_pop(&f);
#define fault_try(frame) (fault_push(frame), setjmp((frame)->env) == 0)

/// Our own bug: names the place and unwinds with FAULT_PANIC.
#define panic(...) fault_raise(FAULT_PANIC, __VA_ARGS__)
#define check(cond)                                                                 \
  ((cond) ? (void)0                                                                 \
          : fault_raise(FAULT_PANIC, "%s:%d: check failed: %s", __FILE__, __LINE__, \
                        #cond))
