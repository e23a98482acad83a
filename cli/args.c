// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Options by table: --name value, --name=value, -x value; --help prints the table (cli/help.c).
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

void strings_add(strings *s, const char *item) {
  const char **more = realloc(s->items, sizeof *more * (size_t)(s->count + 1));
  if (!more) {
    complain("out of memory");
    exit(EXIT_ENVIRONMENT);
  }
  s->items = more;
  s->items[s->count++] = item;
}

void strings_free(strings *s) {
  free(s->items);
  *s = (strings){0};
}

bool parse_whole(const char *text, uint64_t most, uint64_t *out) {
  char *end;
  errno = 0;
  *out = strtoull(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end && !errno && *out <= most;
}

// Levenshtein's distance, words of up to 63 bytes.
static int distance(const char *a, const char *b) {
  int n = (int)strlen(a), m = (int)strlen(b), row[64];
  if (n > 63 || m > 63) return 64;
  for (int j = 0; j <= m; j++) row[j] = j;
  for (int i = 1; i <= n; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= m; j++) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[m];
}

const char *nearest(const char *word, const char *const *names, int count) {
  const char *found = NULL;
  int best = (int)strlen(word) / 3 + 1;
  for (int i = 0; i < count; i++) {
    int d = distance(word, names[i]);
    if (d <= best && (!found || d < best)) best = d, found = names[i];
  }
  return found;
}

static const option *find(const option *options, const char *word, size_t length) {
  for (const option *o = options; o->name; o++) {
    if (length == 2 && word[0] == '-' && o->letter && word[1] == o->letter) return o;
    if (strlen(o->name) == length && !strncmp(o->name, word, length)) return o;
  }
  return NULL;
}

static bool unknown_option(const command *c, const option *options, const char *word, size_t n) {
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)n, word);
  const char *names[64];
  int count = 0;
  bool sizes = false;
  for (const option *o = options; o->name && count < 64; o++) {
    names[count++] = o->name;
    sizes |= !strcmp(o->name, "--dim");
  }
  if (sizes && !strncmp(name, "--in", 4) && (!name[4] || !strcmp(name, "--in-all")))
    return complain("%s takes sizes only, no arrays: --dim N=4096, not %s", c->name, name), false;
  const char *near = nearest(name, names, count);
  complain("%s has no option %s%s%s%s", c->name, name, near ? "; did you mean " : "",
           near ? near : "", near ? "?" : "");
  return false;
}

static bool set(const option *o, const char *value) {
  switch (o->kind) {
    case OPTION_ONCE:
      if (*(const char **)o->target) return complain("%s is given twice", o->name), false;
      *(const char **)o->target = value;
      break;
    case OPTION_FLAG:
      *(bool *)o->target = true;
      break;
    case OPTION_LIST:
      strings_add(o->target, value);
      break;
    case OPTION_VALUE:
    case OPTION_OPTIONAL:
      *(const char **)o->target = value ? value : "";
      break;
  }
  return true;
}

bool parse_options(const command *c, const option *options, int argc, char **argv, strings *files,
                   bool *help) {
  bool only_files = false;
  const option *bare = NULL;  // that may have a value and has none; then came:
  const char *after = NULL;
  for (int i = 0; i < argc; i++) {
    const char *word = argv[i];
    if (only_files || word[0] != '-' || !word[1]) {
      if (bare && !after) after = word;
      strings_add(files, word);
      continue;
    }
    if (!strcmp(word, "--")) {
      only_files = true;
      continue;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strncmp(word, "--help=", 7))
      return *help = print_help(c, options, strncmp(word, "--help=", 7) ? "text" : word + 7);
    const char *equals = word[1] == '-' ? strchr(word, '=') : NULL;
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const option *o = find(options, word, length);
    if (!o) return unknown_option(c, options, word, length);
    const char *value = equals ? equals + 1 : NULL;
    bool needs = o->kind == OPTION_VALUE || o->kind == OPTION_ONCE || o->kind == OPTION_LIST;
    if (o->kind == OPTION_FLAG && value) return complain("%s takes no value", o->name), false;
    if (needs && !value && i + 1 < argc) value = argv[++i];
    if (needs && !value) return complain("%s needs a value: %s", o->name, o->value_name), false;
    if (!set(o, value)) return false;
    if (o->kind == OPTION_OPTIONAL && !value) bare = o, after = NULL;
  }
  if (after && files->count > 1)
    return complain("a value of %s follows '=': %s=%s", bare->name, bare->name, after), false;
  return true;
}
