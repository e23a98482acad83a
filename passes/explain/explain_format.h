// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Quantities and positions in explanations: explain_text.c and explain_html.c only.
#pragma once
#include "passes/explain/explain.h"

void explain_put_scaled(strbuf *out, double v, const char *unit);  // 1234567, "B": 1.2 MB
void explain_put_seconds(strbuf *out, double s);
/// file:line:col, or line:col; nothing for an unknown position.
void explain_put_position(strbuf *out, const diag_list *files, span at, bool with_file);
/// "350 MB moved (1.4 GB without fusion, 44 MB at least), 22 GFLOP, predicted 64 ms"
void explain_put_totals(strbuf *out, const explanation *e);
/// "12 MB of memory for intermediates, 11 MB of it in use at once"; false, and nothing, where there are none
bool explain_put_memory(strbuf *out, const explanation *e);
/// "2048 blocks of 256 threads, 8 on a multiprocessor (100% of its threads), 33 kB on chip, mma"
void explain_put_schedule(strbuf *out, const explain_schedule *s);
/// "40 a thread, none spilled; by ptxas", or "not known: there is no device, and ptxas is not ..."
void explain_put_usage(strbuf *out, const explain_usage *u);
void explain_put_role(strbuf *out, const explain_buffer *b);
/// " of the gradient", " of the forward pass and the gradient"; nothing of a kernel of the forward pass
const char *explain_phase_note(const explain_kernel *k);
const char *explain_bound_text(explain_bound b);
