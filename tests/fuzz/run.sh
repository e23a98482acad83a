#!/usr/bin/env bash
# Fuzzes for SECONDS each: random programs from a fresh seed, then the libFuzzer targets (address and
# undefined-behaviour sanitizer). Findings are left in build-fuzz/; the last line is
# "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 3
seconds=${1:-60}
jobs=${TCF_JOBS:-$(nproc)}
passed=0 failed=0

result() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

cmake -G Ninja -S . -B build-test -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTCF_WERROR=ON \
  -DTCF_ROUNDTRIP=ON >/dev/null && ninja -C build-test -j "$jobs" random-programs || exit 3
seed=$((($(date +%s) - 1700000000) * 1000))
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
  build-test/random-programs --first $seed --count 500 --jobs "$jobs"
  result $?
  seed=$((seed + 500))
done

clang=$(command -v clang-22 || command -v clang)
cmake -G Ninja -S . -B build-fuzz -DCMAKE_C_COMPILER="$clang" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DTCF_FUZZ=ON -DTCF_TESTS=OFF -DTCF_SANITIZE=address,undefined >/dev/null &&
  ninja -C build-fuzz -j "$jobs" fuzz-program fuzz-arrays || exit 3

# Seeds: every program and printed IR of the repository, and the small array files in seeds/.
mkdir -p build-fuzz/{program,arrays}-corpus build-fuzz/seeds
git ls-files '*.tdsl' '*.graph' '*.tile' '*.tcir' '*.ir' | while read -r file; do
  [ "$(wc -c <"$file")" -gt 20000 ] || cp "$file" "build-fuzz/seeds/$(tr / _ <<<"$file")"
done
for seed_program in $(seq 1 40); do
  build-test/random-programs --print "$seed_program" >"build-fuzz/seeds/random$seed_program.tdsl"
done
for target in program arrays; do
  seeds=build-fuzz/seeds
  [ $target = program ] || seeds=tests/fuzz/seeds
  build-fuzz/fuzz-$target -max_total_time="$seconds" -jobs="$jobs" -workers="$jobs" -max_len=4096 \
    -rss_limit_mb=4000 -timeout=20 -artifact_prefix=build-fuzz/$target- \
    -dict=tests/fuzz/$target.dict build-fuzz/$target-corpus $seeds >build-fuzz/$target.log 2>&1
  status=$?
  result $status
  tail -3 build-fuzz/$target.log
  rm -f fuzz-[0-9]*.log
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
