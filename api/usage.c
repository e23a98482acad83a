// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the device's compiler makes of kernels, for `explain`: asked of the driver where there is a
// device, else of ptxas where that is found.
#include "api/session.h"
#include "passes/explain/explain.h"
#include "runtime/tool.h"

typedef struct usage_args {
  tcf_session *session;
  arena *arena;
  const struct program *program;
  explain_usage *out;  // by kernel
} usage_args;

static void unknown(usage_args *u, str why) {
  for (int i = 0; i < u->program->kernels.len; i++) u->out[i] = (explain_usage){.unknown = why};
}

// ---- the driver

static void ask_driver(usage_args *u, const device_code *c) {
  cuda_device *d = u->session->device;
  error e;
  cuda_module *m = cuda_module_compile(d, c->kernels, c->image, (size_t)c->image_size,
                                       session_cache(u->session), &e);
  for (int i = 0; m && i < u->program->kernels.len; i++) {
    cuda_usage found;
    if (!cuda_module_usage(m, i, &found, &e)) {
      u->out[i] = (explain_usage){.unknown = str_dup(u->arena, str_from(e.text))};
      continue;
    }
    u->out[i] = (explain_usage){.source = STR("the driver"),
                                .registers = found.registers,
                                .spilled_bytes = found.spilled_bytes,
                                .shared_bytes = found.shared_bytes};
  }
  if (!m) unknown(u, str_dup(u->arena, str_from(e.text)));
  cuda_module_free(m);
}

// ---- ptxas

static void ask_ptxas(usage_args *u, const device_code *c) {
  ptxas_output assembled;
  error e;
  const char *arch = str_z(u->arena, u->session->cpu);
  if (!ptxas_run(arch, c->image, (size_t)c->image_size - 1, &assembled, &e))
    return unknown(u, str_printf(u->arena, "there is no device, and %s", e.text));
  for (int i = 0; i < u->program->kernels.len; i++) {
    ptxas_usage found;
    const tcf_kernel_info *k = &c->kernels[i];
    if (!ptxas_usage_of(&assembled, k->name, &found)) {
      u->out[i] = (explain_usage){.unknown = STR("ptxas does not tell")};
      continue;
    }
    u->out[i] = (explain_usage){.source = STR("ptxas"),
                                .registers = found.registers,
                                .spilled_bytes = found.stack_bytes,
                                .shared_bytes = found.shared_bytes + k->shared_bytes};
  }
  ptxas_free(&assembled);
}

// ----

void usage_of_kernels(void *session, arena *a, const struct program *p, explain_usage *out) {
  usage_args u = {session, a, p, out};
  tcf_session *s = session;
  code object;
  device_code c;
  tcf_status status = session_codegen(s, a, p, (codegen_options){.kind = CODE_OBJECT}, &object);
  if (!status) status = device_code_open(s, a, c_symbol(a, p->name), object, &c);
  if (status) return unknown(&u, str_dup(a, str_from(s->message)));
  if (s->device) ask_driver(&u, &c);
  else ask_ptxas(&u, &c);
  device_code_close(s, &c);
}
