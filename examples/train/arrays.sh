#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Arrays of bytes from text, for data.sh and the tests; under LC_ALL=C.

# npy SHAPE: bytes to a .npy of u8. The header is as long as a multiple of 64.
npy() {
  local header="{'descr': '|u1', 'fortran_order': False, 'shape': ($1), }"
  while [ $(((${#header} + 11) % 64)) != 0 ]; do header+=' '; done
  printf "\\x93NUMPY\\x01\\x00\\x$(printf %02x $((${#header} + 1)))\\x00%s\\n" "$header"
  cat
}

# Numbers below 64, to bytes.
to_bytes() {
  printf '%b' "$(awk -F '[, ]' 'BEGIN { for (i = 0; i < 64; i++) octal[i] = sprintf("\\0%03o", i) }
                         { for (i = 1; i <= NF; i++) printf "%s", octal[$i + 0] }')"
}
