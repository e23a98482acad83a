// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside of the parser of the graph IR; only ir/graph_parse*.c.
#pragma once
#include "ir/graph_text.h"
#include "ir/text.h"

/// A name in the text, to be looked up later.
typedef struct name_at {
  str name;
  int begin;
} name_at;
typedef vec(name_at) name_list;

typedef struct graph_parser {
  text_cursor *c;
  graph *g;
  map values;      // by name without '%'
  bool axes_open;  // the signature: any axis name is an axis whose size is the symbol of that name
} graph_parser;

/// "N, T"
void gparse_names(graph_parser *p, name_list *out);
/// "f32[N, T]": the element type now, the names of the axes for later.
dtype gparse_type(graph_parser *p, name_list *axes);
/// The axes of these names; those not declared have the size symbol of their name.
int gparse_axes(graph_parser *p, const name_list *names, int *axes);
/// An operand, null after an error.
node *gparse_value(graph_parser *p);
void gparse_define(graph_parser *p, str name, int begin, node *n);
/// "%5 = add %x, %m : f32[N, T]", in kernel number `kernel`, or -1.
void gparse_node(graph_parser *p, int kernel);
