#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Compares with stored NumPy results, compiled and in the interpreter.
# usage: run.sh TCC_FUSE     (the test program lies beside it)
set -uo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
cases=$(dirname "$1")/numpy-cases
groups=(elementwise casts reductions products views scans functions unsigned recurrences)
status=0
"$cases" "$here/cases" "${groups[@]}" || status=1
"$cases" --target interp "$here/cases" "${groups[@]}" || status=1
exit $status
