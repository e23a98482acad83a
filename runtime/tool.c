// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running programs: see runtime/tool.h.
#define _GNU_SOURCE
#include "runtime/tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clocale.h"
#include "runtime/file.h"

extern char **environ;

static bool find_in(const char *directories, const char *name, char *path, size_t size) {
  for (const char *at = directories; at; at = strchr(at, ':')) {
    if (*at == ':') at++;
    int length = (int)strcspn(at, ":");
    snprintf(path, size, "%.*s/%s", length, at, name);
    if (length && !access(path, X_OK)) return true;
  }
  return false;
}

bool tool_find(const char *name, const char *more, char *path, size_t size) {
  return find_in(getenv("PATH"), name, path, size) || find_in(more, name, path, size);
}

// ---- files

bool tool_place_open(tool_place *p, error *e) {
  const char *root = getenv("TMPDIR");
  if (!root || !*root || strlen(root) > 200) root = "/tmp";
  snprintf(p->path, sizeof p->path, "%s/tcc-fuse-XXXXXX", root);
  signals_hold(&p->held);
  signals_hold_ends();
  if (mkdtemp(p->path)) return true;
  error_set(e, ERROR_FILE, "%s: %s", root, clocale_error(errno));
  signals_release(&p->held);
  return false;
}

void tool_place_close(tool_place *p) {
  char path[320 + 256];
  DIR *d = opendir(p->path);
  for (struct dirent *f; d && (f = readdir(d));) {
    snprintf(path, sizeof path, "%s/%s", p->path, f->d_name);
    if (strcmp(f->d_name, ".") && strcmp(f->d_name, "..")) unlink(path);
  }
  if (d) closedir(d);
  rmdir(p->path);
  signals_release(&p->held);
}

void tool_file(const tool_place *p, const char *name, char path[320]) {
  snprintf(path, 320, "%s/%.60s", p->path, name);
}

bool tool_write(const tool_place *p, const char *name, const void *data, size_t size, error *e) {
  char path[320];
  tool_file(p, name, path);
  return file_write_whole(path, data, size, e);
}

// ---- running

enum { LOG_LIMIT = 1 << 24 };

static int spawn(pid_t *child, char *const argv[], const posix_spawn_file_actions_t *actions) {
  posix_spawnattr_t attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int failed = posix_spawnattr_init(&attributes);
  if (failed) return failed;
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  failed = posix_spawn(child, argv[0], actions, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  return failed;
}

static int start(char *const argv[], const char *log, pid_t *child) {
  posix_spawn_file_actions_t actions;
  int failed = posix_spawn_file_actions_init(&actions);
  if (failed) return failed;
  failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (!failed)
    failed = posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (!failed) failed = posix_spawn_file_actions_adddup2(&actions, 1, 2);
  if (!failed) failed = spawn(child, argv, &actions);
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

/// A host that ignores SIGCHLD, or that waits for any child, leaves nothing to learn of how this one
/// ended (ECHILD, once it has): then what it should have written tells.
static bool wait_for(pid_t child, int *status) {
  *status = 0;
  while (waitpid(child, status, 0) < 0)
    if (errno != EINTR) return errno == ECHILD;
  return true;
}

bool tool_run(const tool_place *p, char *const argv[], char **log, error *e) {
  char path[320];
  pid_t child;
  int status;
  size_t size;
  tool_file(p, "log", path);
  *log = NULL;
  int failed = start(argv, path, &child);
  if (failed) return error_set(e, ERROR_DEVICE, "%s: %s", argv[0], clocale_error(failed));
  if (!wait_for(child, &status))
    return error_set(e, ERROR_DEVICE, "%s: %s", argv[0], clocale_error(errno));
  error unread;
  *log = file_read(path, LOG_LIMIT, &size, &unread);
  if (WIFEXITED(status) && !WEXITSTATUS(status)) return true;
  return error_set(e, ERROR_DEVICE, "%s failed: %.300s", argv[0], *log ? *log : "");
}
