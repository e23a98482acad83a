// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The call of a program while it is made (entry.c, steps.c, words.c).
#pragma once
#include "codegen/abi.h"
#include "codegen/cpu/cpu.h"

typedef struct entry {
  kgen g;
  const entry_kernels *kernels;
  lval *buffers;  // addresses; null: in the table
  bool many;      // buffers: the addresses of temps wait in memory
  bool words;     // those of parameters and results too
  lval table;     // there, by buffer
  lval block;     // argument block of kernels, words of 8 bytes
  int symbols;    // its first word of a symbol
  lval maps;      // devices: sizes and strides for tensor maps
  lval host_ptrs, host_dims;
} entry;

lval byte_address(kgen *g, lval base, lval offset);
lval load_field(kgen *g, LLVMTypeRef type, size_t offset);
/// Stores into the block, words of 8 bytes.
void put_word(kgen *g, lval block, int word, lval x);
/// Returns the status when `failed`.
void return_if(kgen *g, lval failed, int status);
lval stack_words(kgen *g, int words);
/// How many tiles the kernel has.
ix tiles_of(kgen *g, const kernel *k);

/// Calls a task for its only tile, or for `count` tiles, which may be none.
void entry_run_tile(entry *en, lval task);
void entry_run_tiles(entry *en, lval task, lval count, bool maybe_none);

// ---- steps.c
/// How many steps from there on are run by a loop over a table; 0: that step is code of its own.
int steps_in_table(const entry *en, int first);
/// The addresses that such steps need and temps do not have: parameters and results.
void steps_fill_table(entry *en);
void steps_run_table(entry *en, int first, int count);

// ---- words.c
typedef struct counted {
  LLVMBasicBlockRef head;
  lval i;  // i64
} counted;
/// for (i = 0; i < n; i++), which runs at least once.
counted count_begin(kgen *g);
void count_end(kgen *g, counted *c, lval n);
/// values[at], of elements of `bytes`; of 4 bytes as an i64.
lval array_element(kgen *g, LLVMTypeRef type, int64_t bytes, lval values, lval at);
lval small_element(kgen *g, lval values, lval at);
/// int32_t f.run(void *const *pointers, const int64_t *symbols, tcf_frame *frame)
lval entry_run_function(emit *e, arena *a, const program *p);
/// Of programs whose call takes words: these to where steps read them; and the exported function.
void entry_copy_words(entry *en, lval pointers);
void words_call_run(emit *e, arena *a, const program *p, lval run);
