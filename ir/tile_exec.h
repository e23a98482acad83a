// Running one kernel call of the tile interpreter.
#pragma once
#include "ir/tile.h"

/// Elements of a buffer in row-major order of its dimensions. A poisoned element is unspecified:
/// it may be moved about, but not decide anything or end in an output.
typedef struct tile_memory {
  str name;
  dtype type;
  int rank;
  int64_t dims[MAX_AXES];
  int64_t origin[MAX_AXES];  // coordinate of element 0; locals may start inside their axis
  int64_t count;
  scalar *data;
  uint8_t *poison;
  int32_t *writer;  // which grid tile stored the element in this call, + 1; null for locals
  bool kept;        // an output: must not receive unspecified values
} tile_memory;

typedef struct tile_symbol {
  str name;
  int64_t value;
} tile_symbol;

typedef struct tile_call {
  const kernel *k;
  arena *arena;
  tile_memory *const *args;
  const tile_symbol *symbols;
  int nsymbols;
  const span *sites;
  bool round_each;
} tile_call;

/// Runs the kernel over its grid. False with a text and position: a failed check, or what only a
/// wrong kernel does (the text says "internal error").
bool kernel_execute(const tile_call *call, str *error, span *at);

/// What an unspecified element of type t reads as.
scalar tile_poison(dtype t);
