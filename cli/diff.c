// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The difference of two texts in unified format, which `patch` takes.
//
//   old: a b c d     new: a x c d     edits: ' 'a '-'b '+'x ' 'c ' 'd
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef struct line {
  const char *at;
  size_t length;  // with its end, where it has one
} line;

typedef struct lines {
  line *items;
  size_t count;
} lines;

typedef struct edit {
  char kind;  // ' ', '-' or '+'
  line text;
} edit;

typedef struct edits {
  edit *items;
  size_t count;
} edits;

static bool split(const char *text, size_t size, lines *out) {
  size_t most = 1;
  for (size_t i = 0; i < size; i++) most += text[i] == '\n';
  *out = (lines){calloc(most, sizeof(line)), 0};
  for (size_t at = 0, end; out->items && at < size; at = end) {
    const char *newline = memchr(text + at, '\n', size - at);
    end = newline ? (size_t)(newline - text) + 1 : size;
    out->items[out->count++] = (line){text + at, end - at};
  }
  return out->items;
}

static bool same(line a, line b) { return a.length == b.length && !memcmp(a.at, b.at, a.length); }

static void put(edits *e, char kind, line text) { e->items[e->count++] = (edit){kind, text}; }

/// Between what both begin and end with: by the longest common subsequence, whose length from (i, j) on is
/// kept[i][j]. Where that table would be large, all of one is taken away and all of the other added.
static bool compare_middle(const line *a, size_t n, const line *b, size_t m, edits *e) {
  enum { LARGEST = 16 << 20 };
  size_t i = 0, j = 0, row = m + 1;
  bool large = (n + 1) > LARGEST / row;
  unsigned *kept = large ? NULL : calloc((n + 1) * row, sizeof *kept);
  if (!large && !kept) return false;
  for (size_t x = n; kept && x-- > 0;)
    for (size_t y = m; y-- > 0;) {
      unsigned down = kept[(x + 1) * row + y], right = kept[x * row + y + 1];
      kept[x * row + y] = same(a[x], b[y]) ? kept[(x + 1) * row + y + 1] + 1
                          : down >= right  ? down
                                           : right;
    }
  while (i < n || j < m) {
    if (kept && i < n && j < m && same(a[i], b[j])) put(e, ' ', a[i]), i++, j++;
    else if (i < n && (!kept || j == m || kept[(i + 1) * row + j] >= kept[i * row + j + 1]))
      put(e, '-', a[i++]);
    else put(e, '+', b[j++]);
  }
  free(kept);
  return true;
}

static bool compare(const lines *a, const lines *b, edits *e) {
  size_t n = a->count, m = b->count, head = 0, tail = 0;
  *e = (edits){calloc(n + m + 1, sizeof(edit)), 0};
  if (!e->items) return false;
  while (head < n && head < m && same(a->items[head], b->items[head])) head++;
  while (tail < n - head && tail < m - head && same(a->items[n - 1 - tail], b->items[m - 1 - tail]))
    tail++;
  for (size_t i = 0; i < head; i++) put(e, ' ', a->items[i]);
  if (!compare_middle(a->items + head, n - head - tail, b->items + head, m - head - tail, e)) return false;
  for (size_t i = n - tail; i < n; i++) put(e, ' ', a->items[i]);
  return true;
}

static void print_hunk(const edit *e, size_t count, size_t before[2]) {
  size_t size[2] = {0, 0};
  for (size_t i = 0; i < count; i++) size[0] += e[i].kind != '+', size[1] += e[i].kind != '-';
  // A side without lines names the line before it.
  printf("@@ -%zu,%zu +%zu,%zu @@\n", before[0] + (size[0] > 0), size[0], before[1] + (size[1] > 0),
         size[1]);
  for (size_t i = 0; i < count; i++) {
    putchar(e[i].kind);
    fwrite(e[i].text.at, 1, e[i].text.length, stdout);
    if (e[i].text.at[e[i].text.length - 1] != '\n') fputs("\n\\ No newline at end of file\n", stdout);
  }
  before[0] += size[0];
  before[1] += size[1];
}

static void print_hunks(const edits *e) {
  enum { CONTEXT = 3 };
  size_t before[2] = {0, 0}, done = 0;
  for (size_t i = 0; i < e->count; i++) {
    if (e->items[i].kind == ' ') continue;
    size_t from = i > done + CONTEXT ? i - CONTEXT : done, last = i;
    for (size_t k = i; k < e->count && k <= last + 2 * CONTEXT; k++)
      if (e->items[k].kind != ' ') last = k;
    size_t to = last + 1 + CONTEXT < e->count ? last + 1 + CONTEXT : e->count;
    before[0] += from - done;
    before[1] += from - done;
    print_hunk(e->items + from, to - from, before);
    done = to;
    i = to - 1;
  }
}

bool print_diff(const char *name, const char *old, size_t old_size, const char *new, size_t new_size) {
  lines a = {0}, b = {0};
  edits e = {0};
  bool ok = split(old, old_size, &a) && split(new, new_size, &b) && compare(&a, &b, &e);
  if (ok) {
    printf("--- %s\n+++ %s\n", name, name);
    print_hunks(&e);
  }
  free(a.items);
  free(b.items);
  free(e.items);
  return ok;
}
