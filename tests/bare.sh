#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Runs a command as on a machine that has what building and testing need and nothing else: programs
# that tests use where they find them are hidden, and so are the driver and the toolkit of NVIDIA.
# What a test leaves out for it, it says in a line `left out: WHAT (WHY)`; run.sh lists these.
# usage: bare.sh COMMAND...
set -uo pipefail
optional=(ptxas nvcc nvdisasm nvlink cuobjdump fatbinary nvidia-smi compute-sanitizer 'clang*'
          localedef gdb 'python*' 'pip*' zsh man mandoc shellcheck strace valgrind)

unwanted=()
for name in "${optional[@]}"; do unwanted+=(! -name "$name"); done
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
IFS=: read -ra folders <<<"$PATH"
for folder in "${folders[@]}"; do
  # The first program of a name wins, as in $PATH.
  [ ! -d "$folder" ] ||
    find "$folder/" -maxdepth 1 \( -type f -o -type l \) "${unwanted[@]}" -print0 |
      xargs -0r ln -st "$programs" 2>/dev/null
done
unset LD_LIBRARY_PATH
PATH=$programs CUDA_HOME=/none TCF_CUDA_LIBRARY=/none/libcuda.so.1 "$@"
