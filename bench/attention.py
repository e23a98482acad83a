# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Streams on the CPU: attention in f32 against torch's fused attention, sums over pairs of points
against loops in C (pairs.c).

usage: attention.py THREADS [PATTERN]     (run it under taskset with as many CPUs)
Prints two markdown tables. Contenders take turns call by call; the ratio is the median of the quotients
of neighbouring calls. With one thread its CPU time is taken, so that other programs matter little.
"""
import ctypes
import gc
import os
import statistics
import sys
import time

import numpy as np

import timing

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attention.tdsl")
PAIRS_PROGRAM = os.path.join(os.path.dirname(PROGRAM), "..", "examples", "streaming", "pairs.tdsl")
PAIRS = [(4096, 4096), (20000, 1000), (200, 100003)]
# batch, heads, queries and keys, head size
CASES = [("plain", 4, 12, 1024, 64), ("causal", 1, 12, 2048, 64), ("plain", 1, 12, 2048, 64),
         ("plain", 1, 8, 1024, 128), ("causal", 1, 8, 1024, 128), ("plain", 2, 12, 197, 64),
         ("plain", 1, 2, 4096, 64), ("causal", 1, 2, 4096, 64), ("window", 1, 2, 4096, 64)]


def contenders(function, batch, heads, length, size, threads):
    """{name: function without arguments}, and the largest difference between their results."""
    import torch
    import bound

    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((batch, heads, length, size), dtype=np.float32) for _ in range(3)]
    q, k, v = (torch.from_numpy(a) for a in arrays)
    ours = bound.compile(PROGRAM, function, arrays, threads).bind(
        arrays, [np.empty_like(arrays[0])])
    fused = torch.nn.functional.scaled_dot_product_attention
    mask = None
    if function == "window":
        at = torch.arange(length)
        mask = (at[None, :] <= at[:, None]) & (at[:, None] - at[None, :] < 256)

    def run_torch():
        with torch.no_grad():
            return fused(q, k, v, attn_mask=mask, is_causal=function == "causal")

    ours()
    error = float(np.abs(ours.outputs[0] - run_torch().numpy()).max())
    return {"tcc-fuse": ours, "torch": run_torch}, error


def products(function, length):
    """Pairs of a query and a key that are not masked."""
    if function == "causal":
        return length * (length + 1) // 2
    if function == "window":
        return sum(min(256, s + 1) for s in range(length))
    return length * length


def pair_contenders(rows, columns, threads):
    """Sums over pairs of points: ours, and loops in C (of one thread)."""
    import bound

    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape, dtype=np.float32)
              for shape in ((rows, 3), (columns, 3), (columns,))]
    ours = bound.compile(PAIRS_PROGRAM, "kernel_sum", arrays, threads).bind(
        arrays, [np.empty(rows, np.float32)])
    library = ctypes.CDLL(os.environ["TCF_BENCH_PAIRS"])
    out, scratch = np.empty(rows, np.float32), np.empty((columns, 3), np.float32)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, out)]
    sizes = [ctypes.c_long(rows), ctypes.c_long(columns)]

    def loops():
        library.pairs_loops(*pointers, *sizes)

    def with_columns():
        library.pairs_columns(*pointers, *sizes, ctypes.c_void_p(scratch.ctypes.data))

    loops.keep = arrays, out  # what the pointers point to
    ours()
    loops()
    error = float(np.abs(ours.outputs[0] - out).max() / np.abs(out).max())
    return {"tcc-fuse": ours, "loops": loops, "columns": with_columns}, error


def paired(found, seconds, clock):
    """Single calls in turns: medians and the best of each, and medians of the quotients by ours."""
    times = {name: [] for name in found}
    end = time.perf_counter() + seconds * len(found)
    for function in found.values():
        timing.warm_up(function, 0.1)
    while time.perf_counter() < end or min(map(len, times.values())) < 7:
        for name, function in found.items():
            timing.wait_until_quiet()
            begin = clock()
            function()
            times[name].append(clock() - begin)
    ours = times["tcc-fuse"]
    ratios = {n: statistics.median(a / b for a, b in zip(t, ours)) for n, t in times.items()}
    return {n: (statistics.median(t), min(t)) for n, t in times.items()}, ratios


def cells_of(times, ratios, peer):
    """The columns of ours and a peer, and how they compare."""
    cells = {n: f"{timing.show(m)} ({timing.show(b)})" for n, (m, b) in times.items()}
    best = times[peer][1] / times["tcc-fuse"][1]
    return cells, f"{ratios[peer]:.2f} ({best:.2f})"


def attention(threads, pattern, seconds, clock):
    print("| case | tcc-fuse | GFLOP/s | torch | ratio (best) | max diff |")
    print("|---|---|---|---|---|---|")
    for function, batch, heads, length, size in CASES:
        name = f"{function} {batch}x{heads}x{length}x{size}"
        if pattern not in name:
            continue
        found, error = contenders(function, batch, heads, length, size, threads)
        times, ratios = paired(found, seconds, clock)
        cells, ratio = cells_of(times, ratios, "torch")
        flops = 4 * batch * heads * size * products(function, length)
        print(f"| {name} | {cells['tcc-fuse']} | {flops / times['tcc-fuse'][0] / 1e9:.0f} | "
              f"{cells['torch']} | {ratio} | {error:.1e} |", flush=True)
        del found
        gc.collect()


def pairs(threads, pattern, seconds, clock):
    print("\n| case | tcc-fuse | ns per pair | loops in C | ratio (best) | y in columns | ratio (best) | "
          "largest error |")
    print("|---|---|---|---|---|---|---|---|")
    for rows, columns in PAIRS:
        name = f"pairs {rows}x{columns}x3"
        if pattern not in name:
            continue
        found, error = pair_contenders(rows, columns, threads)
        times, ratios = paired(found, seconds, clock)
        cells, loops = cells_of(times, ratios, "loops")
        _, by_columns = cells_of(times, ratios, "columns")
        each = times["tcc-fuse"][0] / rows / columns * 1e9
        print(f"| {name} | {cells['tcc-fuse']} | {each:.2f} | {cells['loops']} | {loops} | "
              f"{cells['columns']} | {by_columns} | {error:.1e} |", flush=True)


def main(threads, pattern=""):
    import torch
    torch.set_num_threads(threads)
    seconds = float(os.environ.get("TCF_BENCH_SECONDS", 2))
    print(f"\n### {threads} thread{'s' if threads > 1 else ''}\n")
    clock = time.thread_time if threads == 1 else time.perf_counter
    attention(threads, pattern, seconds, clock)
    if threads == 1:
        pairs(threads, pattern, seconds, clock)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
