# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# What random programs are compared with the interpreter: a name, and arguments of random-programs.
# Sourced by tests/run.sh and tests/fuzz/run.sh.
random_kinds=(cpu x86-64-v3 x86-64 threads deterministic interp-tile sm_90a sm_80 identities identities-sm_90a
              gradients gradients-sm_90a)

# random_arguments NAME
random_arguments() {
  case $1 in
    cpu) echo --target cpu ;;
    x86-64-v3 | x86-64) echo --target "cpu:$1" ;;
    threads) echo --target cpu --threads 4 ;;
    deterministic) echo --target cpu --threads 4 --deterministic ;;
    interp-tile) echo --target interp-tile ;;
    identities) echo --identities --target cpu ;;  # two forms of a function under contract
    identities-sm_90a) echo --identities --target interp-tile:sm_90a ;;
    gradients) echo --gradients --target cpu ;;  # derivatives of programs, and theirs
    gradients-sm_90a) echo --gradients --target interp-tile:sm_90a ;;
    sm_90a | sm_80) echo --target "interp-tile:$1" ;;
    *) return 1 ;;
  esac
}

# random_runs_here NAME: this machine has what the code needs.
random_runs_here() {
  [ "$1" != x86-64-v3 ] || grep -qw avx2 /proc/cpuinfo
}
