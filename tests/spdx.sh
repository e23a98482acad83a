#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Every source file names its license in a line: at the top, or at the end of programs in the
# language, whose positions are told in documentation. Inputs and expectations of tests have none.
# usage: spdx.sh          prints the files without it; status 1 if there are some
#        spdx.sh --add    adds it to them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
line='SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception'

# comment FILE: where and how the line stands there; nothing: it needs none
comment() {
  case $1 in
    include/tcc_fuse.h) echo "top /* $line */" ;;  # plain C, also for older compilers
    *.c|*.h|*.def|*.sollya) echo "top // $line" ;;
    *.sh|*.py|*.cmake|*.in|*.dict|CMakeLists.txt|dev|.ci/run) echo "top # $line" ;;
    tests/*) ;;
    *.tdsl) echo "end // $line" ;;
  esac
}

add() { # add FILE top|end TEXT: behind the line that names an interpreter
  if [ "$2" = end ]; then printf '\n%s\n' "$3" >>"$1"
  elif head -1 "$1" | grep -q '^#!'; then sed -i "1a\\$3" "$1"
  else sed -i "1i\\$3" "$1"
  fi
}

status=0
while IFS= read -r file; do
  read -r place text <<<"$(comment "$file")"
  [ -n "$place" ] || continue
  [[ $(head -2 "$file"; tail -1 "$file") != *"$text"* ]] || continue
  if [ "${1:-}" = --add ]; then add "$file" "$place" "$text"
  else echo "$file names no license: tests/spdx.sh --add"; status=1
  fi
done < <(git ls-files)
exit $status
