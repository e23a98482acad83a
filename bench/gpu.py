# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times kernels on an NVIDIA GPU beside PyTorch, eager and compiled; writes a table in Markdown.

usage: gpu.py [rows] [scalars] [elementwise] [scatters] [products] [small] [MxNxK...] [--no-compile] [--out FILE]

Each contender runs alone after the level-two cache was overwritten ("cold"), in random order, the
median of several turns; products also "sustained": a quarter of a second of warming, then as
long timed. Inputs are random normal. ratio = best peer's time / ours.
"""
import ctypes
import os
import random
import re
import statistics
import sys
import time

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.environ.get("TCF_LIBRARY") or os.path.join(HERE, "..", "build", "libtccfuse.so")
TYPES = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 3, torch.int32: 5, torch.bool: 9}


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("target", ctypes.c_char_p), ("threads", ctypes.c_int),
                ("flags", ctypes.c_uint), ("cache_dir", ctypes.c_char_p),
                ("cache_bytes", ctypes.c_uint64), ("diagnostic", ctypes.c_void_p),
                ("diagnostic_user", ctypes.c_void_p), ("parallel_for", ctypes.c_void_p),
                ("parallel_user", ctypes.c_void_p), ("schedule", ctypes.c_char_p)]


class Ours:
    def __init__(self, schedule=None, path=os.path.join(HERE, "gpu.tdsl"), flags=0):
        self.c = ctypes.CDLL(LIBRARY)
        self.c.tcf_session_message.restype = ctypes.c_char_p
        self.c.tcf_program_function.restype = ctypes.c_void_p
        self.session, self.program = ctypes.c_void_p(), ctypes.c_void_p()
        options = Options(size=ctypes.sizeof(Options), target=b"cuda", cache_dir=b"", flags=flags,
                          schedule=schedule.encode() if schedule else None)
        if self.c.tcf_session_new(ctypes.byref(options), ctypes.byref(self.session)):
            raise RuntimeError("no session")
        self.check(self.c.tcf_program_load_file(self.session, path.encode(), ctypes.byref(self.program)))

    def check(self, status):
        if status:
            raise RuntimeError(self.c.tcf_session_message(self.session).decode())

    def tensor(self, t):
        out, n = ctypes.c_void_p(), t.dim()
        dims = (ctypes.c_int64 * max(n, 1))(*t.shape)
        strides = (ctypes.c_int64 * max(n, 1))(*[s * t.element_size() for s in t.stride()])
        self.check(self.c.tcf_tensor_borrow_device(self.session, TYPES[t.dtype], n, dims, strides,
                                                   ctypes.c_void_p(t.data_ptr()), ctypes.byref(out)))
        return out.value

    def bind(self, name, inputs, outputs):
        f = ctypes.c_void_p(self.c.tcf_program_function(self.program, name.encode()))
        args = (ctypes.c_void_p * len(inputs))(*[self.tensor(t) for t in inputs])
        results = (ctypes.c_void_p * len(outputs))(*[self.tensor(t) for t in outputs])
        nargs, nresults = ctypes.c_size_t(len(inputs)), ctypes.c_size_t(len(outputs))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        call, check = self.c.tcf_call_on_stream, self.check

        def run(borrowed=inputs):  # whose memory must not be used for others meanwhile
            check(call(f, args, nargs, results, nresults, stream))
            return outputs
        return run


flush = None


def cold(run):
    global flush
    if flush is None:
        flush = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    flush.fill_(1)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def sustained(run):
    def loop(seconds):
        n, start, end = 0, torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin = time.perf_counter()
        start.record()
        while time.perf_counter() - begin < seconds:
            for _ in range(8):
                run()
            n += 8
            torch.cuda.current_stream().synchronize() if n % 32 == 0 else None
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / n
    loop(0.25)
    return loop(0.25)


def measure(runs, turns=9, idle=0.0):
    times = {name: [] for name in runs}
    for _ in range(turns):
        for name in random.sample(list(runs), len(runs)):
            if idle:
                torch.cuda.synchronize()
                time.sleep(idle)
            times[name].append(cold(runs[name]))
    return {name: statistics.median(t) for name, t in times.items()}


def error(got, want):
    got, want = got.double(), want.double()
    return ((got - want).norm() / want.norm()).item()


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=torch.float32).to(dtype)


class Bench:
    def __init__(self, compile_peers, out):
        self.ours = Ours(os.environ.get("TCF_SCHEDULE"))
        self.compile, self.out = compile_peers, out
        self.shapes = []  # of products; empty: the usual ones

    def say(self, text):
        print(text, flush=True)
        if self.out:
            self.out.write(text + "\n")

    def contenders(self, name, inputs, outputs, peer, args=None):
        runs = {}
        args = inputs if args is None else args
        want = peer(*args)
        want = want if isinstance(want, tuple) else (want,)
        for o in outputs:
            o.fill_(float("nan") if o.is_floating_point() else -1)
        try:
            run = self.ours.bind(name, inputs, outputs)
            run()
            torch.cuda.synchronize()
            runs["ours"] = run
            worst = max(error(o, w) for o, w in zip(outputs, want))
        except RuntimeError as e:
            worst = str(e).replace("\n", " ")[:120]
        runs["eager"] = lambda: peer(*args)
        if self.compile:
            torch._dynamo.reset()
            compiled = torch.compile(peer, dynamic=False)
            compiled(*args)
            runs["compile"] = lambda: compiled(*args)
        return runs, worst

    def table(self, title, unit):
        self.say(f"\n### {title}\n\n| case | ours | eager | torch.compile | ratio | {unit} | error |")
        self.say("|---|---|---|---|---|---|---|")

    def row(self, label, t, amount, scale, worst):
        peers = [v for k, v in t.items() if k != "ours"]
        ours = t.get("ours")
        text = lambda v: f"{v:.4f}" if v else "-"
        value = f"{amount / (ours * 1e-3) / scale:.2f}" if ours else "-"
        ratio = f"{min(peers) / ours:.2f}" if ours else "-"
        e = f"{worst:.1e}" if isinstance(worst, float) else worst
        self.say(f"| {label} | {text(ours)} | {text(t.get('eager'))} | {text(t.get('compile'))} | "
                 f"{ratio} | {value} | {e} |")

    def elementwise(self):
        F = torch.nn.functional
        self.table("Elementwise chains, cold, ms", "TB/s")
        n = 1 << 28
        x, y, o = (normal(n, dtype=torch.float32) for _ in range(3))
        t = measure({"eager": lambda: o.copy_(x)})
        self.say(f"| device copy, f32 2^28 | - | {t['eager']:.4f} | - | - | {8 * n / t['eager'] / 1e9:.2f} | |")
        runs, worst = self.contenders("cosines", [x], [o], lambda a: torch.cos(torch.cos(a)))
        self.row("cos(cos(x)) f32 2^28", measure(runs), 8 * n, 1e12, worst)
        runs, worst = self.contenders("gelu_chain", [x, y], [o],
                                      lambda a, b: F.gelu(1.5 * a + b, approximate="tanh") * b)
        self.row("gelu(1.5x+y)*y f32 2^28", measure(runs), 12 * n, 1e12, worst)
        del x, y, o
        x, y, o = (normal(n) for _ in range(3))
        t = measure({"eager": lambda: o.copy_(x)})
        self.say(f"| device copy, bf16 2^28 | - | {t['eager']:.4f} | - | - | {4 * n / t['eager'] / 1e9:.2f} | |")
        runs, worst = self.contenders("silu_mul", [x, y], [o], lambda a, b: F.silu(a) * b)
        self.row("silu(x)*y bf16 2^28", measure(runs), 6 * n, 1e12, worst)

    def rows(self):
        F = torch.nn.functional
        self.table("Rows, bf16, cold, ms", "TB/s")
        for n, t in [(16384, 4096), (65536, 1024), (4096, 16384), (8192, 50257)]:
            x, o = normal(n, t), torch.empty(n, t, device="cuda", dtype=torch.bfloat16)
            runs, worst = self.contenders("soft", [x], [o], lambda a: F.softmax(a, -1))
            self.row(f"softmax {n}x{t}", measure(runs), 4 * n * t, 1e12, worst)
            w, b = normal(t), normal(t)
            runs, worst = self.contenders("lnorm", [x, w, b], [o],
                                          lambda a, w, b: F.layer_norm(a, (a.shape[-1],), w, b))
            self.row(f"layernorm {n}x{t}", measure(runs), 4 * n * t, 1e12, worst)
            if (n, t) in ((16384, 4096), (8192, 50257)):
                y, o2 = normal(n, t), torch.empty_like(o)

                def add_norm(a, b, w):
                    s = a + b
                    return s, F.rms_norm(s, (s.shape[-1],), w, 1e-5)
                runs, worst = self.contenders("addnorm", [x, y, w], [o2, o], add_norm)
                self.row(f"add + rmsnorm {n}x{t}", measure(runs), 8 * n * t, 1e12, worst)
            del x, o
        n, t = 16384, 128256
        x, o = normal(n, t), torch.empty(n, device="cuda")
        c = torch.randint(0, t, (n,), device="cuda", dtype=torch.int32)
        runs, worst = self.contenders(
            "xent", [x, c], [o], lambda a, b: F.cross_entropy(a.float(), b, reduction="none"),
            args=[x, c.long()])
        self.row(f"cross-entropy {n}x{t}", measure(runs, 5), 2 * n * t, 1e12, worst)

    def scatters(self):
        self.table("Scatters, cold, ms", "TB/s")
        v, d = 32000, 512
        for n, spread in ((65536, "uniform"), (8192, "uniform"), (65536, "Zipf"), (65536, "one row")):
            u, o = normal(n, d, dtype=torch.float32), torch.empty(v, d, device="cuda")
            at = torch.randint(0, v, (n,), device="cuda", dtype=torch.int32)
            if spread == "Zipf":
                at = (v ** torch.rand(n, device="cuda", dtype=torch.float64)).int().clamp(1, v) - 1
            if spread == "one row":
                at.fill_(v // 2)
            runs, worst = self.contenders(
                "scatter_rows", [at, u], [o],
                lambda i, u: torch.zeros(v, d, device="cuda").index_add_(0, i, u), args=[at.long(), u])
            self.row(f"{n} rows into {v}x{d} f32, {spread}", measure(runs), 4 * d * (n + v), 1e12, worst)
        n = 1 << 20
        at, o = torch.randint(0, 256, (n,), device="cuda", dtype=torch.int32), torch.empty(256, device="cuda", dtype=torch.int32)
        runs, worst = self.contenders("scatter_counts", [at], [o],
                                      lambda i: torch.bincount(i, minlength=256).int())
        self.row("counts of 2^20 in 256", measure(runs), 4 * n, 1e12, worst)

    def scalars(self):
        self.table("Few long rows, f32, cold, ms", "TB/s")
        x, o = normal(1 << 26, dtype=torch.float32), torch.empty((), device="cuda")
        for name in ("total", "total_plain"):
            runs, worst = self.contenders(name, [x], [o], torch.sum)
            self.row(f"sum 2^26, {name}", measure(runs), 4 * x.numel(), 1e12, worst)
        for b in (1, 8):
            y, o = x[:b * (1 << 26 if b == 1 else 1 << 22)].view(b, -1), torch.empty(b, device="cuda")
            for name in ("lse", "lse_streamed", "lse_plain"):
                runs, worst = self.contenders(name, [y], [o], lambda a: torch.logsumexp(a, 1))
                self.row(f"logsumexp {b}x{y.shape[1]}, {name}", measure(runs), 4 * y.numel(), 1e12, worst)

    def products(self):
        F = torch.nn.functional
        self.table("Products, bf16, burst, ms (the peers' bias + gelu in a separate kernel unless compiled)",
                   "TFLOP/s")
        lasting = []
        shapes = self.shapes or [(8192, 8192, 8192), (4096, 4096, 4096), (16384, 14336, 4096), (512, 4096, 4096),
                  (16, 14336, 4096), (1000, 1288, 712), (1024, 1288, 704), (4095, 4097, 4099)]
        for m, n, k in shapes:
            a, b, o = normal(m, k), normal(k, n), torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
            runs, worst = self.contenders("mm", [a, b], [o], torch.matmul)
            self.row(f"{m}x{n}x{k}", measure(runs, 6, 0.03), 2 * m * n * k, 1e12, worst)
            lasting.append((f"{m}x{n}x{k}", 2 * m * n * k, {k: sustained(r) for k, r in runs.items()}))
            if min(m, n, k) >= 512 and m % 512 == 0:
                c = normal(n)
                runs, worst = self.contenders("mm_gelu", [a, b, c], [o], lambda a, b, c: F.gelu(
                    torch.matmul(a, b) + c, approximate="tanh"))
                runs["plain"] = lambda: torch.matmul(a, b)
                t = measure(runs, 6, 0.03)
                plain = t.pop("plain")
                self.row(f"{m}x{n}x{k} + bias + gelu", t, 2 * m * n * k, 1e12, worst)
                if "ours" in t:
                    self.say(f"| ... against the plain product of cuBLAS | | {plain:.4f} | | {plain / t['ours']:.2f} | | |")
        self.table("Products, bf16, sustained, ms", "TFLOP/s")
        for label, amount, t in lasting:
            self.row(label, t, amount, 1e12, 0.0)

    def small(self):
        x, w, o = normal(1024, dtype=torch.float32), normal(1024, dtype=torch.float32), torch.empty((), device="cuda")
        run = self.ours.bind("small", [x, w], [o])
        run()
        for name, f in (("ours, through Python's ctypes", run), ("eager", lambda: (x * w + 1).tanh().sum())):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(2000):
                f()
            host = time.perf_counter() - begin
            torch.cuda.synchronize()
            self.say(f"host time per call, 1024 elements, {name}: {host / 2000 * 1e6:.1f} us")


def main():
    args = sys.argv[1:]
    out = None
    if "--out" in args:
        at = args.index("--out")
        out = open(args[at + 1], "w")
        del args[at:at + 2]
    bench = Bench("--no-compile" not in args, out)
    bench.shapes = [tuple(map(int, a.split("x"))) for a in args if re.fullmatch(r"\d+x\d+x\d+", a)]
    args = [a for a in args if "x" not in a or not a[0].isdigit()] + (["products"] if bench.shapes else [])
    chosen = [a for a in args if not a.startswith("--")] or ["elementwise", "rows", "scalars", "scatters", "products", "small"]
    bench.say("# GPU kernels\n")
    bench.say(f"{time.strftime('%Y-%m-%d')}, {torch.cuda.get_device_name()}, torch {torch.__version__}, "
              f"CUDA {torch.version.cuda}. Written by `bench/gpu.py`.")
    for name in chosen:
        getattr(bench, name)()


if __name__ == "__main__":
    main()
