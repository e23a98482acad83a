#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Checks the dependencies between folders (docs/architecture.md): who may include whom, that only
# codegen/ sees LLVM, that the library neither prints nor exits nor follows the locale, that the
# public header stands alone in C11 and C++.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3

passed=0 failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf '%s\n' "$@"; }

# folder: what its files may include, as an extended regular expression over the include path
declare -A may=(
  [base]='base/'
  [ir]='(base|ir)/'
  [frontend]='(base|ir|frontend)/'
  [passes]='(base|ir|passes)/'
  [passes/rewrite]='(base|ir|passes/rewrite)/|passes/(passes|columns)\.h'
  [passes/fusion]='(base|ir|passes/fusion)/|passes/(passes|columns)\.h|passes/rewrite/factor\.h'
  [passes/lowering]='(base|ir|passes/lowering)/|passes/(passes|arena)\.h|passes/fusion/(group|outline|stream_form)\.h'
  [passes/explain]='(base|ir|passes/explain)/|passes/passes\.h|passes/fusion/(group|fuse|outline|stream_form)\.h|passes/remat/remat_study\.h'
  [passes/remat]='(base|ir|passes/remat)/|passes/passes\.h|passes/fusion/fuse\.h'
  [codegen]='(base|ir|codegen)/'
  [runtime]='(base|runtime)/|ir/dtype\.h|codegen/(abi|library)\.h'
  [api]='(base|ir|frontend|passes|codegen|runtime|api)/|tcc_fuse\.h'
  [cli]='cli/|tcc_fuse\.h'
  [include]='tcc_fuse\.h'
)
for folder in "${!may[@]}"; do
  [ -d "$folder" ] || continue
  found=$(grep -rnE '^ *# *include +"' "$folder" --include='*.[ch]' |
          grep -vE "include +\"(${may[$folder]})" | grep -vE '\.def"')
  if [ -n "$found" ]; then bad "$folder/ may include only ${may[$folder]}:" "$found"; else ok; fi
done

found=$(grep -rnE '# *include +[<"](llvm|llvm-c)/' base ir frontend passes runtime api cli include \
        --include='*.[ch]' 2>/dev/null)
if [ -n "$found" ]; then bad "only codegen/ may include LLVM:" "$found"; else ok; fi

# What is known of a machine stands in ir/targets.def; elsewhere code asks for the fact.
found=$(grep -rnE '(->|\.)sm *(==|!=|[<>]=?) *[0-9]|[^0-9a-z_](65536|(227|228|163|164|99|100|112) *<< *10)[^0-9]' \
        passes codegen api cli runtime --include='*.[ch]' | grep -vE '^codegen/math|//.*(->|\.)sm|"[^"]*65536')
if [ -n "$found" ]; then bad "figures of an architecture outside ir/targets.def:" "$found"; else ok; fi

# The library reports through diagnostics and status; it never prints and never ends the process.
# base/fault.c aborts in one case: a fault outside any API call.
found=$(grep -rnE '(^|[^a-z_A-Z0-9.>])(printf|puts|putchar|perror|exit|_exit|abort|assert) *\(' \
        base ir frontend passes codegen runtime api --include='*.c' 2>/dev/null |
        grep -vE '^base/fault\.c:|^[^:]*:[0-9]*: *(//|\*)|//.*(printf|exit|abort) *\(|__attribute__')
if [ -n "$found" ]; then bad "the library may not print or exit:" "$found"; else ok; fi

# Nothing follows the locale of the host: base/clocale.c alone asks the C library for numbers, what
# letters are, and messages; formats of floating point numbers go through what it gives.
library='base ir frontend passes codegen runtime api'
# shellcheck disable=SC2086
found=$(grep -rnE "(^|[^a-z_A-Z0-9])(strto(d|f|ld)|atof|strerror(_r)?|perror|setlocale|localeconv|(new|use)locale|\
str(coll|xfrm)|str(n)?casecmp|to(lower|upper)|is(alpha|digit|alnum|space|upper|lower|xdigit|punct|print|graph|cntrl)) *\(" \
        $library --include='*.[ch]' 2>/dev/null | grep -vE '^base/clocale\.[ch]:')
if [ -n "$found" ]; then bad "only base/clocale.c may ask for what follows the locale:" "$found"; else ok; fi
# shellcheck disable=SC2086
found=$(grep -rnE '"[^"]*%[-+ #0]*[0-9]*(\.[0-9*]*)?l?[aefgAEFG]' $library --include='*.[ch]' 2>/dev/null |
        grep -vE '(sb_printf|str_printf|clocale_snprintf)\(')
if [ -n "$found" ]; then bad "formats of floating point numbers go through sb_printf or str_printf:" "$found"; else ok; fi

if [ -f include/tcc_fuse.h ]; then
  for language in 'c -std=c11' 'c++ -std=c++17'; do
    # shellcheck disable=SC2086
    if found=$(gcc -x $language -fsyntax-only -Wall -Wextra -pedantic -Werror \
        include/tcc_fuse.h 2>&1); then ok
    else bad "include/tcc_fuse.h does not stand alone as $language:" "$found"; fi
  done
fi

if ! git rev-parse --git-dir >/dev/null 2>&1; then
  echo 'left out: license lines are not looked for (this is no git checkout)'
elif found=$(tests/spdx.sh); then ok
else bad "$found"
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
