// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading objects: several with the same names at once, unloading, what cannot be loaded.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "runtime/file.h"

// Objects come from the system's compiler here, so that loading is tested apart from code
// generation.
static char *compile(const char *source, size_t *size) {
  char path[] = "/tmp/tcf-jit-XXXXXX", command[256];
  int fd = mkstemp(path);
  cr_assert(fd >= 0);
  close(fd);
  snprintf(command, sizeof command, "cc -x c -O1 -fPIC -c -o %s -", path);
  FILE *cc = popen(command, "w");
  fputs(source, cc);
  cr_assert_eq(pclose(cc), 0);
  error e;
  char *object = file_read(path, 1 << 20, size, &e);
  cr_assert(object, "%s", e.text);
  unlink(path);
  return object;
}

Test(api_jit, objects_with_the_same_names_live_side_by_side) {
  arena a = {0};
  str error = {0};
  jit *j = jit_new(&error, &a);
  cr_assert(j, "%.*s", STR_FMT(error));
  size_t one_size, two_size;
  char *one = compile("int f(void) { return 1; }", &one_size);
  char *two = compile(
      "#include <string.h>\nint f(char *to, char *from, long n)"
      "{ memcpy(to, from, n); return 2; }",
      &two_size);
  jit_object *a1 = jit_load(j, one, one_size, &a, &error);
  jit_object *a2 = jit_load(j, two, two_size, &a, &error);
  cr_assert(a1 && a2, "%.*s", STR_FMT(error));
  int (*f1)(void) = (int (*)(void))jit_symbol(j, a1, "f", &a, &error);
  int (*f2)(char *, char *, long) =
      (int (*)(char *, char *, long))jit_symbol(j, a2, "f", &a, &error);
  cr_assert(f1 && f2, "%.*s", STR_FMT(error));
  cr_assert_eq(f1(), 1);
  char to[6];
  cr_assert_eq(f2(to, "hello", 6), 2);
  cr_assert_str_eq(to, "hello");

  cr_assert_null(jit_symbol(j, a1, "g", &a, &error));
  cr_assert(error.len > 0);

  for (int i = 0; i < 100; i++) {
    jit_unload(j, a1);
    a1 = jit_load(j, i % 2 ? one : two, i % 2 ? one_size : two_size, &a, &error);
    cr_assert(a1 && jit_symbol(j, a1, "f", &a, &error), "%d: %.*s", i, STR_FMT(error));
  }
  jit_free(j);
  free(one);
  free(two);
  arena_free(&a);
}

Test(api_jit, damaged_objects_are_errors) {
  arena a = {0};
  str error = {0};
  jit *j = jit_new(&error, &a);
  static const char garbage[] = "this is no object file at all, but text";
  jit_object *o = jit_load(j, garbage, sizeof garbage, &a, &error);
  void *f = o ? jit_symbol(j, o, "f", &a, &error) : NULL;
  cr_assert_null(f);
  cr_assert(error.len > 0);
  jit_free(j);
  arena_free(&a);
}
