// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls libraries that `tcc-fuse build` made for this machine's processor: results, and what is said
// of calls that are wrong. Prints what fails; tests/cli/run.sh builds and runs it.
#include <fenv.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pick.h"
#include "scaled.h"
#include "windows.h"

static int failed;

static void expect(int ok, const char *what, const char *message) {
  if (ok) return;
  failed++;
  printf("%s: %s\n", what, message);
}

static void rows_are_scaled(void) {
  enum { N = 37, T = 64 };
  static float x[N * T], out[N * T];
  scaled_context *c;
  expect(!scaled_open(2, &c), "open", scaled_message(c));
  for (int i = 0; i < N * T; i++) x[i] = 1 + (float)(i % 2);
  for (int again = 0; again < 3; again++)
    expect(!scaled(x, out, N, T, c), "scaled", scaled_message(c));
  for (int i = 0; i < N * T; i++)
    expect(out[i] == x[i] * 2 / (3 * T / 2), "scaled", "a wrong result");
  expect(scaled(x, out, N, 6, c) == TCF_CALL_ARGUMENTS &&
             strstr(scaled_message(c), "T = 6, but the function demands a multiple of 4"),
         "a size that does not suit", scaled_message(c));
  expect(scaled(x, out, -1, 4, c) == TCF_CALL_ARGUMENTS &&
             strstr(scaled_message(c), "N = -1, but the function demands N >= 0"),
         "a negative size", scaled_message(c));
  expect(!scaled(x, out, N, T, c) && !*scaled_message(c), "a call after an error",
         scaled_message(c));
  scaled_close(c);
}

/// Rounding as by default, on all threads; the caller's mode stays.
static void modes_of_the_caller_do_not_count(void) {
  enum { N = 37, T = 64 };
  static float x[N * T], plain[N * T], out[N * T];
  scaled_context *c;
  scaled_open(3, &c);
  for (int i = 0; i < N * T; i++) x[i] = 1.1f + (float)(i % 7) / 3;
  expect(!scaled(x, plain, N, T, c), "scaled", scaled_message(c));
  fesetround(FE_UPWARD);
  expect(!scaled(x, out, N, T, c) && fegetround() == FE_UPWARD, "scaled", scaled_message(c));
  fesetround(FE_TONEAREST);
  expect(!memcmp(plain, out, sizeof out), "another rounding mode", "another result");
  scaled_close(c);
}

/// In the child of a fork a context is called and closed like in its parent.
static void children_go_on(void) {
  enum { N = 500, T = 64 };
  static float x[N * T], out[N * T];
  scaled_context *c;
  int status = 1;
  scaled_open(3, &c);
  for (int i = 0; i < N * T; i++) x[i] = 1 + (float)(i % 2);
  expect(!scaled(x, out, N, T, c), "scaled", scaled_message(c));
  for (int calls = 0; calls < 2; calls++) {
    pid_t child = fork();
    if (!child) {
      alarm(20);
      memset(out, 0, sizeof out);
      int failed_there = calls && (scaled(x, out, N, T, c) || out[N * T - 1] == 0);
      scaled_close(c);
      _exit(failed_there);
    }
    expect(waitpid(child, &status, 0) == child && !status, "a child", calls ? "calls" : "closes");
  }
  expect(!scaled(x, out, N, T, c), "its parent", scaled_message(c));
  scaled_close(c);
}

static void bad_indices_are_reported(void) {
  float table[] = {1, 2, 3, 4, 5, 6}, out[4];
  int32_t ids[] = {2, 0}, bad[] = {1, 7};
  pick_context *c;
  expect(!pick_open(0, &c), "open", pick_message(c));
  expect(!pick(table, ids, out, 3, 2, 2, c) && out[0] == 5 && out[1] == 6 && out[2] == 1, "pick",
         pick_message(c));
  expect(pick(table, bad, out, 3, 2, 2, c) == TCF_CALL_INDEX &&
             strstr(pick_message(c), "library.tdsl:7:16: index 7 is outside of axis V of size 3"),
         "a bad index", pick_message(c));
  expect(!pick(table, ids, out, 3, 2, 2, c), "a call after an error", pick_message(c));
  pick_close(c);
}

static void windows_have_to_fit(void) {
  float x[] = {1, 2, 3, 4}, w[] = {1, 1, 1, 1, 1, 1}, out[4];
  windows_context *c;
  expect(!windows_open(1, &c), "open", windows_message(c));
  expect(!windows(x, w, out, 4, 2, c) && out[0] == 3 && out[2] == 7, "windows", windows_message(c));
  expect(windows(x, w, out, 4, 6, c) == TCF_CALL_ARGUMENTS &&
             strstr(windows_message(c), "would have a negative size"),
         "a window that is too long", windows_message(c));
  windows_close(c);
}

static void pointers_are_tested(void) {
  float table[] = {1, 2, 3, 4, 5, 6}, out[4];
  int32_t ids[] = {2, 0};
  pick_context *c;
  expect(!pick_open(1, &c), "open", pick_message(c));
  expect(pick(NULL, ids, out, 3, 2, 2, c) == TCF_CALL_ARGUMENTS &&
             strstr(pick_message(c), "argument table is missing"),
         "no table", pick_message(c));
  expect(pick(table, ids, NULL, 3, 2, 2, c) == TCF_CALL_ARGUMENTS &&
             strstr(pick_message(c), "result out is missing"),
         "no result", pick_message(c));
  expect(!pick(table, NULL, NULL, 3, 2, 0, c) && !*pick_message(c), "arrays without elements",
         pick_message(c));
  expect(pick((float *)((char *)table + 2), ids, out, 2, 2, 2, c) == TCF_CALL_ARGUMENTS &&
             strstr(pick_message(c), "argument table is not at a multiple of 4 bytes"),
         "an address between elements", pick_message(c));
  expect(pick(table, ids, table + 5, 3, 2, 2, c) == TCF_CALL_ARGUMENTS &&
             strstr(pick_message(c), "result out shares memory with argument table"),
         "a result in an argument", pick_message(c));
  expect(!pick(table, ids, table + 4, 2, 2, 0, c), "an empty one in it", pick_message(c));
  ids[0] = 1;
  expect(!pick(table, ids, table + 4, 2, 2, 1, c) && table[4] == 3, "a result behind an argument",
         pick_message(c));
  expect(pick(table, ids, out, 3, 2, 2, NULL) == TCF_CALL_MEMORY, "no context", "");
  pick_close(c);
}

int main(void) {
  rows_are_scaled();
  modes_of_the_caller_do_not_count();
  children_go_on();
  bad_indices_are_reported();
  windows_have_to_fit();
  pointers_are_tested();
  scaled_close(NULL);
  return failed != 0;
}
