// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a cached object needs to know besides its code, as a few lines of text:
//
//   site STEP NUMBER NODE          a check site: the graph node whose position it reports
//   host STEP NAME type:rank ...   a host call: the inputs, then the result
//   step NODE                      each step in order: a graph node it computes
//
// Positions are not stored: they change when lines are added above a function, the code does not.
// They are taken from the fresh graph by node number.
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdio.h>

#include "api/session.h"

static int node_at(const graph *g, span at) {
  if (!g || !at.file) return -1;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    bool indirect = n->op == OP_gather || n->op == OP_scatter_add;
    if (indirect && n->at.file == at.file && n->at.begin == at.begin && n->at.end == at.end)
      return i;
  }
  return -1;
}

/// The first node that the span holds.
static int node_within(const graph *g, span at) {
  for (int i = 0; g && at.file && i < g->nodes.len; i++) {
    span n = g->nodes.data[i]->at;
    if (n.file == at.file && n.begin >= at.begin && n.end <= at.end) return i;
  }
  return -1;
}

void variant_describe(variant *v, const struct program *p) {
  arena *a = &v->arena;
  for (int i = 0; i < p->steps.len; i++) {
    const step *s = &p->steps.data[i];
    for (int k = 0; k < s->nsites; k++)
      vec_push(a, &v->sites, ((site){i, k, node_at(v->specialised, s->sites[k]), s->sites[k]}));
    vec_push(a, &v->steps, ((step_place){node_within(v->specialised, s->at), s->at}));
    if (s->kind != STEP_HOST) continue;
    host_step h = {.step = i, .name = str_dup(a, s->host_name), .nbufs = s->nbufs};
    h.types = arena_array(a, dtype, h.nbufs);
    h.ranks = arena_array(a, int, h.nbufs);
    for (int k = 0; k < h.nbufs; k++) {
      h.types[k] = p->buffers.data[s->bufs[k]].type;
      h.ranks[k] = p->buffers.data[s->bufs[k]].rank;
    }
    vec_push(a, &v->hosts, h);
  }
}

void saved_print(const variant *v, strbuf *out) {
  for (int i = 0; i < v->sites.len; i++) {
    const site *s = &v->sites.data[i];
    sb_printf(out, "site %d %d %d\n", s->step, s->number, s->node);
  }
  for (int i = 0; i < v->steps.len; i++) sb_printf(out, "step %d\n", v->steps.data[i].node);
  for (int i = 0; i < v->hosts.len; i++) {
    const host_step *h = &v->hosts.data[i];
    sb_printf(out, "host %d %.*s", h->step, STR_FMT(h->name));
    for (int k = 0; k < h->nbufs; k++)
      sb_printf(out, " %s:%d", dtype_name(h->types[k]), h->ranks[k]);
    sb_putc(out, '\n');
  }
}

static bool parse_host(variant *v, const char *line) {
  char name[256], type[16];
  host_step h = {0};
  int at;
  if (sscanf(line, "host %d %255s%n", &h.step, name, &at) != 2) return false;
  h.name = str_dup(&v->arena, str_from(name));
  int cap = (int)strlen(line) / 4 + 1;
  h.types = arena_array(&v->arena, dtype, cap);
  h.ranks = arena_array(&v->arena, int, cap);
  for (int used; sscanf(line + at, " %15[^:]:%d%n", type, &h.ranks[h.nbufs], &used) == 2;
       at += used)
    if (!dtype_parse(str_from(type), &h.types[h.nbufs++])) return false;
  vec_push(&v->arena, &v->hosts, h);
  return h.nbufs > 0;
}

bool saved_parse(variant *v, str text) {
  char *copy = str_z(&v->arena, text);
  for (char *line = copy, *end; *line; line = end + 1) {
    end = strchr(line, '\n');
    if (!end) return false;
    *end = 0;
    site s = {0};
    step_place p = {0};
    if (sscanf(line, "step %d", &p.node) == 1) {
      if (v->specialised && p.node >= v->specialised->nodes.len) return false;
      if (v->specialised && p.node >= 0) p.at = v->specialised->nodes.data[p.node]->at;
      vec_push(&v->arena, &v->steps, p);
    } else if (sscanf(line, "site %d %d %d", &s.step, &s.number, &s.node) == 3) {
      const graph *g = v->specialised;
      if (s.node >= g->nodes.len) return false;
      if (s.node >= 0) s.at = g->nodes.data[s.node]->at;
      vec_push(&v->arena, &v->sites, s);
    } else if (!parse_host(v, line)) {
      return false;
    }
  }
  return true;
}

// ---- which build of the library made an object

typedef struct search {
  const char *inside;  // an address of the library
  strbuf *out;
} search;

static void put_build_id(const ElfW(Nhdr) * note, size_t size, strbuf *out) {
  const char *at = (const char *)note, *end = at + size;
  while (at + sizeof *note <= end) {
    note = (const ElfW(Nhdr) *)at;
    const char *name = at + sizeof *note, *desc = name + (note->n_namesz + 3) / 4 * 4;
    if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && !memcmp(name, "GNU", 4))
      for (unsigned i = 0; i < note->n_descsz; i++) sb_printf(out, "%02x", (unsigned char)desc[i]);
    at = desc + (note->n_descsz + 3) / 4 * 4;
  }
}

static int visit(struct dl_phdr_info *info, size_t size, void *ctx) {
  (void)size;
  search *s = ctx;
  bool here = false;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    const char *begin = (const char *)info->dlpi_addr + h->p_vaddr;
    here |= h->p_type == PT_LOAD && s->inside >= begin && s->inside < begin + h->p_memsz;
  }
  for (int i = 0; here && i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    if (h->p_type == PT_NOTE)
      put_build_id((const void *)((const char *)info->dlpi_addr + h->p_vaddr), h->p_memsz, s->out);
  }
  return here;
}

str build_identity(arena *a) {
  strbuf out = sb_new(a);
  search s = {(const char *)(uintptr_t)&build_identity, &out};
  dl_iterate_phdr(visit, &s);
  return sb_str(&out);
}
