// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See units.h.
#include "ir/units.h"

#define ANY(threads) UNIT_ANY, threads
#define CPU(threads) UNIT_CPU, threads
#define GPU(threads) UNIT_GPU, threads
#define ANY_TYPE 0
#define NONE 0
#define F16 (1u << DT_f16)
#define BF16 (1u << DT_bf16)
#define F32 (1u << DT_f32)
#define OPEN(...) __VA_ARGS__

static const unit_info infos[] = {
#define UNIT(id, word, machine, block, most_n, step, types, places, in_registers, rows, columns) \
  [DOT_##id] = {word,  machine,        OPEN block,   most_n,      step,                           \
                types, UNIT_##places, in_registers, {OPEN rows}, {OPEN columns}},
#include "ir/units.def"
#undef UNIT
};

const unit_info *unit_get(dot_unit u) { return &infos[u]; }

const char *dot_unit_name(dot_unit u) { return infos[u].name; }

bool unit_is_tensor(dot_unit u) {
  return infos[u].places == UNIT_ON_CHIP || infos[u].places == UNIT_PANELS;
}

bool unit_takes(dot_unit u, dtype operand) {
  return !infos[u].types || (infos[u].types >> operand & 1);
}

bool unit_takes_registers(dot_unit u, dtype operand) {
  return infos[u].in_registers >> operand & 1;
}

int unit_step(dot_unit u, dtype operand) {
  int step = infos[u].step_bytes / dtype_bytes(operand);
  return step > 1 ? step : 1;
}

static int digits_begin(const axis_layout *l, const layout_digit *want) {
  int n = 0;
  for (; n < MAX_DIGITS && want[n].size; n++)
    if (!l || n >= l->ndigits || l->digits[n].size != want[n].size ||
        l->digits[n].stride != want[n].stride)
      return 0;
  return n;
}

int unit_row_digits(dot_unit u, const axis_layout *l) { return digits_begin(l, infos[u].rows); }
int unit_column_digits(dot_unit u, const axis_layout *l) {
  return digits_begin(l, infos[u].columns);
}

static bool power_of_two(int v) { return v > 0 && !(v & (v - 1)); }

const char *unit_refuses(dot_unit u, const unit_operand *o, bool of_rows) {
  enum { TURNS = 8 };  // rows after which the permutation begins anew
  int bytes = dtype_bytes(o->type), step = unit_step(u, o->type);
  if (!unit_takes(u, o->type)) return "element types";
  if (o->pitch % UNIT_PIECE) return "rows are not a multiple of 16 bytes";
  bool in_panels = o->swizzle && o->panel * bytes == UNIT_ROW && o->pitch == UNIT_ROW;
  if (infos[u].places == UNIT_PANELS && !in_panels)
    return "operand is not in swizzled panels of 128 bytes";
  if (o->swizzle && !in_panels) return "swizzled panels are not 128 bytes wide";
  if (o->panel && (o->panel % step || !power_of_two(o->panel))) return "panels are not a power of two";
  if (infos[u].places != UNIT_PANELS) return NULL;
  // Rows pass registers, in any order.
  if (o->type == DT_f32 && !o->k_unit && !of_rows) return "rows of tf32 columns do not run along k";
  if (o->panel_stride % (TURNS * UNIT_ROW)) return "panels are not a multiple of 1024 bytes";
  return NULL;
}

// ---- buffers

int64_t tile_buf_strides(const tile_buf *b, const int64_t *dims, int64_t *strides,
                         int64_t *panel_stride) {
  bool panels = b->panel > 0;
  int64_t step = panels ? b->panel : 1;
  for (int i = b->rank - 1; i >= 0; i--) {
    if (panels && i == b->panel_dim) continue;
    strides[i] = step;
    step *= dims[i];
    if (i == b->rank - 1) step += b->pad;
  }
  *panel_stride = panels ? step : 0;
  return panels ? step * ((dims[b->panel_dim] + b->panel - 1) / b->panel) : step;
}

bool unit_reads_load(const kernel *k, const tstmt *s) {
  if (!s || s->kind != TILE_LOAD || s->buf < k->nargs || s->guard || s->nin) return false;
  dtype t = s->out[0]->type;
  return t == DT_f16 || t == DT_bf16 || t == DT_f32;
}

bool unit_operand_of(const kernel *k, const tstmt *load, int own, int depth, unit_operand *out,
                     const char **why) {
  const tile_buf *b = &k->bufs.data[load->buf];
  int64_t dims[MAX_AXES] = {0}, strides[MAX_AXES] = {0}, panel_stride;
  int at_own = -1, at_depth = -1;
  for (int d = 0; d < b->rank; d++) {
    int axis;
    bool whole = ix_is_axis(&k->ix, load->ix[d], &axis) && axis == b->local_axes[d] &&
                 ix_is_const(&k->ix, b->dims[d], &dims[d]) &&
                 dims[d] == tval_extent(load->out[0], axis);
    if (!whole) return *why = "an operand is not the whole of its buffer", false;
    if (axis == own) at_own = d;
    if (axis == depth) at_depth = d;
  }
  int unit = b->panel > 0 ? b->panel_dim : b->rank - 1;
  if (at_own < 0 || at_depth < 0) return *why = "an operand's buffer lacks an axis", false;
  if (unit != at_own && unit != at_depth)
    return *why = "an operand's buffer is contiguous along another axis", false;
  tile_buf_strides(b, dims, strides, &panel_stride);
  int bytes = dtype_bytes(b->type);
  *out = (unit_operand){.type = b->type, .k_unit = unit == at_depth, .swizzle = b->swizzle};
  out->panel = b->panel;
  out->pitch = (int)strides[unit == at_depth ? at_own : at_depth] * bytes;
  out->panel_stride = (int)panel_stride * bytes;
  return true;
}
