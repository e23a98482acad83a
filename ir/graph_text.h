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

/// Every rule that g breaks; null node: the graph itself.
void graph_violations(const graph *g, arena *a, void (*found)(void *, const node *, str),
                      void *ctx);
