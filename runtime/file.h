// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files: bytes from a path, standard input, memory or an archive member; and output files that
// appear whole or not at all.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

/// A stream of known length. `name` is for messages: "x.npz:weights".
typedef struct reader reader;
struct reader {
  /// Reads exactly n bytes; false with *e when they are not there.
  bool (*read)(reader *r, void *to, size_t n, error *e);
  int64_t left;  // bytes not read yet
  const char *name;
  void *handle;
  const char *at;  // memory readers
};

/// Memory, which must outlive the reader.
reader reader_memory(const char *name, const void *data, size_t size);
/// An open descriptor of a regular file with `size` bytes left.
reader reader_fd(const char *name, const int *fd, int64_t size);

/// Opens a regular file for reading; the size goes to *size. -1 with *e on failure.
int file_open(const char *path, int64_t *size, error *e);
/// All of a file, or of standard input for "-", malloc'd and null-terminated. At most `limit`
/// bytes, else ERROR_FORMAT. Null with *e on failure.
char *file_read(const char *path, size_t limit, size_t *size, error *e);

/// The absolute path that writing to `path` ends at: links are followed, also one to a file that is
/// not there yet. Malloc'd; null with *e, when the folder does not exist for instance.
char *file_target(const char *path, error *e);

/// What the names of temporary files begin with.
#define FILE_TEMPORARY ".tcc-fuse-"

/// An output file: written without a name in the target's folder, put in the target's place by
/// file_commit(). "-" is standard output. Without commit, file_abandon() leaves nothing, nor does
/// the end of the process. Replacing a file takes a name for a moment (the kernel renames, but links
/// nothing over a file), and file systems without unnamed files (O_TMPFILE) want one all the time:
/// then signals that end the process wait until it is gone, and only SIGKILL leaves it there.
/// A symbolic link stays: the file it points at is replaced, or made. A file that is replaced gives
/// its mode to the new one. What is there and no regular file (a device, a FIFO) is opened and
/// written directly.
typedef struct output_file {
  int fd;
  const char *path;  // borrowed
  char *target;      // malloc'd: what is replaced, links resolved; null: written directly
  char *temporary;   // malloc'd: its name until then, where it has one or gets one
  bool named;        // it has
} output_file;

/// Between signals_hold() and signals_release() (runtime/signals.h).
bool file_create(output_file *f, const char *path, error *e);
bool file_write(output_file *f, const void *data, size_t size, error *e);
/// Gives it its name, so that what is left of file_commit() is renaming: when several files are to
/// appear together.
bool file_name(output_file *f, error *e);
bool file_commit(output_file *f, error *e);
void file_abandon(output_file *f);
/// False with *e: a signal waits that will end the process.
bool file_may_go_on(const output_file *f, error *e);
/// The position that file_write() goes on from; for files with a target.
bool file_seek(output_file *f, int64_t at, error *e);
/// Creates, writes and commits; also holds the signals.
bool file_write_whole(const char *path, const void *data, size_t size, error *e);
/// Makes a directory and its parents (mode 0700); true when it exists afterwards.
bool file_make_directory(const char *path);
