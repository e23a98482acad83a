// Sizes of tiles: overrides from the command line, and grids of a given grain.
#include <stdlib.h>

#include "passes/lower.h"

int64_t schedule_option(const lower *l, const char *key, int64_t otherwise) {
  str s = l->options->schedule;
  str want = str_from(key);
  for (int i = 0; i < s.len;) {
    int end = i;
    while (end < s.len && s.ptr[end] != ',') end++;
    str item = {s.ptr + i, end - i};
    if (str_starts(item, want) && item.len > want.len && item.ptr[want.len] == '=') {
      char digits[24] = {0};
      int n = item.len - want.len - 1;
      if (n > 23) n = 23;
      memcpy(digits, item.ptr + want.len + 1, (size_t)n);
      return strtoll(digits, NULL, 10);
    }
    i = end + 1;
  }
  return otherwise;
}

void schedule_grid(kbuild *b, const int *axes, const int *step, int n, int64_t elements) {
  int extents[MAX_KERNEL_AXES];
  for (int i = n - 1; i >= 0; i--) {
    int64_t size = kb_kernel_size(b, axes[i]);
    int64_t want = size < elements ? size : elements;
    int64_t extent = (want + step[i] - 1) / step[i] * step[i];
    if (extent < step[i]) extent = step[i];
    if (extent > (1 << 24)) extent = (1 << 24) / step[i] * step[i];
    extents[i] = (int)extent;
    elements = elements / extent > 1 ? elements / extent : 1;
  }
  for (int i = 0; i < n; i++)
    vec_push(b->l->a, &b->k->grid, (grid_axis){axes[i], extents[i]});
}
