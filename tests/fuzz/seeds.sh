#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Writes the seeds of the fuzz target of programs: every program and printed IR of the repository that
# is not large, and some random programs.
#
# usage: tests/fuzz/seeds.sh RANDOM_PROGRAMS FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
random=$1 folder=$2
mkdir -p "$folder"
rm -f "$folder"/*
git ls-files '*.tdsl' '*.graph' '*.tile' '*.tcir' '*.ir' | while read -r file; do
  [ "$(wc -c <"$file")" -gt 20000 ] || cp "$file" "$folder/$(tr / _ <<<"$file")"
done
for seed in $(seq 1 40); do "$random" --print "$seed" >"$folder/random$seed.tdsl"; done
