// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Host functions: what `extern fn` names, as callbacks on tensors or plain C functions.
#include <stdio.h>
#include <stdlib.h>

#include "api/session.h"
#include "base/clocale.h"

enum { MAX_INPUTS = 32, MAX_SYMBOLS = 64 };

/// "(f32[N, D], f32[D]) -> f32[N]"
typedef struct host_value {
  dtype type;
  int rank;
  int symbols[MAX_AXES];  // -1: a constant size
  int64_t sizes[MAX_AXES];
} host_value;

struct host_signature {
  host_value values[MAX_INPUTS + 1];  // inputs, then the result
  int ninputs;
  str symbols[MAX_SYMBOLS];
  int nsymbols;
  call_shape shape;
};

// ---- reading signatures

typedef struct reading {
  arena *arena;
  const char *at;
  struct host_signature *out;
} reading;

static bool take(reading *r, const char *text) {
  while (char_is_space(*r->at)) r->at++;
  size_t n = strlen(text);
  if (strncmp(r->at, text, n)) return false;
  r->at += n;
  return true;
}

static str take_word(reading *r) {
  while (char_is_space(*r->at)) r->at++;
  const char *begin = r->at;
  while (char_is_word(*r->at)) r->at++;
  return (str){begin, (int)(r->at - begin)};
}

static bool read_size(reading *r, host_value *v) {
  struct host_signature *s = r->out;
  str word = take_word(r);
  if (!word.len || v->rank == MAX_AXES) return false;
  int k = v->rank++;
  v->symbols[k] = -1;
  if (char_is_digit(word.ptr[0])) {
    char *end;
    v->sizes[k] = strtoll(word.ptr, &end, 10);
    return end == word.ptr + word.len;
  }
  for (int i = 0; i < s->nsymbols; i++)
    if (str_eq(s->symbols[i], word)) v->symbols[k] = i;
  if (v->symbols[k] >= 0) return true;
  if (s->nsymbols == MAX_SYMBOLS) return false;
  v->symbols[k] = s->nsymbols;
  s->symbols[s->nsymbols++] = str_dup(r->arena, word);
  return true;
}

static bool read_value(reading *r, host_value *v) {
  if (!dtype_parse(take_word(r), &v->type)) return false;
  if (!take(r, "[") || take(r, "]")) return true;
  do {
    if (!read_size(r, v)) return false;
  } while (take(r, ","));
  return take(r, "]");
}

static bool read_signature(reading *r) {
  struct host_signature *s = r->out;
  if (!take(r, "(")) return false;
  if (!take(r, ")")) {
    do {
      if (s->ninputs == MAX_INPUTS || !read_value(r, &s->values[s->ninputs++])) return false;
    } while (take(r, ","));
    if (!take(r, ")")) return false;
  }
  if (!take(r, "->") || !read_value(r, &s->values[s->ninputs])) return false;
  while (char_is_space(*r->at)) r->at++;
  return !*r->at;
}

// ---- registering

typedef struct register_args {
  tcf_session *session;
  const char *name;
  host_entry entry;
  const char *signature;
} register_args;

static void release(host_entry *h) {
  if (h && h->signature) call_release(&h->signature->shape);
}

static tcf_status add(void *args_) {
  register_args *args = args_;
  tcf_session *s = args->session;
  host_entry *h = arena_new(&s->arena, host_entry);
  *h = args->entry;
  if (args->signature) {
    h->signature = arena_new(&s->arena, struct host_signature);
    reading r = {&s->arena, args->signature, h->signature};
    if (!read_signature(&r))
      return session_fail(s, TCF_WRONG_USE, "the signature of %s cannot be read at '%s'",
                          args->name, r.at);
    error e;
    if (!call_prepare(&h->signature->shape, h->signature->ninputs + 1, h->signature->nsymbols,
                      false, &e))
      return session_fail_error(s, &e);
  }
  release(map_get(&s->externs, str_from(args->name)));
  map_put(&s->arena, &s->externs, str_from(args->name), h);
  return TCF_OK;
}

static tcf_status no_function(tcf_session *s, const char *name) {
  return session_fail(s, TCF_WRONG_USE, "the host function %s is missing (NULL)", name);
}

tcf_status tcf_register_extern(tcf_session *s, const char *name, tcf_host_function function,
                               void *user) {
  entry e;
  tcf_status status = entry_open(&e, s);
  if (status) return status;
  register_args args = {s, name, {.function = function, .user = user}, NULL};
  status = need(s, name, "the name");
  if (!status && !function) status = no_function(s, name);
  return entry_close(&e, status ? status : session_guard(s, add, &args));
}

tcf_status tcf_register_extern_c(tcf_session *s, const char *name, void (*function)(void),
                                 const char *types) {
  entry e;
  tcf_status status = entry_open(&e, s);
  if (status) return status;
  register_args args = {s, name, {.plain = function}, types};
  status = need(s, name, "the name");
  if (!status) status = need(s, types, "the signature");
  if (!status && !function) status = no_function(s, name);
  return entry_close(&e, status ? status : session_guard(s, add, &args));
}

void host_release(tcf_session *s) {
  for (int i = 0; i < s->externs.len; i++) release(s->externs.entries[i].value);
}

tcf_status host_check(tcf_session *s, const variant *v) {
  for (int i = 0; i < v->hosts.len; i++)
    if (!map_get(&s->externs, v->hosts.data[i].name))
      return session_fail(s, TCF_WRONG_USE,
                          "the program calls the host function %.*s, which is not "
                          "registered",
                          STR_FMT(v->hosts.data[i].name));
  return TCF_OK;
}

// ---- calling

static bool bind(const host_value *v, const tensor *t, int64_t *sizes) {
  if (v->type != t->type || v->rank != t->rank) return false;
  for (int k = 0; k < v->rank; k++) {
    int64_t *known = v->symbols[k] < 0 ? NULL : &sizes[v->symbols[k]];
    if (known && *known < 0) *known = t->dims[k];
    if ((known ? *known : v->sizes[k]) != t->dims[k]) return false;
  }
  return true;
}

static bool invoke_plain(const host_entry *h, str name, const tensor *const *in, int nin,
                         tensor *out, char *message, size_t size) {
  const struct host_signature *s = h->signature;
  int64_t sizes[MAX_SYMBOLS];
  void *pointers[MAX_INPUTS + 1];
  for (int k = 0; k < s->nsymbols; k++) sizes[k] = -1;
  bool fits = nin == s->ninputs;
  for (int i = 0; fits && i <= nin; i++) {
    const tensor *t = i < nin ? in[i] : out;
    fits = bind(&s->values[i], t, sizes);
    pointers[i] = t->data;
  }
  if (!fits) {
    snprintf(message, size,
             "the registered signature of the host function %.*s does not fit its "
             "declaration",
             STR_FMT(name));
    return false;
  }
  int32_t result = call_invoke(&s->shape, h->plain, pointers, sizes, NULL);
  if (result) snprintf(message, size, "the host function %.*s returned %d", STR_FMT(name), result);
  return !result;
}

bool host_invoke(const host_entry *h, str name, const tensor *const *in, int nin, tensor *out,
                 char *message, size_t size) {
  if (h->signature) return invoke_plain(h, name, in, nin, out, message, size);
  int result = h->function(h->user, in, (size_t)nin, out);
  if (result) snprintf(message, size, "the host function %.*s returned %d", STR_FMT(name), result);
  return !result;
}

size_t host_bytes(const host_step *h, int i, const int64_t *dims) {
  int64_t n = dtype_bytes(h->types[i]);
  for (int k = 0; k < h->ranks[i]; k++) n *= dims[k];
  return (size_t)n;
}

static tensor *borrow_next(const host_step *h, int i, void *data, const int64_t **dims) {
  tensor *t = tensor_borrow(h->types[i], h->ranks[i], *dims, NULL, data, NULL);
  *dims += h->ranks[i];
  return t;
}

tcf_status host_failure(const host_context *c) {
  if (c->no_memory) return session_fail(c->session, TCF_NO_MEMORY, "out of memory");
  return session_fail(c->session, TCF_WRONG_DATA, "%s", c->message);
}

int32_t host_call(void *context, int32_t at, void *const *ptrs, const int64_t *dims) {
  host_context *c = context;
  const host_step *h = NULL;
  for (int i = 0; i < c->variant->hosts.len; i++)
    if (c->variant->hosts.data[i].step == at) h = &c->variant->hosts.data[i];
  const host_entry *entry = h ? map_get(&c->session->externs, h->name) : NULL;
  if (!entry || h->nbufs > MAX_INPUTS + 1) {
    snprintf(c->message, sizeof c->message, "a host function cannot be called");
    return 1;
  }
  tensor *values[MAX_INPUTS + 1] = {0};
  bool ok = true;
  for (int i = 0; i < h->nbufs; i++) ok &= !!(values[i] = borrow_next(h, i, ptrs[i], &dims));
  c->no_memory = !ok;
  ok = ok && host_invoke(entry, h->name, (const tensor *const *)values, h->nbufs - 1,
                         values[h->nbufs - 1], c->message, sizeof c->message);
  for (int i = 0; i < h->nbufs; i++) tensor_free(values[i]);
  return !ok;
}
