# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a call from Python takes beyond the C call: PYTHONPATH=python TCF_LIBRARY=build/libtccfuse.so
python3 bench/python_calls.py [numpy|torch]. The best of many turns, in microseconds."""
import importlib
import sys
import timeit

import tccfuse

PROGRAMS = (("x: f32[N]", "x + x", 1), ("x: f32[N], y: f32[N], z: f32[N]", "x * y + z", 3))


def best(call):
    return min(timeit.repeat(call, number=2000, repeat=25)) / 2000 * 1e6


def main():
    library = importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else "numpy")
    print(f"{'arguments':10} {'C call':>8} {'+ out':>8} {'+ made':>8}")
    for params, body, n in PROGRAMS:
        f = tccfuse.compile(f"fn f({params}) -> f32[N] {{\n  return {body}\n}}", threads=1)
        args = [library.ones(4, dtype=library.float32) for _ in range(n)]
        out = library.ones(4, dtype=library.float32)
        f(*args, out=out)
        frame = f._frames[0]  # the tensors of that call
        c = best(lambda: f._call(f._handle, frame.args, n, frame.results, 1))
        given, made = best(lambda: f(*args, out=out)), best(lambda: f(*args))
        print(f"{n:<10} {c:8.2f} {given - c:8.2f} {made - c:8.2f}")


if __name__ == "__main__":
    main()
