// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Overrides of schedules, "key=value,...", of all kernels or ("3.key=value") of one; what could have
// been chosen otherwise; and grids of a given grain.
#include <stdlib.h>

#include "passes/lowering/lower.h"

// Every key that the lowering asks for: name, least and most value, words for 0, 1, ... (or null),
// meaning.
#define SCHEDULE_KEYS(KEY)                                                                      \
  KEY(threads, 1, 1024, NULL, "GPU: threads of a block in maps; along a row in reductions")     \
  KEY(vector, 1, 16, NULL, "GPU: neighbouring elements of a thread")                            \
  KEY(rows, 1, 64, NULL, "GPU: rows per thread in reductions")                                  \
  KEY(elements, 1, 64, NULL, "GPU: elements of a thread in maps and steps along rows")          \
  KEY(ring, 0, 1, NULL, "GPU: rows are copied ahead into on-chip memory")                       \
  KEY(cluster, 1, 8, NULL, "GPU: blocks that share a long row")                                 \
  KEY(m, 1, 1024, NULL, "GPU: rows of a block tile of a product, or of loop nests")             \
  KEY(n, 1, 1024, NULL, "GPU: columns of a block tile of a product")                            \
  KEY(k, 1, 1024, NULL, "GPU: steps of a product staged at a time")                             \
  KEY(chunks, 1, 1 << 16, NULL, "GPU: blocks that share a few long rows; 1: none do")           \
  KEY(stages, 1, 16, NULL, "GPU: copies of the staged operands")                                \
  KEY(skew, 0, 1, NULL, "GPU: products of two steps of a stream at once")                       \
  KEY(turns, 0, 1, NULL, "GPU: warpgroups multiply one after the other")                        \
  KEY(heads, 1, 64, NULL, "GPU: heads of streamed rows whose tiles are started together")       \
  KEY(unit, 0, 2, "fma mma wgmma", "GPU: what multiplies where tensor cores can")               \
  KEY(blocks_per_sm, 0, 32, NULL, "GPU: resident blocks of products, streams; 0: one per tile") \
  KEY(vectors, 1, 64, NULL, "CPU: vectors per step of maps and reductions")                     \
  KEY(grid, 1, 1 << 24, NULL, "CPU: elements of a grid tile")                                   \
  KEY(columns, 0, 1, NULL, "CPU: sums of many columns are kept while the rows go by")           \
  KEY(by_rows, 0, 1, NULL, "scatters: updates are listed by row, then summed")                  \
  KEY(mr, 1, 64, NULL, "CPU: rows of the register block of a product")                          \
  KEY(nr, 1, 1024, NULL, "CPU: columns of the register block of a product")                     \
  KEY(kc, 0, 1 << 24, NULL, "CPU: block of the contracted axis; 0: whole")                      \
  KEY(mc, 1, 1 << 24, NULL, "CPU: rows packed at a time")                                       \
  KEY(mt, 1, 1 << 24, NULL, "CPU: rows of a grid tile of a product")                            \
  KEY(nt, 1, 1 << 24, NULL, "CPU: columns of a grid tile of a product")                         \
  KEY(step, 1, 4096, NULL, "elements of a streamed axis at a time")                             \
  KEY(lanes, 0, 1, "stream rows", "CPU: where the lanes of a streamed kernel run")              \
  KEY(pack_b, 0, 1, NULL, "CPU: copy the operand of the columns into panels")                   \
  KEY(inner, 0, 1, NULL, "CPU: sum products along the contracted axis in lanes")                \
  KEY(pairs, 0, 1, NULL, "CPU: multiply bf16 elements two by two")

static const struct schedule_key {
  const char *name;
  int64_t least, most;
  const char *words, *refused;
} keys[] = {
#define KEY(name, least, most, words, doc) \
  {#name, least, most, words, "schedule: " #name " is from " #least " to " #most " (" doc ")"},
    SCHEDULE_KEYS(KEY)
#undef KEY
};

#define KEY(name, least, most, words, doc) " " #name
static const char unknown_key[] =
    "schedule: an item is KEY=NUMBER with one of the keys" SCHEDULE_KEYS(KEY);
#undef KEY

enum { NKEYS = sizeof keys / sizeof *keys };

/// The next "key=value" of the text; false at its end.
static bool next_item(str text, int *at, str *key, str *value) {
  if (*at >= text.len) return false;
  int end = *at, equals = -1;
  for (; end < text.len && text.ptr[end] != ','; end++)
    if (text.ptr[end] == '=' && equals < 0) equals = end;
  *key = (str){text.ptr + *at, (equals < 0 ? end : equals) - *at};
  *value = equals < 0 ? (str){0} : (str){text.ptr + equals + 1, end - equals - 1};
  *at = end + 1;
  return true;
}

/// One of the words "a b c" as 0, 1, 2; -1 none.
static int64_t word_number(const char *words, str value) {
  int64_t number = 0;
  for (const char *w = words; w && *w; number++) {
    const char *end = strchr(w, ' ');
    int len = end ? (int)(end - w) : (int)strlen(w);
    if (str_eq(value, (str){w, len})) return number;
    w += len + (end != NULL);
  }
  return -1;
}

static bool read_value(const struct schedule_key *key, str value, int64_t *out) {
  char digits[20] = {0}, *end;
  *out = word_number(key->words, value);
  if (*out >= 0) return true;
  if (!value.len || value.len >= (int)sizeof digits) return false;
  memcpy(digits, value.ptr, (size_t)value.len);
  *out = strtoll(digits, &end, 10);
  return !*end && digits[0] >= '0' && digits[0] <= '9' && *out >= key->least && *out <= key->most;
}

static const struct schedule_key *find_key(str name) {
  for (int i = 0; i < NKEYS; i++)
    if (str_eqz(name, keys[i].name)) return &keys[i];
  return NULL;
}

/// "3.rows" is `rows` of kernel 3; *kernel is -1 for a key of all kernels.
static str split_key(str key, int *kernel) {
  int digits = 0;
  int64_t number = 0;
  while (digits < key.len && digits < 9 && key.ptr[digits] >= '0' && key.ptr[digits] <= '9')
    number = 10 * number + key.ptr[digits++] - '0';
  bool one = digits > 0 && digits < key.len && key.ptr[digits] == '.';
  *kernel = one ? (int)number : -1;
  return one ? (str){key.ptr + digits + 1, key.len - digits - 1} : key;
}

bool schedule_check(str text, str *error) {
  str name, value;
  for (int at = 0; next_item(text, &at, &name, &value);) {
    int kernel;
    const struct schedule_key *key = find_key(split_key(name, &kernel));
    int64_t v;
    *error = str_from(key ? key->refused : unknown_key);
    if (!key || !read_value(key, value, &v)) return false;
  }
  *error = (str){0};
  return true;
}

/// The first item that is for this kernel.
static bool find_item(str text, int number, const char *wanted, int64_t *v) {
  str name, value;
  for (int at = 0; next_item(text, &at, &name, &value);) {
    int kernel;
    str key = split_key(name, &kernel);
    if ((kernel < 0 || kernel == number) && str_eqz(key, wanted) && read_value(find_key(key), value, v))
      return true;
  }
  return false;
}

/// By the options, else by the plan that the graph has for the kernel.
static bool given(const lower *l, const char *wanted, int64_t *v) {
  if (find_item(l->options->schedule, l->number, wanted, v)) return true;
  return l->number < l->g->plans.len && find_item(l->g->plans.data[l->number], l->number, wanted, v);
}

// ---- plans

void schedule_settle(const lower *l, const char *key, int64_t value) {
  schedule_choices *c = l->options->choices;
  if (!c) return;
  for (int i = 0; i < c->made.len; i++)
    if (c->made.data[i].kernel == l->number && !strcmp(c->made.data[i].key, key)) {
      c->made.data[i].value = value;
      return;
    }
  vec_push(l->a, &c->made, (schedule_value){l->number, key, value});
}

int schedule_settled(const lower *l) { return l->options->choices ? l->options->choices->made.len : 0; }

void schedule_unsettle(const lower *l, int count) {
  if (l->options->choices) l->options->choices->made.len = count;
}

/// The value as a plan has it.
static void put_value(strbuf *out, const struct schedule_key *key, int64_t value) {
  const char *w = key->words;
  for (int64_t i = 0; w && i < value; i++) w = strchr(w, ' ') ? strchr(w, ' ') + 1 : NULL;
  if (w) sb_printf(out, "%.*s", (int)strcspn(w, " "), w);
  else sb_printf(out, "%lld", (long long)value);
}

str schedule_plan(arena *a, const schedule_choices *c, int kernel) {
  strbuf out = sb_new(a);
  for (int i = 0; i < c->made.len; i++) {
    const schedule_value *v = &c->made.data[i];
    if (v->kernel != kernel) continue;
    sb_printf(&out, "%s%s=", out.len ? "," : "", v->key);
    put_value(&out, find_key(str_from(v->key)), v->value);
  }
  return sb_str(&out);
}

bool schedule_is_kept(arena *a, const graph *g, const schedule_choices *c, str *why) {
  str name, value;
  for (int k = 0; k < g->plans.len; k++)
    for (int at = 0; next_item(g->plans.data[k], &at, &name, &value);) {
      const struct schedule_key *key = find_key(name);
      const schedule_value *made = NULL;
      int64_t v;
      for (int i = 0; i < c->made.len; i++)
        if (c->made.data[i].kernel == k && str_eqz(name, c->made.data[i].key)) made = &c->made.data[i];
      if (!key) *why = str_printf(a, "the plan of kernel %d has %.*s, which is no key", k, STR_FMT(name));
      else if (!read_value(key, value, &v)) *why = str_printf(a, "the plan of kernel %d: %s", k, key->refused);
      else if (!made)
        *why = str_printf(a, "the plan of kernel %d has %.*s, and nothing of the kernel follows from it",
                          k, STR_FMT(name));
      else if (made->value != v) {
        strbuf would = sb_new(a);
        put_value(&would, key, made->value);
        *why = str_printf(a, "the plan of kernel %d has %.*s=%.*s, which it cannot be: it would be %.*s", k,
                          STR_FMT(name), STR_FMT(value), STR_FMT(sb_str(&would)));
      } else continue;
      return false;
    }
  return true;
}

// ---- alternatives

void schedule_offer(const lower *l, const char *format, ...) {
  schedule_choices *c = l->options->choices;
  if (!c) return;
  va_list args;
  va_start(args, format);
  str items = str_vprintf(l->a, format, args);
  va_end(args);
  for (int i = 0; i < c->alternatives.len; i++)
    if (c->alternatives.data[i].kernel == l->number && str_eq(c->alternatives.data[i].items, items))
      return;
  vec_push(l->a, &c->alternatives, (schedule_alternative){l->number, items});
}

/// What is near a value that was chosen: all others of a few, else half and twice of it. Nothing is
/// half of 0, which says that something is not done; of a count one and two are next.
static void offer_near(const lower *l, const struct schedule_key *key, int64_t chosen) {
  enum { FEW = 3, COUNT = 64 };
  if (key->most - key->least < FEW) {
    for (int64_t v = key->least; v <= key->most; v++)
      if (v != chosen) schedule_offer(l, "%s=%lld", key->name, (long long)v);
    return;
  }
  int64_t near[] = {chosen ? chosen / 2 : 1, chosen ? 2 * chosen : 2};
  for (int i = 0; i < 2 && (chosen || key->most <= COUNT); i++)
    if (near[i] >= key->least && near[i] <= key->most && near[i] > 0)
      schedule_offer(l, "%s=%lld", key->name, (long long)near[i]);
}

int64_t schedule_given(const lower *l, const char *wanted, int64_t otherwise) {
  int64_t v;
  return given(l, wanted, &v) ? v : otherwise;
}

int64_t schedule_option(const lower *l, const char *wanted, int64_t otherwise) {
  int64_t v = schedule_given(l, wanted, otherwise);
  schedule_settle(l, wanted, v);
  offer_near(l, find_key(str_from(wanted)), v);
  return v;
}

/// The text without the items that `by` has.
static void put_others(strbuf *out, str text, str by) {
  str name, value, other, unused;
  for (int at = 0; next_item(text, &at, &name, &value);) {
    bool replaced = false;
    for (int i = 0; next_item(by, &i, &other, &unused);) replaced |= str_eq(name, other);
    if (!replaced)
      sb_printf(out, "%s%.*s=%.*s", out->len ? "," : "", STR_FMT(name), STR_FMT(value));
  }
}

str schedule_with(arena *a, str schedule, const schedule_choices *c,
                  const schedule_alternative *alternative) {
  strbuf items = sb_new(a), all = sb_new(a);
  str name, value;
  for (int i = 0; i < c->kernels.len; i++) {
    if (c->same_as.data[i] != alternative->kernel) continue;
    for (int at = 0; next_item(alternative->items, &at, &name, &value);)
      sb_printf(&items, "%s%d.%.*s=%.*s", items.len ? "," : "", c->kernels.data[i], STR_FMT(name),
                STR_FMT(value));
  }
  put_others(&all, schedule, sb_str(&items));
  if (all.len && items.len) sb_putc(&all, ',');
  sb_put(&all, sb_str(&items));
  return sb_str(&all);
}

int schedule_power(const lower *l, const char *wanted, int otherwise) {
  int64_t v = schedule_option(l, wanted, otherwise);
  while (v & (v - 1)) v &= v - 1;
  schedule_settle(l, wanted, v);
  return (int)v;
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
  for (int i = 0; i < n; i++) vec_push(b->l->a, &b->k->grid, (grid_axis){axes[i], extents[i]});
}
