// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The machine units that dots name: the rows of ir/units.def, and the rules that follow from them.
#pragma once
#include "ir/tile.h"

typedef enum unit_machine { UNIT_ANY, UNIT_CPU, UNIT_GPU } unit_machine;
typedef enum unit_places { UNIT_VALUES, UNIT_WIDENED, UNIT_ON_CHIP, UNIT_PANELS } unit_places;

typedef struct unit_info {
  const char *name;
  unit_machine machine;
  int threads;  // that work together
  int m, n;     // rows and columns of a block
  int most_n;   // columns of an instruction
  int step_bytes;
  unsigned types;  // bits of dtypes; 0: any
  unit_places places;
  unsigned in_registers;  // bits of dtypes of rows that are values as well
  layout_digit rows[MAX_DIGITS], columns[MAX_DIGITS];  // up to the one of size 0
} unit_info;

enum { UNIT_PIECE = 16, UNIT_ROW = 128 };  // bytes that are permuted as one; of a swizzled panel

const unit_info *unit_get(dot_unit u);
/// Reads its operands in shared memory, with sums on the threads as the row says.
bool unit_is_tensor(dot_unit u);
bool unit_takes(dot_unit u, dtype operand);
/// The first operand, being that of the rows, may be a cast of a value of this type that is in
/// registers: laid as the sums' rows and, along the contracted axis, as their columns, it has the
/// unit's fragments.
bool unit_takes_registers(dot_unit u, dtype operand);
/// Elements along the contracted axis that one instruction sums over.
int unit_step(dot_unit u, dtype operand);
/// The digits at the beginning of the layout that are the unit's rows or columns; 0: they are not.
int unit_row_digits(dot_unit u, const axis_layout *l);
int unit_column_digits(dot_unit u, const axis_layout *l);

/// The statement is a load from chip that units may read in place; not what they may be able to do.
bool unit_reads_load(const kernel *k, const tstmt *s);

/// How an operand lies on chip.
typedef struct unit_operand {
  dtype type;
  bool k_unit;       // rows in memory run along the contracted axis; else along the sums' axis
  int pitch;         // bytes from row to row
  int panel;         // elements of a row in one panel; 0: rows are whole
  int panel_stride;  // bytes
  bool swizzle;
} unit_operand;
/// Why the unit cannot read the operand (the one of the rows, or that of the columns); null: it can.
const char *unit_refuses(dot_unit u, const unit_operand *o, bool of_rows);

/// Elements of a local buffer of these dimensions in memory, with the steps along each of them (the
/// panel's is left alone) and, with panels, from one panel to the next.
int64_t tile_buf_strides(const tile_buf *b, const int64_t *dims, int64_t *strides,
                         int64_t *panel_stride);
/// How a load of the whole buffer is an operand whose axis of the sums is `own`, contracted along
/// `depth`. False with why when the buffer has them otherwise.
bool unit_operand_of(const kernel *k, const tstmt *load, int own, int depth, unit_operand *out,
                     const char **why);
