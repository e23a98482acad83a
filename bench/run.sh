#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Runs the benchmarks and writes bench/results/NAME.md (TCF_BENCH_RESULTS: another folder).
# `./dev bench` calls it.
#
# usage: bench/run.sh [elementwise|products|attention|gradients|minilm|startup]... [--case=PATTERN]
#
# The peers come from PyPI into build/bench-venv (torch for the CPU, JAX, ONNX Runtime, about
# 1.5 GB) and from Debian (OpenBLAS, oneDNN). Nothing else should run on the machine meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${TCF_BENCH_VENV:-$PWD/build/bench-venv}
python=$venv/bin/python
results=${TCF_BENCH_RESULTS:-bench/results}
tests=()
pattern=''
for argument in "$@"; do
  case "$argument" in
    elementwise|products|attention|gradients|minilm|startup) tests+=("$argument") ;;
    --case=*) pattern=${argument#--case=} ;;
    *) sed -n 's/^# \(usage.*\)/\1/p' "$0" >&2; exit 2 ;;
  esac
done
[ ${#tests[@]} -gt 0 ] || tests=(elementwise products attention gradients minilm startup)
mkdir -p $results

make_venv() {
  [ -f "$venv/.complete" ] && return
  [ -z "${TCF_BENCH_VENV:-}" ] || return 0
  echo "installing the peers from PyPI into $venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu torch ||
    "$venv/bin/pip" install --quiet torch
  "$venv/bin/pip" install --quiet numpy jax onnxruntime onnx onnxscript transformers safetensors
  touch "$venv/.complete"
}

header() { # header TITLE: what the figures were measured with
  echo "# $1"
  echo
  echo "$(date +%Y-%m-%d), $(git rev-parse --short HEAD)," \
       "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)," \
       "$(nproc) CPUs. Written by \`./dev bench\`; median of interleaved turns, best in parentheses;" \
       "ratio = best peer's time / ours."
}

versions() {
  "$python" - <<'PYTHON'
from importlib.metadata import version
print("Peers: " + ", ".join(f"{p} {version(p)}" for p in
                            ("torch", "jax", "onnxruntime", "transformers", "numpy")) + ".")
PYTHON
}

# Freed memory is kept, so that no contender pays for mapping fresh pages at every call.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776
cpus=$(nproc)
threads=(1)
[ "$cpus" -lt 2 ] || threads=(1 2)
list() { [ "$1" = 1 ] && echo 0 || echo "0-$(($1 - 1))"; }

bench_elementwise() {
  make_venv
  { header "Elementwise chains, normalisations, losses"; versions; } >$results/elementwise.md
  for t in "${threads[@]}"; do
    taskset -c "$(list "$t")" "$python" bench/elementwise.py "$t" "$pattern" 2>build/bench.log |
      tee -a $results/elementwise.md
  done
}

bench_products() {
  ninja -C build bench-products
  {
    header "Matrix products"
    echo "Peers: $(dpkg-query -W -f='${Package} ${Version}, ' libopenblas0 libdnnl2 2>/dev/null)" \
         "OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-set by CPU}. \"b packed before\": the weights were" \
         "brought into the library's own layout outside of the measurement; not counted as a peer." \
         "Every turn begins after 20 ms of the same calls."
  } >$results/products.md
  for t in "${threads[@]}"; do
    taskset -c "$(list "$t")" build/bench-products "$t" | tee -a $results/products.md
  done
}

bench_attention() {
  make_venv
  cc -O3 -march=native -mprefer-vector-width=512 -ffast-math -shared -fPIC bench/pairs.c -o build/bench-pairs.so -lm
  export TCF_BENCH_PAIRS=$PWD/build/bench-pairs.so
  {
    header "Attention and pairs of points"
    echo "Peers: torch $("$python" -c 'import torch; print(torch.__version__)'), $(cc --version | head -1)." \
      "Contenders take turns call by call; ratio = median of the quotients of neighbouring" \
      "calls. One thread: its CPU time."
  } >$results/attention.md
  for t in "${threads[@]}"; do
    taskset -c "$(list "$t")" "$python" bench/attention.py "$t" "$pattern" 2>build/bench.log |
      tee -a $results/attention.md
  done
}

bench_gradients() {
  make_venv
  {
    header "Forward and backward on a CPU"
    echo "Peers: torch $("$python" -c 'import torch; print(torch.__version__)'), compiled and eager." \
      "One thread, the best of the turns alone; the ratio is to torch.compile. The difference is over the largest element of the result. On a GPU: [gradients-h200.md](gradients-h200.md)."
    echo
    taskset -c 0 "$python" bench/gradients.py --only "$pattern" 2>build/bench.log
  } | tee $results/gradients.md
}

bench_minilm() {
  make_venv
  model=$(dirname "$(examples/minilm/fetch.sh)")
  { header "MiniLM"; versions; } >$results/minilm.md
  for t in "${threads[@]}"; do
    taskset -c "$(list "$t")" "$python" bench/minilm.py "$t" "$model" 2>build/bench.log |
      tee -a $results/minilm.md
  done
}

bench_startup() {
  cmake -G Ninja -S . -B build-static -DTCF_STATIC_LLVM=ON -DTCF_TESTS=OFF \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo >build/bench.log
  ninja -C build-static tcc-fuse >>build/bench.log
  header "Process start and compilation" >$results/startup.md
  python3 bench/startup.py | tee -a $results/startup.md
}

# OpenBLAS does not know every AVX-512 CPU by name and then takes slower kernels.
if grep -q avx512f /proc/cpuinfo; then export OPENBLAS_CORETYPE=SkylakeX; fi
# Its threads would otherwise spin for 100 ms after a call, while others are measured.
export OPENBLAS_THREAD_TIMEOUT=22  # 2^22 cycles
export PYTHONWARNINGS=ignore
for t in "${tests[@]}"; do "bench_$t"; done
