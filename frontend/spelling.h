// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names that were meant: slips of the pen, and what other languages call it.
#pragma once
#include "base/str.h"

/// The candidate that `name` is a slip of; empty when there is none or two are as near. A name that
/// means something of its own in mathematics or another language is no slip: asin is not sin, conv3d
/// not conv2d, u32 not f32. So
///   - letters may differ in case, and underscores be missing or too many;
///   - two neighbours may be swapped, one letter be doubled or not;
///   - in words of five letters or more one other letter may be wrong, missing or too many (not
///     at the beginning), two in words of nine;
///   - digits stay as they are.
str nearest_name(str name, const str *candidates, int n);

/// A function of another framework or language: the function here (a fix), or how it is written.
typedef struct foreign {
  const char *name, *function, *hint;
} foreign;
const foreign *foreign_function(str name);
/// The element type that another language calls so; null: it is unknown.
const char *foreign_type(str name);
/// What to write instead of a statement or word that the language lacks (`for`, `if`); null: it is
/// no such word.
const char *foreign_word(str word);
