// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arrays to files, several at once: all of them appear, or none does.
//
//   a=x.npy  b=y.npz:p  c=-  d=y.npz:q     three files: x.npy, y.npz with p and q, standard output
//
// Everything is written beside its place first; putting it there is the last step.
#include <stdlib.h>
#include <string.h>

#include "runtime/formats.h"
#include "runtime/signals.h"

/// The files of outputs[0 .. n). Of outputs that share a file, the first one has it.
typedef struct saving {
  const output_part *outputs;
  int n;
  int *first;          // first[i]: the output whose file i goes to
  output_file *files;  // by output
  bool *open;
} saving;

bool file_write_elements(output_file *f, const tensor *t, error *e) {
  if (tensor_is_contiguous(t)) return file_write(f, t->data, (size_t)tensor_bytes(t), e);
  tensor *compact = tensor_compact(t, e);
  bool ok = compact && file_write(f, compact->data, (size_t)tensor_bytes(compact), e);
  tensor_free(compact);
  return ok;
}

/// Two outputs can share an archive, as members of two names.
static bool can_share(const output_part *a, const output_part *b) {
  return a->tensor && b->tensor && a->name && b->name && strcmp(a->name, b->name) != 0;
}

static bool check_sharing(const saving *s, int i, error *e) {
  const output_part *o = &s->outputs[i];
  for (int k = 0; k < i; k++)
    if (s->first[k] == s->first[i] && !can_share(&s->outputs[k], o))
      return error_set(e, ERROR_USAGE, "two outputs go to %s%s%s", s->outputs[k].path,
                       o->name ? ":" : "", o->name ? o->name : "");
  return true;
}

/// Fills first[]: paths are one file when they end at the same place.
static bool find_shared(saving *s, char **targets, error *e) {
  for (int i = 0; i < s->n; i++) {
    const char *path = s->outputs[i].path;
    bool standard = !strcmp(path, "-");
    targets[i] = standard ? strdup(path) : file_target(path, e);
    if (!targets[i]) return standard && error_set(e, ERROR_MEMORY, "out of memory");
    s->first[i] = 0;
    while (strcmp(targets[s->first[i]], targets[i])) s->first[i]++;
    if (!check_sharing(s, i, e)) return false;
  }
  return true;
}

static bool group(saving *s, error *e) {
  char **targets = calloc((size_t)s->n, sizeof *targets);
  bool ok = targets ? find_shared(s, targets, e) : error_set(e, ERROR_MEMORY, "out of memory");
  for (int i = 0; targets && i < s->n; i++) free(targets[i]);
  free(targets);
  return ok;
}

static bool create(saving *s, error *e) {
  for (int i = 0; i < s->n; i++) {
    if (s->first[i] != i) continue;
    if (!file_create(&s->files[i], s->outputs[i].path, e)) return false;
    s->open[i] = true;
  }
  return true;
}

/// All members of the archive that output i is the first of.
static bool write_archive(const saving *s, int i, error *e) {
  const archive_kind *kind = archive_kind_of(s->outputs[i].path, e);
  const char **names = calloc((size_t)s->n, sizeof *names);
  const tensor **tensors = calloc((size_t)s->n, sizeof *tensors);
  int count = 0;
  bool ok = kind && ((names && tensors) || error_set(e, ERROR_MEMORY, "out of memory"));
  for (int k = i; ok && k < s->n; k++) {
    if (s->first[k] != i) continue;
    names[count] = s->outputs[k].name;
    tensors[count++] = s->outputs[k].tensor;
  }
  ok = ok && kind->write(&s->files[i], names, tensors, count, e);
  free(names);
  free(tensors);
  return ok;
}

static bool write_one(const saving *s, int i, error *e) {
  const output_part *o = &s->outputs[i];
  if (!o->tensor) return file_write(&s->files[i], o->data, o->size, e);
  return o->name ? write_archive(s, i, e) : npy_write(&s->files[i], o->tensor, e);
}

/// What can be taken back, or what cannot.
static bool write_all(const saving *s, bool temporary, error *e) {
  for (int i = 0; i < s->n; i++)
    if (s->open[i] && (s->files[i].target != NULL) == temporary && !write_one(s, i, e))
      return false;
  return true;
}

static bool commit(saving *s, error *e) {
  int files = 0;
  for (int i = 0; i < s->n; i++) {
    if (s->open[i] && !file_may_go_on(&s->files[i], e)) return false;
    files += s->open[i];
  }
  for (int i = 0; files > 1 && i < s->n; i++)
    if (s->open[i] && !file_name(&s->files[i], e)) return s->open[i] = false;
  for (int i = 0; i < s->n; i++) {
    if (!s->open[i]) continue;
    s->open[i] = false;
    if (!file_commit(&s->files[i], e)) return false;
  }
  return true;
}

bool outputs_save(const output_part *outputs, int n, error *e) {
  size_t count = n ? (size_t)n : 1;
  saving s = {.outputs = outputs,
              .n = n,
              .first = calloc(count, sizeof *s.first),
              .files = calloc(count, sizeof *s.files),
              .open = calloc(count, sizeof *s.open)};
  held_signals held;
  signals_hold(&held);
  bool ok = (s.first && s.files && s.open) || error_set(e, ERROR_MEMORY, "out of memory");
  ok = ok && group(&s, e) && create(&s, e) && write_all(&s, true, e) && write_all(&s, false, e) &&
       commit(&s, e);
  for (int i = 0; s.open && i < n; i++)
    if (s.open[i]) file_abandon(&s.files[i]);
  signals_release(&held);
  free(s.first);
  free(s.files);
  free(s.open);
  return ok;
}
