# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# new NAME: the project builds against what is installed, with make and with CMake; nothing is overwritten.
# Sourced by run.sh.

expect 2 'new takes one name' new
expect 2 'new takes one name' new a b
for name in a/b ./a /tmp/a; do expect 2 'without slashes' new $name; done
for name in '' .. 1a a.b 'a b' "$(printf 'a%.0s' {1..65})"; do
  expect 2 'is no name of a project' new "$name"
done
: >taken && mkdir -p folder-taken && ln -s nowhere link-taken
for name in taken folder-taken link-taken; do
  expect 3 "$name is there already" new $name
done
holds 'and stays as it was' test ! -s taken -a -z "$(ls -A folder-taken)" -a ! -e nowhere
(ulimit -f 0; trap '' XFSZ; "$tool" new too-large >out.txt 2>/dev/null)
holds 'nothing is left when files cannot be written' test ! -e too-large

expect 0 'demo-1/CMakeLists.txt' new demo-1
holds 'it has five files' test "$(find demo-1 -type f | LC_ALL=C sort | xargs)" = \
  'demo-1/CMakeLists.txt demo-1/Makefile demo-1/README.md demo-1/demo-1.tdsl demo-1/main.c'
holds 'all names are filled in' test -z "$(grep -r @ demo-1)"
expect 3 'demo-1 is there already' new demo-1
expect 0 '' fmt --check demo-1/demo-1.tdsl
expect 0 ': ok' run demo-1/demo-1.tdsl --dim N=4 --dim D=5 --check
expect 0 '' build demo-1/demo-1.tdsl -o softmax.so --header softmax.h
holds 'the host is C without warnings' sh -c \
  "cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -I'$here/../../include' demo-1/main.c"
if [ -e "$(dirname "$tool")/CMakeCache.txt" ] && type make cmake pkg-config >/dev/null; then
  cmake --install "$(dirname "$tool")" --prefix "$dir/for-new" >installed.txt
  if [ -e for-new/lib/pkgconfig/tccfuse.pc ]; then
    rows=$'0.090 0.245 0.665\n0.665 0.245 0.090'
    export PKG_CONFIG_PATH=$dir/for-new/lib/pkgconfig
    holds 'the project is made by make' sh -c 'make -s -C demo-1 main >made.txt 2>&1'
    holds 'and runs' test "$(make -s -C demo-1 run | tail -2)" = "$rows"
    holds 'and by CMake' sh -c '(cmake -S demo-1 -B demo-1/build && cmake --build demo-1/build) >made.txt 2>&1'
    holds 'and runs too' test "$(demo-1/build/main demo-1/demo-1.tdsl)" = "$rows"
    unset PKG_CONFIG_PATH
  else echo 'left out: the project of `new` is not built (this build installs no library)'
  fi
else echo 'left out: the project of `new` is not built (there is no make, cmake or pkg-config)'
fi
