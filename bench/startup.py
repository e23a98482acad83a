"""How long whole processes take: `tcc-fuse run` of a small program, and compiling MiniLM; with an
empty cache, and with the object in the cache; for the shared and (if built) the static binary.

usage: startup.py        (build/tcc-fuse, and build-static/tcc-fuse if it is there)
"""
import os
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


def main():
    folder = tempfile.mkdtemp()
    environment = dict(os.environ, XDG_CACHE_HOME=folder)
    environment.pop("MALLOC_MMAP_MAX_", None)

    def empty():
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)

    print("\n| whole process, ms: median (best) | /bin/true | list ops | run, cold cache | run, from the cache |")
    print("|---|---|---|---|---|")
    run = ["run", SMALL, "-e", "layernorm_last", "--in", "x=random", "--in", "gain=random",
           "--in", "bias=random", "--dim", "N=16", "--dim", "D=64"]
    for name, tool in (("shared LLVM", "build/tcc-fuse"), ("static", "build-static/tcc-fuse")):
        tool = os.path.join(ROOT, tool)
        if not os.path.exists(tool):
            continue
        cells = [measure(["/bin/true"], environment), measure([tool, "list", "ops"], environment),
                 measure([tool, *run], environment, empty),
                 measure([tool, *run], environment)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
