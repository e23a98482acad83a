// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checkpoints: FOLDER/ID-step-000300.safetensors, the two newest.
//
// One is written beside, brought to disk, and renamed, so that under its name there is nothing or all
// of it, whenever the process or the machine ends. In it, beside the state under the names of the
// step's parameters: train.step, train.losses, train.program, train.recipe, train.version, train.sum.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train.h"

static const char ending[] = ".safetensors";

// What the bits of a run depend on: another version may round otherwise.
static void version_text(char *text, size_t size) {
  snprintf(text, size, "checkpoint 1, tcc-fuse %s", tcf_version());
}

void run_begin(run *r, model *m) {
  const train_options *o = m->options;
  *r = (run){.saved = -1, .saved_before = -1};
  char *text = NULL;
  tcf_emit_options emit = {.size = sizeof emit, .stage = TCF_STAGE_GRAPH};
  must(m->session, tcf_program_emit(m->program, &emit, &text));
  r->program_hash = hash_bytes(0, text, strlen(text));
  tcf_text_free(text);
  int n = snprintf(r->recipe, sizeof r->recipe,
                   "seed=%" PRId64 " steps=%" PRId64 " warmup=%" PRId64 " rate=%.9g drop=%.9g"
                   " data=%016" PRIx64, o->seed, o->steps, o->warmup, o->rate, o->drop, m->data_hash);
  for (size_t i = 0; i < o->nsizes && n < (int)sizeof r->recipe; i++)
    n += snprintf(r->recipe + n, sizeof r->recipe - (size_t)n, " %s=%" PRId64, o->sizes[i].name,
                  o->sizes[i].value);
  if (n >= (int)sizeof r->recipe) fail(2, "too many sizes");
  snprintf(r->id, sizeof r->id, "%016" PRIx64, hash_bytes(r->program_hash, r->recipe, (size_t)n));
  r->losses = calloc((size_t)o->steps + 1, sizeof *r->losses);
  if (!r->losses) fail(3, "out of memory");
  if (mkdir(o->out, 0777) && errno != EEXIST) fail(3, "%s: %s", o->out, strerror(errno));
}

static void path_of(const run *r, const model *m, int64_t step, char *path, size_t size) {
  int n = step < 0 ? snprintf(path, size, "%s/%s-saving%s", m->options->out, r->id, ending)
                   : snprintf(path, size, "%s/%s-step-%06" PRId64 "%s", m->options->out, r->id, step,
                              ending);
  if (n >= (int)size) fail(2, "%s: the path is too long", m->options->out);
}

// The step of a file name of ours, or -1.
static int64_t step_of(const run *r, const char *name) {
  size_t n = strlen(r->id);
  long long step;
  char rest[16];
  if (strncmp(name, r->id, n) || strncmp(name + n, "-step-", 6) ||
      sscanf(name + n + 6, "%lld%15s", &step, rest) != 2 || strcmp(rest, ending) || step < 0)
    return -1;
  return step;
}

// ---- members

static tcf_tensor *vector(model *m, tcf_dtype type, int64_t n, const void *data) {
  tcf_tensor *t = NULL;
  must(m->session, tcf_tensor_new(m->session, type, 1, &n, &t));
  memcpy(tcf_tensor_data(t), data, (size_t)tensor_bytes(t));
  return t;
}

static tcf_tensor *host_copy(model *m, const tcf_tensor *of) {
  tcf_tensor *t = NULL;
  must(m->session, tcf_tensor_new(m->session, tcf_tensor_dtype(of), tcf_tensor_rank(of),
                                  tcf_tensor_dims(of), &t));
  must(m->session, tcf_tensor_copy(m->session, t, of));
  return t;
}

enum { OWN = 6 };  // members beside the state; train.sum, the last, is over all others
static const char *const own_names[OWN] = {"train.step",   "train.losses",  "train.program",
                                           "train.recipe", "train.version", "train.sum"};

static uint64_t sum_of(tcf_tensor *const *members, size_t n) {
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum = hash_bytes(sum, tcf_tensor_data(members[i]), (size_t)tensor_bytes(members[i]));
  return sum;
}

static void members_of(const run *r, model *m, tcf_tensor **members) {
  char version[128];
  version_text(version, sizeof version);
  for (size_t i = 0; i < m->nstate; i++) members[i] = host_copy(m, m->state[m->now][i]);
  tcf_tensor **own = members + m->nstate;
  own[0] = vector(m, TCF_I64, 1, &r->step);
  own[1] = vector(m, TCF_F32, r->step, r->losses);
  own[2] = vector(m, TCF_U64, 1, &r->program_hash);
  own[3] = vector(m, TCF_U8, (int64_t)strlen(r->recipe), r->recipe);
  own[4] = vector(m, TCF_U8, (int64_t)strlen(version), version);
  uint64_t sum = sum_of(members, m->nstate + OWN - 1);
  own[5] = vector(m, TCF_U64, 1, &sum);
}

static const char *member_name(model *m, size_t i) {
  tcf_value_info p;
  if (i >= m->nstate) return own_names[i - m->nstate];
  must(m->session, tcf_function_param(m->step, i, &p));
  return p.name;
}

// ---- writing

static void sync_path(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0 || fsync(fd)) fail(3, "%s: %s", path, strerror(errno));
  close(fd);
}

// Removes those of this run that are older than the two newest.
static void prune(const run *r, const model *m) {
  DIR *folder = opendir(m->options->out);
  if (!folder) return;
  for (struct dirent *d; (d = readdir(folder));) {
    int64_t step = step_of(r, d->d_name);
    if (step >= 0 && step < r->saved_before) unlinkat(dirfd(folder), d->d_name, 0);
  }
  closedir(folder);
}

void checkpoint_save(run *r, model *m) {
  if (r->saved == r->step) return;
  char beside[4096], path[4096];
  path_of(r, m, -1, beside, sizeof beside);
  path_of(r, m, r->step, path, sizeof path);
  size_t n = m->nstate + OWN;
  tcf_tensor *members[3 * MAX_ARGS];
  tcf_output outputs[3 * MAX_ARGS];
  members_of(r, m, members);
  for (size_t i = 0; i < n; i++)
    outputs[i] = (tcf_output){.path = beside, .name = member_name(m, i), .tensor = members[i]};
  must(m->session, tcf_save(m->session, outputs, n));
  sync_path(beside, O_RDONLY);
  if (rename(beside, path)) fail(3, "%s: %s", path, strerror(errno));
  sync_path(m->options->out, O_RDONLY | O_DIRECTORY);
  for (size_t i = 0; i < n; i++) tcf_tensor_free(members[i]);
  r->saved_before = r->saved;
  r->saved = r->step;
  if (r->saved_before >= 0) prune(r, m);
}

// ---- reading

static int same_shape(const tcf_tensor *a, const tcf_tensor *b) {
  size_t rank = (size_t)tcf_tensor_rank(a);
  return tcf_tensor_dtype(a) == tcf_tensor_dtype(b) && tcf_tensor_rank(a) == tcf_tensor_rank(b) &&
         (!rank || !memcmp(tcf_tensor_dims(a), tcf_tensor_dims(b), rank * sizeof(int64_t)));
}

static int text_is(const tcf_tensor *t, const char *text) {
  return tcf_tensor_dtype(t) == TCF_U8 && tensor_bytes(t) == (int64_t)strlen(text) &&
         !memcmp(tcf_tensor_data(t), text, strlen(text));
}

// What the recipe of a checkpoint has otherwise than that of this run, "steps=60, not 1400"; empty: it is
// not a list of NAME=VALUE.
static void difference(const run *r, const tcf_tensor *recipe, char *text, size_t size) {
  char theirs[sizeof r->recipe], ours[sizeof r->recipe + 2], *rest = NULL;
  int64_t n = tensor_bytes(recipe);
  text[0] = 0;
  if (tcf_tensor_dtype(recipe) != TCF_U8 || n >= (int64_t)sizeof r->recipe) return;
  memcpy(theirs, tcf_tensor_data(recipe), (size_t)n);
  theirs[n] = 0;
  snprintf(ours, sizeof ours, " %s ", r->recipe);
  for (char *word = strtok_r(theirs, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    char as_word[sizeof theirs + 2];
    int name = (int)strcspn(word, "=") + 1;
    snprintf(as_word, sizeof as_word, " %s ", word);
    if (strstr(ours, as_word)) continue;
    snprintf(as_word, sizeof as_word, " %.*s", name, word);
    const char *own = strstr(ours, as_word);
    if (!own || !strncmp(word, "data=", 5)) snprintf(text, size, " (%s)", own ? "data" : word);
    else
      snprintf(text, size, " (%s, not %.*s)", word, (int)strcspn(own + 1 + name, " "),
               own + 1 + name);
    return;
  }
}

static const char other_recipe[] = "it is of other options or data";

// Why the members of our own are not those of a checkpoint of this run; NULL: they are.
static const char *wrong_own(const run *r, const model *m, tcf_tensor *const *own) {
  char version[128];
  version_text(version, sizeof version);
  if (!text_is(own[4], version)) return "it is of another version";
  const int whole[] = {0, 2, 5};
  for (int i = 0; i < 3; i++)
    if (tensor_bytes(own[whole[i]]) != 8) return "it is damaged";
  if ((uint64_t)tcf_tensor_get_integer(own[2], 0) != r->program_hash)
    return "it is of another program";
  if (!text_is(own[3], r->recipe)) return other_recipe;
  int64_t step = tcf_tensor_get_integer(own[0], 0);
  if (step < 0 || step > m->options->steps || tcf_tensor_elements(own[1]) != step ||
      tcf_tensor_dtype(own[1]) != TCF_F32)
    return "it is damaged";
  return NULL;
}

static const char *wrong_state(const model *m, tcf_tensor *const *members) {
  for (size_t i = 0; i < m->nstate; i++)
    if (!same_shape(members[i], m->state[m->now][i])) return "it is of other sizes";
  const tcf_tensor *sum = members[m->nstate + OWN - 1];
  return (uint64_t)tcf_tensor_get_integer(sum, 0) == sum_of(members, m->nstate + OWN - 1)
             ? NULL
             : "it is damaged: its sum is wrong";
}

// Members first to last - 1. NULL, or why not.
static const char *load_members(model *m, tcf_archive *archive, size_t first, size_t last,
                                tcf_tensor **members) {
  for (size_t i = first; i < last; i++)
    if (tcf_archive_load(m->session, archive, member_name(m, i), &members[i]))
      return tcf_session_message(m->session);
  return NULL;
}

static int read_checkpoint(run *r, model *m, const char *path) {
  tcf_archive *archive = NULL;
  tcf_tensor *members[3 * MAX_ARGS] = {0};
  size_t n = m->nstate + OWN;
  const char *why = NULL;
  char other[128] = "";
  // Our own first: whether the others can be there follows from them.
  if (tcf_archive_open(m->session, path, &archive)) why = tcf_session_message(m->session);
  if (!why) why = load_members(m, archive, m->nstate, n, members);
  if (!why) why = wrong_own(r, m, members + m->nstate);
  if (!why) why = load_members(m, archive, 0, m->nstate, members);
  if (!why) why = wrong_state(m, members);
  if (why == other_recipe) difference(r, members[m->nstate + 3], other, sizeof other);
  // Messages about files begin with the path.
  if (why && !strncmp(why, path, strlen(path))) fprintf(stderr, "train: skipped %s\n", why);
  else if (why) fprintf(stderr, "train: skipped %s: %s%s\n", path, why, other);
  else {
    r->step = tcf_tensor_get_integer(members[m->nstate], 0);
    memcpy(r->losses, tcf_tensor_data(members[m->nstate + 1]), (size_t)r->step * sizeof *r->losses);
    for (size_t i = 0; i < m->nstate; i++)
      must(m->session, tcf_tensor_copy(m->session, m->state[m->now][i], members[i]));
  }
  for (size_t i = 0; i < n; i++) tcf_tensor_free(members[i]);
  tcf_archive_free(archive);
  return !why;
}

static int is_checkpoint(const struct dirent *d) {
  size_t n = strlen(d->d_name), end = strlen(ending);
  return n > end && !strcmp(d->d_name + n - end, ending) && strstr(d->d_name, "-step-");
}

// By step, the newest first.
static int newest_first(const struct dirent **a, const struct dirent **b) {
  long long x = atoll(strstr((*a)->d_name, "-step-") + 6);
  long long y = atoll(strstr((*b)->d_name, "-step-") + 6);
  return (x < y) - (x > y);
}

// Of another run the newest is enough to say so.
static int is_of_run_before(const run *r, struct dirent **entries, int i) {
  size_t id = (size_t)(strstr(entries[i]->d_name, "-step-") - entries[i]->d_name) + 1;
  if (!strncmp(entries[i]->d_name, r->id, strlen(r->id))) return 0;
  for (int k = 0; k < i; k++)
    if (!strncmp(entries[k]->d_name, entries[i]->d_name, id)) return 1;
  return 0;
}

int checkpoint_resume(run *r, model *m) {
  struct dirent **entries;
  int found = 0, n = scandir(m->options->out, &entries, is_checkpoint, newest_first);
  for (int i = 0; i < n; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", m->options->out, entries[i]->d_name);
    if (!found && !is_of_run_before(r, entries, i) && read_checkpoint(r, m, path)) {
      found = 1;
      r->saved = r->step;
    }
  }
  for (int i = 0; i < n; i++) free(entries[i]);
  if (n >= 0) free(entries);
  return found;
}
