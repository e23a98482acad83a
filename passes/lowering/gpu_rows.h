// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the lowerings of rows for GPUs share: gpu_reduce.c, and gpu_ring.c for long ones.
#pragma once
#include "passes/lowering/gpu.h"
#include "passes/lowering/gpu_online.h"

/// Rows that are brought on chip ahead of use, see gpu_ring.c.
typedef struct gpu_ring {
  int threads, cluster, repeat, stages, resident;  // resident: blocks on a multiprocessor
  int rows;   // at a time: they share what all rows share, and the waits of reductions
  int phase;  // rows a multiple of it apart begin alike in a line of memory
  bool uneven;      // the rows are no whole number of phases
  int inner, walk;  // kernel axes: of a phase; uneven: of the walks. inner -1: every row begins alike
  ix below;         // uneven: where walks end
  int nstaged;
  const node *staged[MAX_AXES];  // what comes with each row
} gpu_ring;

typedef struct gpu_rows {
  row_plan p;
  const node *row;
  int rows[MAX_AXES], nrows;  // kernel axes
  int further[MAX_AXES], nfurther;
  int vec;     // kernel axis of the lanes, -1 none
  bool along;  // lanes run along R
  bool resident;
  int vector;
  double held;  // registers per element of R that is kept
  bool online_ok;
  online online;
  gpu_ring ring;
  gpu_share row_share[MAX_AXES], r_share[MAX_AXES], further_share[MAX_AXES];
  bool chunked;           // rows are few and long, see gpu_chunks.c
  int chunk;              // ... kernel axis of the chunks
  gpu_share chunk_share;  // ... how the last block has them
} gpu_rows;

int64_t gpu_reduced_size(const kbuild *b, const gpu_rows *g);
int64_t gpu_row_count(const kbuild *b, const gpu_rows *g);
/// R to threads, first along the lanes, then from the innermost axis outwards, and the rest to registers. Gives
/// the elements per thread.
int64_t gpu_deal_reduced(const kbuild *b, gpu_rows *g, int threads);
/// The reductions and stores of a row whose ranges are open and which is held in registers.
void gpu_resident_row(kbuild *b, gpu_rows *g);
/// Whether rows are few and long, and take one walk.
bool gpu_chunks_apply(const kbuild *b, const gpu_rows *g);
/// When the shares are known: how many chunks; false: not several. Then their layout, and all statements.
bool gpu_chunks_plan(kbuild *b, gpu_rows *g);
void gpu_chunks_lay_out(kbuild *b, gpu_rows *g);
void gpu_run_chunks(kbuild *b, gpu_rows *g);
/// Rows whose kernel also keeps sums of columns, see gpu_columns.c.
void gpu_column_rows(kbuild *b);
/// Whether rows are long and many, and alike enough; plans the ring.
bool gpu_ring_applies(const kbuild *b, gpu_rows *g);
/// What comes with each row of the loop that is open, through buffers with these axes.
void gpu_stage_rows(kbuild *b, gpu_rows *g, const int *axes, int naxes);
/// Finds what does, and gives its bytes, and those of what all rows share, per element of R; adds to both.
bool gpu_survey_rows(const kbuild *b, gpu_rows *g, double *staged, double *shared);
void gpu_ring_rows(kbuild *b, gpu_rows *g);
