// The header of ahead-of-time output: codegen/abi.h, then
//
//   int32_t softmax(const float *x, float *out, int64_t N, tcf_frame *frame);
//   int64_t softmax_arena_size(const int64_t *symbols);
//   ...
//   // softmax_kernels[0]: softmax_0, 7 words, 256 threads, ...        (CUDA targets)
#include "api/session.h"

extern const unsigned char tcf_abi_header[];
extern const int tcf_abi_header_len;

static const char *c_type(dtype t) {
  static const char *const names[DT_COUNT] = {
      [DT_f64] = "double",  [DT_f32] = "float",   [DT_f16] = "uint16_t", [DT_bf16] = "uint16_t",
      [DT_i64] = "int64_t", [DT_i32] = "int32_t", [DT_i16] = "int16_t",  [DT_i8] = "int8_t",
      [DT_u8] = "uint8_t",  [DT_bool] = "uint8_t"};
  return names[t];
}

typedef struct header {
  tcf_function *function;
  const tcf_size *sizes;
  size_t nsizes;
  arena arena;
  char *text;
} header;

/// "// x: f32[N, T], row-major"
static void put_value(strbuf *out, const sig_value *v) {
  sb_printf(out, "//   %s: %s[", v->name, dtype_name(v->type));
  for (int k = 0; k < v->rank; k++) {
    bool same = !strcmp(v->axes[k], v->sizes[k]);
    sb_printf(out, same ? "%s%s" : "%s%s = %s", k ? ", " : "", v->axes[k], v->sizes[k]);
  }
  sb_puts(out, "], row-major\n");
}

static void put_declaration(strbuf *out, const tcf_function *f, const int64_t *known) {
  const signature *sig = &f->sig;
  sb_printf(out, "\n// %s", f->name);
  int constants = 0;
  for (int k = 0; k < sig->nsymbols; k++)
    if (known[k] >= 0)
      sb_printf(out, "%s %s = %lld", constants++ ? "," : ", for", sig->symbols[k],
                (long long)known[k]);
  sb_puts(out, "\n");
  for (int i = 0; i < sig->nparams; i++) put_value(out, &sig->params[i]);
  for (int i = 0; i < sig->nresults; i++) put_value(out, &sig->results[i]);
  sb_printf(out, "int32_t %s(", f->name);
  for (int i = 0; i < sig->nparams; i++)
    sb_printf(out, "const %s *%s, ", c_type(sig->params[i].type), sig->params[i].name);
  for (int i = 0; i < sig->nresults; i++)
    sb_printf(out, "%s *%s, ", c_type(sig->results[i].type), sig->results[i].name);
  for (int k = 0; k < sig->nsymbols; k++)
    if (known[k] < 0) sb_printf(out, "int64_t %s, ", sig->symbols[k]);
  sb_puts(out, "tcf_frame *frame);\n");
  sb_printf(out, "// symbols: those that are parameters, in order.\n");
  sb_printf(out, "int64_t %s_arena_size(const int64_t *symbols);\n", f->name);
  sb_printf(out, "int64_t %s_scratch_size(const int64_t *symbols);\n", f->name);
}

/// The table of the host object, read out of the loaded object itself.
static tcf_status put_kernels(header *h, strbuf *out) {
  tcf_function *f = h->function;
  tcf_session *s = f->program->session;
  str why = STR("");
  char *data;
  size_t size;
  tcf_status status = tcf_function_object(f, h->sizes, h->nsizes, &data, &size);
  if (status) return status;
  if (!s->jit) s->jit = jit_new(&why, &s->arena);
  jit_object *o = s->jit ? jit_load(s->jit, data, size, &h->arena, &why) : NULL;
  tcf_text_free(data);
  str name = str_printf(&h->arena, "%s_kernels", f->name);
  const tcf_kernel_info *k = o ? jit_symbol(s->jit, o, name.ptr, &h->arena, &why) : NULL;
  sb_printf(out, "extern const tcf_kernel_info %s_kernels[];\n", f->name);
  sb_printf(out, "extern const char %s_image[];  // PTX text\n", f->name);
  sb_printf(out, "extern const int64_t %s_image_size;\n", f->name);
  for (int i = 0; k && k[i].name; i++)
    sb_printf(out,
              "// %s_kernels[%d]: %s, %d words, %d tensor map%s, %d threads, %d bytes of dynamic "
              "shared memory\n",
              f->name, i, k[i].name, k[i].words, k[i].nmaps, k[i].nmaps == 1 ? "" : "s",
              k[i].threads, k[i].shared_bytes);
  if (o) jit_unload(s->jit, o);
  return k ? TCF_OK : session_fail(s, TCF_INTERNAL, "%.*s", STR_FMT(why));
}

static tcf_status make_header(void *args) {
  header *h = args;
  tcf_function *f = h->function;
  tcf_session *s = f->program->session;
  int64_t *known = arena_array(&h->arena, int64_t, f->sig.nsymbols);
  tcf_status status = function_sizes(f, h->sizes, h->nsizes, known);
  if (status) return status;
  strbuf out = sb_new(&h->arena);
  sb_put(&out, (str){(const char *)tcf_abi_header, tcf_abi_header_len});
  sb_puts(&out, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
  put_declaration(&out, f, known);
  if (s->target == TARGET_CUDA) status = put_kernels(h, &out);
  sb_puts(&out, "\n#ifdef __cplusplus\n}\n#endif\n");
  if (!status) h->text = text_for_caller(sb_str(&out));
  return status;
}

tcf_status tcf_function_header(tcf_function *f, const tcf_size *sizes, size_t nsizes, char **text) {
  if (!f) return TCF_WRONG_USE;
  header h = {.function = f, .sizes = sizes, .nsizes = nsizes};
  tcf_status status = session_guard(f->program->session, make_header, &h);
  arena_free(&h.arena);
  if (!status) *text = h.text;
  return status;
}
