// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The headers of ahead-of-time output. Of an object: codegen/abi.h, then
//
//   int32_t softmax(const float *x, float *out, int64_t N, tcf_frame *frame);
//   int64_t softmax_arena_size(const int64_t *symbols);
//   ...
//   // softmax_kernels[0]: softmax_0, 7 words, 256 threads, ...        (CUDA targets)
//
// Of a library, the functions of codegen/library.h:
//
//   int32_t softmax(const float *x, float *out, int64_t N, softmax_context *context);
#include "api/session.h"
#include "codegen/abi.h"

extern const unsigned char tcf_abi_header[];
extern const int tcf_abi_header_len;

static const char *c_type(dtype t) {
  static const char *const names[DT_COUNT] = {
      [DT_f64] = "double",  [DT_f32] = "float",    [DT_f16] = "uint16_t", [DT_bf16] = "uint16_t",
      [DT_i64] = "int64_t", [DT_i32] = "int32_t",  [DT_i16] = "int16_t",  [DT_i8] = "int8_t",
      [DT_u8] = "uint8_t",  [DT_bool] = "uint8_t", [DT_u64] = "uint64_t", [DT_u32] = "uint32_t",
      [DT_u16] = "uint16_t"};
  return names[t];
}

typedef struct header {
  tcf_function *function;
  const tcf_size *sizes;
  size_t nsizes;
  int64_t *known;  // by symbol; -1: a parameter
  arena arena;
} header;

static bool has_value(const sig_value *values, int n, const char *name) {
  for (int i = 0; i < n; i++)
    if (!strcmp(values[i].name, name)) return true;
  return false;
}

/// Of the parts of a function: ", saved for f_backward".
static void put_role(const header *h, strbuf *out, const sig_value *v, bool result) {
  const tcf_function *f = h->function, *part = f->part;
  if (!part) return;
  bool saved = result && v - f->sig.results >= f->saved;
  if (!f->backward && saved) sb_printf(out, ", saved for %s", part->name);
  if (!f->backward) return;
  bool there = !result && has_value(part->sig.results, part->sig.nresults, v->name);
  bool taken = !result && has_value(part->sig.params, part->sig.nparams, v->name);
  if (there) sb_printf(out, ", of %s", part->name);
  else if (!taken) sb_printf(out, ", the derivative for %s", v->name + strlen("d_"));
}

/// "// x: f32[N, T], row-major"
static void put_value(const header *h, strbuf *out, const sig_value *v, bool result) {
  sb_printf(out, "//   %s: %s[", v->name, dtype_name(v->type));
  for (int k = 0; k < v->rank; k++) {
    bool same = !strcmp(v->axes[k], v->sizes[k]);
    sb_printf(out, same ? "%s%s" : "%s%s = %s", k ? ", " : "", v->axes[k], v->sizes[k]);
  }
  sb_puts(out, "], row-major");
  put_role(h, out, v, result);
  sb_puts(out, "\n");
}

/// "// where T % 4 == 0, T <= 128": what calls are tested for, of the sizes that are parameters.
static void put_facts(const header *h, strbuf *out) {
  if (signature_put_facts(&h->function->sig, h->known, "//   where ", out)) sb_puts(out, "\n");
}

/// The node is a gather or scatter by a parameter, and none before it has the same indices.
static bool has_new_indices(const graph *g, int number) {
  const node *n = g->nodes.data[number];
  if ((n->op != OP_gather && n->op != OP_scatter_add) || n->in[1]->op != OP_param) return false;
  ix size = graph_axis_size(g, n->attr_axes[0]);
  for (int i = 0; i < number; i++) {
    const node *other = g->nodes.data[i];
    bool same = (other->op == OP_gather || other->op == OP_scatter_add) &&
                other->in[1] == n->in[1] && graph_axis_size(g, other->attr_axes[0]) == size;
    if (same) return false;
  }
  return true;
}

/// "// 0 <= ids < V, else TCF_CALL_INDEX": parameters that are indices of gathers and scatters.
static void put_indices(const header *h, strbuf *out) {
  const graph *g = h->function->graph;
  bool unchecked = h->function->program->session->flags & TCF_UNCHECKED;
  for (int i = 0; g && i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (!has_new_indices(g, i)) continue;
    strbuf size = sb_new(out->arena);
    ix_print(&g->ix, graph_axis_size(g, n->attr_axes[0]), NULL, NULL, &size);
    sb_printf(out, "//   0 <= %.*s < %s%s\n", STR_FMT(n->in[1]->name), size.data,
              unchecked ? ", which is not tested" : ", else TCF_CALL_INDEX");
  }
}

/// How many parameters of the prototype have that name.
static int named(const header *h, str name) {
  const signature *sig = &h->function->sig;
  int k = signature_symbol(sig, name), n = k >= 0 && h->known[k] < 0;
  for (int i = 0; i < sig->nparams; i++) n += str_eqz(name, sig->params[i].name);
  for (int i = 0; i < sig->nresults; i++) n += str_eqz(name, sig->results[i].name);
  return n;
}

/// A name as it stands in the prototype: in a comment where it might not be one there.
static const char *parameter(header *h, const char *name) {
  str context = str_printf(&h->arena, "%s_context", h->function->symbol);
  bool plain = c_name_is_plain(str_from(name)) && named(h, str_from(name)) == 1;
  if (plain && !str_eqz(context, name)) return name;
  return str_printf(&h->arena, "/* %s */", name).ptr;
}

static void put_pointer(header *h, strbuf *out, const char *constant, const sig_value *v) {
  const char *name = parameter(h, v->name);
  sb_printf(out, "%s%s *%s%s, ", constant, c_type(v->type), *name == '/' ? " " : "", name);
}

/// What the function takes, and the beginning of its declaration up to the last size.
static void put_parameters(header *h, strbuf *out) {
  const tcf_function *f = h->function;
  const signature *sig = &f->sig;
  const int64_t *known = h->known;
  sb_printf(out, "\n// %s", f->name);
  int constants = 0;
  for (int k = 0; k < sig->nsymbols; k++)
    if (known[k] >= 0)
      sb_printf(out, "%s %s = %lld", constants++ ? "," : ", for", sig->symbols[k],
                (long long)known[k]);
  sb_puts(out, "\n");
  for (int i = 0; i < sig->nparams; i++) put_value(h, out, &sig->params[i], false);
  for (int i = 0; i < sig->nresults; i++) put_value(h, out, &sig->results[i], true);
  put_facts(h, out);
  put_indices(h, out);
  sb_printf(out, "int32_t %s(", f->symbol);
  for (int i = 0; i < sig->nparams; i++) put_pointer(h, out, "const ", &sig->params[i]);
  for (int i = 0; i < sig->nresults; i++) put_pointer(h, out, "", &sig->results[i]);
  for (int k = 0; k < sig->nsymbols; k++)
    if (known[k] < 0) sb_printf(out, "int64_t %s, ", parameter(h, sig->symbols[k]));
}

/// A name for a further parameter that no other has.
static const char *further(header *h, const char *name) {
  str own = str_from(name);
  while (named(h, own)) own = str_printf(&h->arena, "%.*s_", STR_FMT(own));
  return own.ptr;
}

static void put_object(header *h, strbuf *out) {
  const tcf_function *f = h->function;
  put_parameters(h, out);
  sb_printf(out, "tcf_frame *%s);\n", further(h, "frame"));
  sb_printf(out, "// symbols: those that are parameters, in order.\n");
  sb_printf(out, "int64_t %s_arena_size(const int64_t *symbols);\n", f->symbol);
  sb_printf(out, "int64_t %s_scratch_size(const int64_t *symbols);\n", f->symbol);
}

/// The table of the host object, read out of the loaded object itself.
static tcf_status put_kernels(header *h, strbuf *out) {
  tcf_function *f = h->function;
  tcf_session *s = f->program->session;
  char *data;
  size_t size;
  device_code c;
  tcf_status status = function_object(f, h->sizes, h->nsizes, &data, &size);
  if (status) return status;
  status = device_code_open(s, &h->arena, str_from(f->symbol), (code){data, size}, &c);
  tcf_text_free(data);
  if (status) return status;
  sb_printf(out, "extern const tcf_kernel_info %s_kernels[];\n", f->symbol);
  sb_printf(out, "extern const char %s_image[];  // PTX text\n", f->symbol);
  sb_printf(out, "extern const int64_t %s_image_size;\n", f->symbol);
  for (const tcf_kernel_info *k = c.kernels; k->name; k++)
    sb_printf(out,
              "// %s_kernels[%d]: %s, %d words%s, %d tensor map%s, %d threads, %d bytes of dynamic "
              "shared memory\n",
              f->symbol, (int)(k - c.kernels), k->name, k->words,
              k->ticket_word ? " (the last: tickets)" : "", k->nmaps, k->nmaps == 1 ? "" : "s",
              k->threads, k->shared_bytes);
  device_code_close(s, &c);
  return TCF_OK;
}

// ---- libraries

/// Of codegen/abi.h; a program may include the headers of several functions.
static void put_statuses(bool cuda, strbuf *out) {
  static const struct {
    int value;
    const char *name, *meaning;
  } rows[] = {
      {TCF_CALL_OK, "OK", "done, or, on a device, started on the stream"},
      {TCF_CALL_INDEX, "INDEX", "an index out of range"},
      {TCF_CALL_ARGUMENTS, "ARGUMENTS", "sizes or addresses that do not suit"},
      {TCF_CALL_MEMORY, "MEMORY", "out of memory"},
  };
  sb_puts(out, "#ifndef TCF_CALL_STATUS\n#define TCF_CALL_STATUS\nenum {\n");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    sb_printf(out, "  TCF_CALL_%s = %d, /* %s */\n", rows[i].name, rows[i].value, rows[i].meaning);
  sb_puts(out, "};\n#endif\n");
  if (!cuda) return;
  sb_puts(out, "#ifndef TCF_CALL_STATUS_DEVICE\n#define TCF_CALL_STATUS_DEVICE\n");
  sb_printf(out, "enum { TCF_CALL_LAUNCH = %d }; /* the device or its driver failed */\n#endif\n",
            TCF_CALL_LAUNCH);
}

/// Of the pointers; runtime/library.c tests it.
static void put_contraction(bool cuda, strbuf *out) {
  sb_printf(out,
            "\n/* Pointers are %s; null only where the array\n"
            "   has no elements. The memory of a result is shared with no parameter and no other "
            "result.\n"
            "   Else, and when sizes are not as demanded below: TCF_CALL_ARGUMENTS. */",
            cuda ? "addresses of the device, at multiples of 16 bytes"
                 : "at multiples of the size of their elements");
}

static void put_library(header *h, strbuf *out) {
  const char *name = h->function->symbol;
  bool cuda = h->function->program->session->target == TARGET_CUDA;
  sb_printf(out, "\n/* What calls of %s run on%s. One thread at a time uses it. */\n", name,
            cuda ? ": its kernels in a device" : ": threads, and memory for intermediates");
  sb_printf(out, "typedef struct %s_context %s_context;\n\n", name, name);
  sb_puts(out,
          cuda ? "/* Of the device with that number. " : "/* threads 0: all CPUs of the process. ");
  sb_puts(
      out,
      "Functions return 0, or a status of those above, which\n"
      "   the message then explains: it is that of the last call with the context, and empty "
      "after\n"
      "   one that returned 0. When opening fails *context is set all the same, or null without\n"
      "   memory: ask it for the message, and close it. */\n");
  sb_printf(out, "int32_t %s_open(int32_t %s, %s_context **context);\n", name,
            cuda ? "device" : "threads", name);
  sb_printf(out, "const char *%s_message(const %s_context *context);\n", name, name);
  sb_printf(out, "void %s_close(%s_context *context);\n", name, name);
  put_contraction(cuda, out);
  put_parameters(h, out);
  sb_printf(out, "%s_context *%s", name, further(h, "context"));
  if (!cuda) return sb_puts(out, ");\n");
  sb_printf(out, ", void *%s);\n", further(h, "stream"));
  sb_puts(
      out,
      "/* stream: a CUstream or cudaStream_t; null: the legacy default stream. A call is started\n"
      "   in its order and not waited for. This waits for the calls of the context; "
      "TCF_CALL_INDEX\n"
      "   when a check failed in one. */\n");
  sb_printf(out, "int32_t %s_wait(%s_context *context);\n", name, name);
}

/// Of one or several functions.
typedef struct declarations {
  header functions[MOST_LIBRARY_FUNCTIONS];
  int n;
  bool library;
  char *text;
} declarations;

static tcf_status fill(declarations *d, strbuf *out) {
  bool cuda = d->functions[0].function->program->session->target == TARGET_CUDA;
  tcf_status status = TCF_OK;
  if (d->library) {
    sb_puts(out, "#pragma once\n#include <stdint.h>\n\n");
    put_statuses(cuda, out);
  } else {
    sb_put(out, (str){(const char *)tcf_abi_header, tcf_abi_header_len});
  }
  sb_puts(out, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
  for (int i = 0; i < d->n && !status; i++) {
    header *h = &d->functions[i];
    (d->library ? put_library : put_object)(h, out);
    if (!d->library && cuda) status = put_kernels(h, out);
  }
  return status;
}

static tcf_status declare(void *args) {
  declarations *d = args;
  tcf_status status = TCF_OK;
  for (int i = 0; i < d->n && !status; i++) {
    header *h = &d->functions[i];
    h->known = arena_array(&h->arena, int64_t, h->function->sig.nsymbols);
    status = function_sizes(h->function, h->sizes, h->nsizes, h->known);
  }
  if (status) return status;
  strbuf out = sb_new(&d->functions[0].arena);
  status = fill(d, &out);
  sb_puts(&out, "\n#ifdef __cplusplus\n}\n#endif\n");
  if (!status) d->text = text_for_caller(sb_str(&out));
  return status;
}

// ----

tcf_status functions_belong_together(tcf_session *s, tcf_function *const *functions, size_t count) {
  tcf_status status = need(s, functions, "the list of functions");
  if (!status && (!count || count > MOST_LIBRARY_FUNCTIONS))
    status = session_fail(s, TCF_WRONG_USE, "%zu functions; there may be 1 to %d in one output",
                          count, MOST_LIBRARY_FUNCTIONS);
  for (size_t i = 0; !status && i < count; i++) {
    status = need(s, functions[i], "a function");
    if (!status && functions[i]->program->session != s)
      status = session_fail(s, TCF_WRONG_USE, "the functions are of different sessions");
    for (size_t k = 0; !status && k < i; k++)
      if (!strcmp(functions[i]->symbol, functions[k]->symbol))
        status = session_fail(s, TCF_WRONG_USE, "two of the functions are exported as %s",
                              functions[i]->symbol);
  }
  return status;
}

static tcf_status write_header(tcf_function *const *functions, size_t count, const tcf_size *sizes,
                               size_t nsizes, bool library, char **text) {
  entry in;
  tcf_status status = entry_open_function(&in, functions && count ? functions[0] : NULL);
  if (status) return status;
  declarations d = {.n = (int)count, .library = library};
  status = functions_belong_together(in.session, functions, count);
  if (!status) status = need(in.session, text, "the text");
  if (!status) status = need_sizes(in.session, sizes, nsizes);
  for (size_t i = 0; !status && i < count; i++)
    d.functions[i] = (header){.function = functions[i], .sizes = sizes, .nsizes = nsizes};
  if (!status) status = session_compile_guard(in.session, declare, &d);
  for (int i = 0; i < MOST_LIBRARY_FUNCTIONS; i++) arena_free(&d.functions[i].arena);
  if (!status) *text = d.text;
  return entry_close(&in, status);
}

tcf_status tcf_functions_header(tcf_function *const *functions, size_t count, const tcf_size *sizes,
                                size_t nsizes, char **text) {
  return write_header(functions, count, sizes, nsizes, false, text);
}

tcf_status tcf_functions_library_header(tcf_function *const *functions, size_t count,
                                        const tcf_size *sizes, size_t nsizes, char **text) {
  return write_header(functions, count, sizes, nsizes, true, text);
}

tcf_status tcf_function_header(tcf_function *f, const tcf_size *sizes, size_t nsizes, char **text) {
  return write_header(&f, 1, sizes, nsizes, false, text);
}

tcf_status tcf_function_library_header(tcf_function *f, const tcf_size *sizes, size_t nsizes,
                                       char **text) {
  return write_header(&f, 1, sizes, nsizes, true, text);
}
