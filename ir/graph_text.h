// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the printer, the parser and the verifier of the graph IR share.
#pragma once
#include "ir/graph.h"

/// Printing with remarks: `note` gives the text to put below a node (null node: below the first
/// line), or an empty one. Lines of a note begin with "// ^ ".
typedef str graph_note_fn(void *ctx, const node *n);
void graph_print_notes(const graph *g, graph_note_fn *note, void *ctx, strbuf *out);

/// The size symbols of the params' axes in order of appearance: what graph.symbols is when the
/// text has no `size` lines.
typedef vec(str) symbol_list;
void graph_implied_symbols(const graph *g, arena *a, symbol_list *out);

/// Called with what breaks a rule; null node: the graph itself.
typedef void graph_found(void *ctx, const node *n, str text);
void graph_violations(const graph *g, arena *a, graph_found *found, void *ctx);
/// Views of a graph without violations that are not known to stay inside of their operand. Its pool
/// is computed in.
void graph_find_outside(graph *g, arena *a, graph_found *found, void *ctx);
