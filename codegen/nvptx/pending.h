// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products under way: wgmma runs beside what follows it, until something reads its sums.
//
//   s = dot q, k        issued                    flights: s
//   o = dot p, v        issued                    flights: s, o
//   max s               wait for all but 1        flights: o        the slot of k is free
//   o * r               wait for all              flights: -        the slot of v is free
//
// Between issue and wait nothing reads or writes the registers of a flight: nv_at, nv_define and what
// sets carried values are the doors to registers, and wait. A value is known by several names (what a
// loop of one step yields is its result); all get the registers that the wait hands out. Nothing is
// under way at an if, at a loop of several steps, at the end of a step, and at a barrier, but for one of
// consumers alone that on-chip buffers ask for (shared.c), which no product under way reads; no wait
// stands behind a guard, since what reads a flight is not deferred (lazy.c).
#pragma once
#include "codegen/nvptx/nvptx.h"

/// The product that was issued last writes v and reads these on-chip buffers; -1: registers.
void flight_start(ngen *g, const tval *v, int left, int right);
/// A product under way reads the buffer.
bool flight_reads_buffer(const ngen *g, int buf);
/// `to` is `from` under another name.
void flight_name(ngen *g, const tval *from, const tval *to);
/// v, which stood for something else meanwhile, is what the flight writes once more.
void flight_resume(ngen *g, const tval *v, flight *f);
/// Waits for the product that writes v, if one is under way, and for those issued before it.
void flight_land(ngen *g, const tval *v);
void flight_land_operands(ngen *g, const tstmt *s);
void flight_land_all(ngen *g);
/// An operand of the statement is under way.
bool flight_reads(const ngen *g, const tstmt *s);
/// When what was issued so far is done, the ring's slot is free.
void flight_then_free(ngen *g, ring *r, lval slot);
