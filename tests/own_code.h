// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which callers are the program's own code, for allocations that fail: not those of LLVM, which ends
// the process when it has no memory. Include it after defining _GNU_SOURCE.
#pragma once
#include <link.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct code_range {
  uintptr_t low, high;
} code_range;

static int own_code_of(struct dl_phdr_info *info, size_t size, void *range) {
  code_range *r = range;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    uintptr_t end = begin + info->dlpi_phdr[i].p_memsz;
    if (!r->low || begin < r->low) r->low = begin;
    if (end > r->high) r->high = end;
  }
  return 1;  // the first object is the program
}

static inline code_range own_code(void) {
  code_range r = {0};
  dl_iterate_phdr(own_code_of, &r);
  return r;
}

static inline bool in_code(code_range r, const void *caller) {
  return (uintptr_t)caller >= r.low && (uintptr_t)caller < r.high;
}
