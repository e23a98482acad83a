# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How long whole processes take: `tcc-fuse run` of a small program, and compiling MiniLM; with an
empty cache, and with the object in the cache; for the shared and (if built) the static binary.

usage: startup.py [--cuda]     (build/tcc-fuse, build-static/tcc-fuse or tools/tcc-fuse, those there are)

With --cuda: the first call on an NVIDIA GPU in a fresh process, and how much of it is the driver's.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SMALL = os.path.join(ROOT, "bench", "cases.tdsl")


def measure(command, environment, before=lambda: None, turns=15):
    times = []
    for _ in range(turns):
        before()
        begin = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - begin) * 1e3)
    return f"{statistics.median(times):.1f} ({min(times):.1f})"


SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1}
SPLIT = re.compile(r"ready in ([\d.]+) (\w+) \(the driver's start ([\d.]+) (\w+), its kernels ([\d.]+) (\w+), "
                   r"ours ([\d.]+) (\w+)\)")


def cuda(tools, run, turns=9):
    """Milliseconds, medians: `ready in` of --bench and its parts, and the start of a process."""
    print("| first call, ms | process start | ready | driver's start | its kernels | ours | ours and process start |")
    print("|---|---|---|---|---|---|---|")
    environment = dict(os.environ, CUDA_CACHE_DISABLE="1", TCF_CACHE_DIR="")
    for name, tool in tools:
        starts, rows = [], []
        for _ in range(turns):
            begin = time.perf_counter()
            subprocess.run([tool, "list", "ops"], check=True, stdout=subprocess.DEVNULL)
            starts.append((time.perf_counter() - begin) * 1e3)
            said = subprocess.run([tool, *run, "--target", "cuda", "--bench"], env=environment, check=True,
                                  capture_output=True, text=True).stdout
            parts = SPLIT.search(said).groups()
            rows.append([float(v) * SECONDS[unit] * 1e3 for v, unit in zip(parts[::2], parts[1::2])])
        medians = [statistics.median(starts)] + [statistics.median(column) for column in zip(*rows)]
        medians.append(medians[0] + medians[4])
        print(f"| {name} | " + " | ".join(f"{v:.1f}" for v in medians) + " |", flush=True)


def main():
    folder = tempfile.mkdtemp()
    environment = dict(os.environ, XDG_CACHE_HOME=folder)
    environment.pop("MALLOC_MMAP_MAX_", None)

    def empty():
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)

    run = ["run", SMALL, "-e", "layernorm_last", "--in", "x=random", "--in", "gain=random",
           "--in", "bias=random", "--dim", "N=16", "--dim", "D=64"]
    tools = [(name, os.path.join(ROOT, tool)) for name, tool in
             (("shared LLVM", "build/tcc-fuse"), ("static", "build-static/tcc-fuse"), ("bundle", "tools/tcc-fuse"))]
    tools = [(name, tool) for name, tool in tools if os.path.exists(tool)]
    if "--cuda" in sys.argv:
        return cuda(tools, run)
    print("\n| whole process, ms: median (best) | /bin/true | list ops | run, cold cache | run, from the cache |")
    print("|---|---|---|---|---|")
    for name, tool in tools:
        cells = [measure(["/bin/true"], environment), measure([tool, "list", "ops"], environment),
                 measure([tool, *run], environment, empty),
                 measure([tool, *run], environment)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
