// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clocale.h"

static _Thread_local fault_frame *innermost;

void fault_push(fault_frame *frame) {
  frame->outer = innermost;
  frame->kind = FAULT_NONE;
  frame->scratches = NULL;
  frame->text[0] = 0;
  innermost = frame;
}

void fault_pop(fault_frame *frame) {
  // A raise has popped the frame already, so that a fault in a handler goes further out.
  if (innermost == frame) innermost = frame->outer;
}

void scratch_open(scratch *s) {
  *s = (scratch){0};
  if (!innermost) return;
  s->outer = innermost->scratches;
  innermost->scratches = s;
}

void scratch_close(scratch *s) {
  if (innermost) innermost->scratches = s->outer;
  arena_free(&s->arena);
}

_Noreturn void fault_raise(fault_kind kind, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fault_frame *frame = innermost;
  if (!frame) {
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    abort();
  }
  clocale_vsnprintf(frame->text, sizeof frame->text, format, args);
  va_end(args);
  frame->kind = kind;
  // Those that own them are still on the stack.
  for (scratch *s = frame->scratches; s; s = s->outer) arena_free(&s->arena);
  innermost = frame->outer;
  longjmp(frame->env, 1);
}
