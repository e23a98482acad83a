// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The disk cache: what is stored is found, damage is noticed, old entries go first.
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cache.h"
#include "runtime/file.h"

static char folder[64];

static void make_folder(void) {
  strcpy(folder, "/tmp/tcf-cache-XXXXXX");
  cr_assert(mkdtemp(folder));
}

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}

TestSuite(runtime_cache, .init = make_folder, .fini = remove_folder);

static cache_key key_of(const char *program) {
  return cache_key_of("me", 2, program, strlen(program));
}

static void entry_file(char *path, size_t size, const cache_key *key) {
  snprintf(path, size, "%s/%s.tcfo", folder, key->hex);
}

Test(runtime_cache, keys_depend_on_both_texts) {
  cache_key a = cache_key_of("ab", 2, "c", 1), b = cache_key_of("a", 1, "bc", 2);
  cr_assert_str_neq(a.hex, b.hex);
  cache_key again = cache_key_of("ab", 2, "c", 1);
  cr_assert_str_eq(a.hex, again.hex);
  cr_assert_eq(strlen(a.hex), 32);
}

Test(runtime_cache, finds_what_was_stored) {
  char deeper[96];
  snprintf(deeper, sizeof deeper, "%s/a/b", folder);
  cache *c = cache_open(deeper, 0);
  cache_key key = key_of("program");
  cache_entry entry;
  cr_assert_not(cache_load(c, &key, &entry));
  cr_assert(cache_store(c, &key, "text", 4, "object\0code", 11));
  cr_assert(cache_load(c, &key, &entry));
  cr_assert_eq(entry.text_size, 4);
  cr_assert_eq(entry.object_size, 11);
  cr_assert_eq(memcmp(entry.text, "text", 4), 0);
  cr_assert_eq(memcmp(entry.object, "object\0code", 11), 0);
  free(entry.block);
  cache_close(c);
}

Test(runtime_cache, ignores_and_replaces_damaged_entries) {
  cache *c = cache_open(folder, 0);
  cache_key key = key_of("program");
  cr_assert(cache_store(c, &key, "text", 4, "object", 6));
  char path[160];
  entry_file(path, sizeof path, &key);
  size_t size;
  error e;
  char *whole = file_read(path, 1 << 20, &size, &e);
  cache_entry entry;
  for (size_t n = 0; n < size; n++) {
    cr_assert(file_write_whole(path, whole, n, &e));
    cr_assert_not(cache_load(c, &key, &entry), "cut at %zu", n);
    cr_assert(access(path, F_OK), "the damaged entry is removed");
  }
  for (size_t n = 0; n < size; n++) {
    whole[n] ^= 16;
    cr_assert(file_write_whole(path, whole, size, &e));
    cr_assert_not(cache_load(c, &key, &entry), "byte %zu", n);
    whole[n] ^= 16;
  }
  cr_assert(cache_store(c, &key, "text", 4, "object", 6));
  cr_assert(cache_load(c, &key, &entry));
  free(entry.block);
  free(whole);
  cache_close(c);
}

static void make_file(const char *path, time_t age) {
  FILE *f = fopen(path, "w");
  cr_assert(f);
  fclose(f);
  struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
  utimensat(AT_FDCWD, path, times, 0);
}

Test(runtime_cache, removes_temporary_files_that_were_left) {
  enum { STORES = 70 };  // some of them sweep
  char old[300], fresh[300], other[300];
  snprintf(old, sizeof old, "%s/%sabcdef", folder, FILE_TEMPORARY);
  snprintf(fresh, sizeof fresh, "%s/%sghijkl", folder, FILE_TEMPORARY);
  snprintf(other, sizeof other, "%s/notes", folder);
  make_file(old, 7200);
  make_file(fresh, 60);
  make_file(other, 7200);
  cache *c = cache_open(folder, 0);
  for (int i = 0; i < STORES; i++) {
    char name[16];
    snprintf(name, sizeof name, "p%d", i);
    cache_key key = key_of(name);
    cr_assert(cache_store(c, &key, "", 0, "x", 1));
  }
  cr_expect(access(old, F_OK), "left two hours ago");
  cr_expect(!access(fresh, F_OK), "somebody may be writing it");
  cr_expect(!access(other, F_OK), "not ours");
  cache_close(c);
}

Test(runtime_cache, removes_the_least_recently_used) {
  enum { N = 70, SIZE = 1000 };
  cache *c = cache_open(folder, 40 * SIZE);
  char object[SIZE] = {0}, name[16], path[160];
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "p%d", i);
    cache_key key = key_of(name);
    cr_assert(cache_store(c, &key, "", 0, object, SIZE));
    entry_file(path, sizeof path, &key);
    // Entry 3 stays in use; the others age in order.
    struct timespec times[2] = {{.tv_sec = i == 3 ? 5000 : 1000 + i},
                                {.tv_sec = i == 3 ? 5000 : 1000 + i}};
    utimensat(AT_FDCWD, path, times, 0);
  }
  int left = 0;
  DIR *dir = opendir(folder);
  for (struct dirent *d; (d = readdir(dir));) left += strstr(d->d_name, ".tcfo") != NULL;
  closedir(dir);
  cr_assert_leq(left, 40 + 32, "the sweep after 32 stores keeps it near the limit");
  cache_entry entry;
  cache_key old = key_of("p0"), used = key_of("p3"), fresh = key_of("p69");
  cr_assert_not(cache_load(c, &old, &entry));
  cr_assert(cache_load(c, &used, &entry));
  free(entry.block);
  cr_assert(cache_load(c, &fresh, &entry));
  free(entry.block);
  cache_close(c);
}

Test(runtime_cache, removes_no_files_of_other_names) {
  char path[160];
  static const char *const names[] = {"notes.tcfo", "0123456789abcdef0123456789abcdef.tcfo.old"};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    make_file(path, 7200);
  }
  cache *c = cache_open(folder, 2000);
  char object[900] = {0};
  for (int i = 0; i < 40; i++) {
    char name[16];
    snprintf(name, sizeof name, "p%d", i);
    cache_key key = key_of(name);
    cr_assert(cache_store(c, &key, "", 0, object, sizeof object));
  }
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    cr_expect(!access(path, F_OK), "%s", names[i]);
  }
  cache_close(c);
}

static void remove_found(void *user, const cache_finding *f) {
  int *calls = user;
  char path[160];
  cr_expect_null(f->fault);
  // Another process does so meanwhile: what is gone is passed over.
  for (int i = 0; i < 5 && !*calls; i++) {
    char name[16];
    snprintf(name, sizeof name, "p%d", i);
    cache_key key = key_of(name);
    entry_file(path, sizeof path, &key);
    if (!strstr(path, f->item->name)) unlink(path);
  }
  ++*calls;
}

Test(runtime_cache, entries_that_vanish_are_no_faults) {
  for (cache_task task = CACHE_LIST; task <= CACHE_CLEAR; task++) {
    cache *c = cache_open(folder, 0);
    for (int i = 0; i < 5; i++) {
      char name[16];
      snprintf(name, sizeof name, "p%d", i);
      cache_key key = key_of(name);
      cr_assert(cache_store(c, &key, "text", 4, "object", 6));
    }
    cache_close(c);
    int calls = 0;
    cache_totals totals;
    error e;
    cr_assert(cache_go_through(folder, task, false, remove_found, &calls, &totals, &e), "%s", e.text);
    cr_expect_eq(calls, 1);
    cr_expect_eq(totals.entries, 1);
    cr_expect_eq(totals.faults, 0);
  }
}

static void find_kind(void *user, const cache_finding *f) {
  char *kinds = user;
  strcat(strcat(kinds, f->kind), " ");
}

Test(runtime_cache, tells_what_entries_are) {
  static const char *const cubin = "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\1\0\276\0";
  cache *c = cache_open(folder, 0);
  char elf[64] = {0}, kinds[64] = "";
  memcpy(elf, cubin, 20);
  cache_key keys[] = {key_of("a"), key_of("b"), key_of("c")};
  cr_assert(cache_store(c, &keys[0], "text", 4, "object", 6));
  cr_assert(cache_store(c, &keys[1], "", 0, elf, sizeof elf));
  cr_assert(cache_store(c, &keys[2], "0.rows=4", 8, "", 0));
  char path[256];
  for (int i = 0; i < 3; i++) {
    entry_file(path, sizeof path, &keys[i]);
    struct timespec times[2] = {{.tv_sec = 1000 - i}, {.tv_sec = 1000 - i}};
    utimensat(AT_FDCWD, path, times, 0);
  }
  cache_totals totals;
  error e;
  cr_assert(cache_go_through(folder, CACHE_LIST, false, find_kind, kinds, &totals, &e));
  cr_expect_str_eq(kinds, "code cubin schedule ");
  cache_close(c);
}

Test(runtime_cache, concurrent_processes_share_it) {
  enum { PROCESSES = 4, ROUNDS = 60 };
  for (int child = 0; child < PROCESSES; child++) {
    if (fork()) continue;
    cache *c = cache_open(folder, 20000);
    char object[997];
    for (int i = 0; i < ROUNDS; i++) {
      char name[16];
      snprintf(name, sizeof name, "p%d", i % 7);
      cache_key key = key_of(name);
      memset(object, i % 7, sizeof object);
      cache_store(c, &key, name, strlen(name), object, sizeof object);
      cache_entry entry;
      if (!cache_load(c, &key, &entry)) continue;
      bool right = entry.object_size == sizeof object && entry.text_size == strlen(name) &&
                   !memcmp(entry.object, object, sizeof object);
      free(entry.block);
      if (!right) _exit(1);
    }
    _exit(0);
  }
  for (int child = 0; child < PROCESSES; child++) {
    int status;
    wait(&status);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

Test(runtime_cache, unusable_directories_are_no_error) {
  cache *c = cache_open("/proc/no-such-place", 0);
  cache_key key = key_of("program");
  cr_assert_not(cache_store(c, &key, "", 0, "x", 1));
  cache_entry entry;
  cr_assert_not(cache_load(c, &key, &entry));
  cache_close(c);
  cr_assert_not(cache_load(NULL, &key, &entry));
}
