// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR in tests: reading text, random tensors, running.
#pragma once
#include "ir/tile.h"

typedef struct tile_fixture {
  arena arena;
  diag_list diags;
  tile_module module;
  program *p;  // the first program
  uint64_t random;
} tile_fixture;

/// False when the text does not parse; the diagnostics are in f->diags. Frees nothing.
bool tile_fixture_parse(tile_fixture *f, str text);
/// Text of the file under tests/golden/tile; fails the test when it is not there.
str tile_fixture_read(tile_fixture *f, const char *name);
/// Parses and verifies the golden file; fails the test with the report otherwise.
void tile_fixture_load(tile_fixture *f, const char *name);
void tile_fixture_free(tile_fixture *f);

double random_normal(tile_fixture *f);
int random_below(tile_fixture *f, int n);
/// Normal numbers, for integers rounded after scaling by 10; rounded to the type.
interp_tensor random_tensor(tile_fixture *f, dtype t, int rank, const int64_t *dims);
/// Runs with each step rounded; fails the test with the error.
void tile_fixture_run(tile_fixture *f, const interp_tensor *params, interp_tensor *outputs);
