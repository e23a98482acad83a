# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# shellcheck shell=bash
# What the tests of contracts know of functions: sourced.

functions() { sed -n 's/^fn \([a-z_0-9]*\)(.*/\1/p' "$1"; } # functions FILE

# The size symbols of a function among those that there are values for.
dims() { # dims FILE FUNCTION NAME=VALUE...
  local signature
  signature=$(sed -n "/^fn $2(/,/{/{p;/{/q}" "$1")
  shift 2
  for pair in "$@"; do
    grep -qE "[[ ]${pair%%=*} = [A-Z0-9]" <<<"$signature" && continue
    grep -qE "[[ ]${pair%%=*}[],]" <<<"$signature" && printf -- '--dim %s ' "$pair"
  done
}
