// What a contraction becomes: its axes, its form, its blocks and tiles. Chosen by
// contract_plan.c, emitted by lower_contract.c.
#pragma once
#include "passes/lower.h"

typedef enum contract_form {
  CONTRACT_BLOCKED,    // register blocks over panels of b
  CONTRACT_INNER,      // inner products along K, for few rows
  CONTRACT_REDUCTION,  // no reuse: a reduction of products
} contract_form;

typedef struct contract_plan {
  const node *dot;
  int a, b;  // operand numbers: b carries the lanes
  int batch[MAX_AXES], nbatch;  // graph axes in both operands
  int m[MAX_AXES], nm;          // only in a
  int n[MAX_AXES], nn;          // only in b
  int k[MAX_AXES], nk;          // contracted
  // kernel axes after collapsing; -1 none
  int kbatch[MAX_AXES], nkbatch, km[MAX_AXES], nkm, kn[MAX_AXES], nkn, kk[MAX_AXES], nkk;
  int rows, lanes;   // the axes of the register block
  int mr, nr;        // its extents
  int kc;            // block of kk[0]; 0: not blocked
  int mt, nt;        // grid tile
  int bt[MAX_AXES];  // ... along each of kbatch
  int mc;            // rows of a packed at a time; 0: a is read in place
  bool pack_a, pack_b, transposes_b;
  bool stream_b;     // b is read once in order: N outside M
  bool partial_in_output;
  int a_buf, b_buf, c_buf;  // on-chip buffers, -1 none
} contract_plan;

/// Surveys the group's accesses, makes the kernel axes (not for a reduction) and decides.
contract_form contract_choose(kbuild *b, contract_plan *p);

bool contract_has(const int *axes, int n, int axis);
/// Estimate of a kernel axis for planning: an empty or absent one counts as 1.
int64_t contract_size(const kbuild *b, int kernel_axis);
/// v up to a multiple of step, at least step, at most 2^24.
int contract_round(int64_t v, int step);
/// The operand can be read along K with unit stride.
bool contract_along_k(const kbuild *b, const contract_plan *p, const node *x);
