// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Objects to libraries: a shared one by the system's linker, an archive written here.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/file.h"
#include "runtime/tool.h"

// ---- shared

enum { MOST_OBJECTS = 8, LIBRARY_LIMIT = 1 << 30 };

static bool find_cc(char *path, size_t size, error *e) {
  static const char *const names[] = {"cc", "gcc", "clang"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (tool_find(names[i], NULL, path, size)) return true;
  return error_set(e, ERROR_DEVICE,
                   "a shared library is linked by cc, which is not in $PATH (nor gcc or clang); an "
                   "archive (.a) or an object (.o) needs none");
}

/// cc -shared -Wl,-soname,NAME -o OUT OBJECTS -lpthread -ldl -lm
static bool run_cc(const tool_place *p, char *cc, const char *path, const link_object *objects,
                   int n, error *e) {
  char out[320], soname[320], inputs[MOST_OBJECTS][320], *argv[MOST_OBJECTS + 16], *log;
  int count = 0;
  const char *slash = strrchr(path, '/');
  snprintf(soname, sizeof soname, "-Wl,-soname,%.250s", slash ? slash + 1 : path);
  tool_file(p, "library.so", out);
  argv[count++] = cc;
  argv[count++] = "-shared";
  argv[count++] = soname;
  argv[count++] = "-o";
  argv[count++] = out;
  for (int i = 0; i < n; i++) {
    tool_file(p, objects[i].name, inputs[i]);
    argv[count++] = inputs[i];
  }
  argv[count++] = "-lpthread";
  argv[count++] = "-ldl";
  argv[count++] = "-lm";
  argv[count] = NULL;
  bool ok = tool_run(p, argv, &log, e);
  free(log);
  return ok;
}

static bool move_library(const tool_place *p, const char *path, error *e) {
  char from[320];
  size_t size;
  tool_file(p, "library.so", from);
  char *data = file_read(from, LIBRARY_LIMIT, &size, e);
  bool ok = data && file_write_whole(path, data, size, e);
  free(data);
  return ok;
}

bool link_shared(const char *path, const link_object *objects, int n, error *e) {
  char cc[4096];
  tool_place p;
  if (!find_cc(cc, sizeof cc, e) || !tool_place_open(&p, e)) return false;
  bool ok = n <= MOST_OBJECTS;
  for (int i = 0; ok && i < n; i++)
    ok = tool_write(&p, objects[i].name, objects[i].data, objects[i].size, e);
  ok = ok && run_cc(&p, cc, path, objects, n, e) && move_library(&p, path, e);
  tool_place_close(&p);
  return ok;
}

// ---- archives, in the layout of System V: an index of symbols, a table of long names, the members

enum { HEADER = 60 };

static void put_header(FILE *f, const char *name, size_t size) {
  fprintf(f, "%-16s%-12d%-6d%-6d%-8o%-10zu`\n", name, 0, 0, 0, 0644, size);
}

static void put_big_endian(FILE *f, size_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) fputc((int)(v >> shift & 0xff), f);
}

static void pad(FILE *f, size_t size) {
  if (size % 2) fputc('\n', f);
}

static size_t even(size_t size) { return size + size % 2; }

static int count_symbols(const link_object *o, size_t *bytes) {
  int n = 0;
  for (; o->symbols[n]; n++) *bytes += strlen(o->symbols[n]) + 1;
  return n;
}

static void put_index(FILE *f, const link_object *objects, int n, size_t names) {
  size_t bytes = 4, at = 8;
  int symbols = 0;
  for (int i = 0; i < n; i++) symbols += count_symbols(&objects[i], &bytes);
  bytes += 4 * (size_t)symbols;
  at += HEADER + even(bytes) + HEADER + even(names);
  put_header(f, "/", bytes);
  put_big_endian(f, (size_t)symbols);
  for (int i = 0; i < n; at += HEADER + even(objects[i].size), i++)
    for (const char *const *s = objects[i].symbols; *s; s++) put_big_endian(f, at);
  for (int i = 0; i < n; i++)
    for (const char *const *s = objects[i].symbols; *s; s++) fwrite(*s, strlen(*s) + 1, 1, f);
  pad(f, bytes);
}

static void put_archive(FILE *f, const link_object *objects, int n) {
  size_t names = 0;
  for (int i = 0; i < n; i++) names += strlen(objects[i].name) + 2;
  fputs("!<arch>\n", f);
  put_index(f, objects, n, names);
  put_header(f, "//", names);
  for (int i = 0; i < n; i++) fprintf(f, "%s/\n", objects[i].name);
  pad(f, names);
  size_t name = 0;
  for (int i = 0; i < n; i++) {
    char reference[32];
    snprintf(reference, sizeof reference, "/%zu", name);
    name += strlen(objects[i].name) + 2;
    put_header(f, reference, objects[i].size);
    fwrite(objects[i].data, objects[i].size, 1, f);
    pad(f, objects[i].size);
  }
}

bool link_archive(const char *path, const link_object *objects, int n, error *e) {
  char *data = NULL;
  size_t size;
  FILE *f = open_memstream(&data, &size);
  if (f) put_archive(f, objects, n);
  bool ok = f && !ferror(f);
  if (f && fclose(f)) ok = false;
  if (!ok) error_set(e, ERROR_MEMORY, "out of memory");
  ok = ok && file_write_whole(path, data, size, e);
  free(data);
  return ok;
}
