# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the forms of *.tdsl, plain and under contract, beside those of forms.py by torch.compile and
XLA, where these are installed: one process, in turns. limits.sh calls it.

usage: compare.py DIR TARGET SECONDS < FORMS > TIMES
  DIR      has plain/FILE.tdsl and contract/FILE.tdsl
  FORMS    what forms.awk prints
  TIMES    lines of family, form, system, seconds (or "-"), kernels (or "-")
"""
import os
import random
import re
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for up in ("..", os.path.join("..", "..")):  # beside this folder in a bundle
    sys.path.append(os.path.join(HERE, up, "bench"))

import torch

from forms import FORMS

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "i32": torch.int32, "bool": torch.bool}


def complain(what, error):
    print(f"{what}: {type(error).__name__}: {str(error).splitlines()[:1]}", file=sys.stderr)


# ---- what PyTorch and JAX call differently

class Torch:
    inf = float("inf")
    exp, exp2, log, log2, tanh, erf, erfc = (torch.exp, torch.exp2, torch.log, torch.log2,
                                             torch.tanh, torch.erf, torch.erfc)
    sqrt, rsqrt, sigmoid, where, einsum = (torch.sqrt, torch.rsqrt, torch.sigmoid, torch.where,
                                           torch.einsum)
    silu, gelu = torch.nn.functional.silu, torch.nn.functional.gelu

    def __init__(self, device):
        self.device = device

    def softmax(self, a): return torch.softmax(a, -1)
    def log_softmax(self, a): return torch.log_softmax(a, -1)
    def logsumexp(self, a): return torch.logsumexp(a, -1, keepdim=True)
    def max(self, a): return a.amax(-1, keepdim=True)
    def min(self, a): return a.amin(-1, keepdim=True)
    def sum(self, a): return a.sum(-1, keepdim=True)
    def mean(self, a): return a.mean(-1, keepdim=True)
    def f32(self, a): return a.float()
    def like(self, a, b): return a.to(b.dtype)
    def arange(self, n): return torch.arange(n, device=self.device)
    def take(self, a, t): return a.gather(-1, t.long()[:, None])
    def layer_norm(self, a, g, b): return torch.nn.functional.layer_norm(a, g.shape, g, b, 1e-5)

    def cross_entropy(self, z, t):
        return torch.nn.functional.cross_entropy(z, t.long(), reduction="none")


def jax_names():
    import jax
    import jax.numpy as jnp

    class Jax:
        inf = float("inf")
        exp, exp2, log, log2, tanh = jnp.exp, jnp.exp2, jnp.log, jnp.log2, jnp.tanh
        erf, erfc, rsqrt = jax.scipy.special.erf, jax.scipy.special.erfc, jax.lax.rsqrt
        sqrt, where, einsum, arange = jnp.sqrt, jnp.where, jnp.einsum, jnp.arange
        sigmoid, silu = jax.nn.sigmoid, jax.nn.silu
        def gelu(self, a): return jax.nn.gelu(a, approximate=False)
        def softmax(self, a): return jax.nn.softmax(a, -1)
        def log_softmax(self, a): return jax.nn.log_softmax(a, -1)
        def logsumexp(self, a): return jax.scipy.special.logsumexp(a, -1, keepdims=True)
        def max(self, a): return a.max(-1, keepdims=True)
        def min(self, a): return a.min(-1, keepdims=True)
        def sum(self, a): return a.sum(-1, keepdims=True)
        def mean(self, a): return a.mean(-1, keepdims=True)
        def f32(self, a): return a.astype(jnp.float32)
        def like(self, a, b): return a.astype(b.dtype)
        def take(self, a, t): return jnp.take_along_axis(a, t[:, None], -1)

        def layer_norm(self, a, g, b):
            m = a.mean(-1, keepdims=True)
            return (a - m) * jax.lax.rsqrt(a.var(-1, keepdims=True) + 1e-5) * g + b

        def cross_entropy(self, z, t): return self.logsumexp(z) - self.take(z, t)
    for name, value in list(vars(Jax).items()):  # functions of modules are no methods
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") != __name__:
            setattr(Jax, name, staticmethod(value))
    return Jax()


for name, value in list(vars(Torch).items()):
    if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") != __name__:
        setattr(Torch, name, staticmethod(value))


# ---- contenders

def torch_form(name, form, inputs, device):
    """(call, kernels): a compiled function and how many kernels its code starts."""
    from torch._inductor.utils import run_and_get_code
    x = Torch(device)
    def call(*a): return form(x, *a)
    call.__code__ = call.__code__.replace(co_name=name)  # each has compiled code of its own
    compiled = torch.compile(call, dynamic=False, fullgraph=True)
    out, codes = run_and_get_code(compiled, *inputs)
    started = r"^ +(?:\w+ = )?(?:cpp_fused\w*|triton_\w+\.run|extern_kernels\.\w+|(?:torch\.ops\.)?aten\.\w+[\w.]*)\("
    kernels = sum(len(re.findall(started, code, re.M)) for code in codes)
    return (lambda: compiled(*inputs)), kernels, out


def xla_form(form, inputs, names):
    import jax
    arrays = [jax.device_put(jax.dlpack.from_dlpack(t) if t.dtype != torch.bool else t.cpu().numpy())
              for t in inputs]
    compiled = jax.jit(lambda *a: form(names, *a)).lower(*arrays).compile()
    entry = compiled.as_text().split("\nENTRY ")[-1].split("\n}")[0]
    quiet = r"\b(parameter|constant|bitcast|get-tuple-element|tuple|copy-start|copy-done)\("
    kernels = sum(" = " in line and not re.search(quiet, line) for line in entry.splitlines()[1:])
    return (lambda: jax.block_until_ready(compiled(*arrays))), kernels


class Ours:
    """libtccfuse on the CPU or a GPU, one program a file."""

    def __init__(self, folder, gpu):
        self.folder, self.gpu, self.programs = folder, gpu, {}

    def form(self, system, file, form, inputs, outputs):
        path = os.path.join(self.folder, system, file + ".tdsl")
        if self.gpu:
            import gpu
            program = self.programs.setdefault(path, None) or gpu.Ours(path=path)
            self.programs[path] = program
            return program.bind(form, inputs, outputs)
        import bound
        if not bound.available():
            raise RuntimeError("no libtccfuse.so")
        arrays = [t.numpy() for t in inputs]
        return bound.compile(path, form, arrays, 1).bind(arrays, [t.numpy() for t in outputs])


# ---- time

def in_turns(calls, seconds, gpu):
    """{name: seconds of a call}, in turns of random order, at least 9: their median on GPUs; on CPUs,
    which others may use as well, the lower quartile of the processor's time."""
    times = {name: [] for name in calls}
    begin, share = time.perf_counter(), seconds * len(calls)
    while True:
        for name in random.sample(list(calls), len(calls)):
            times[name].append(cold(calls[name]) if gpu else warm(calls[name]))
        if len(next(iter(times.values()))) >= 9 and time.perf_counter() > begin + share:
            break
    return {name: statistics.median(t) if gpu else sorted(t)[len(t) // 4] for name, t in times.items()}


def warm(call):
    call()
    begin = time.process_time()
    call()
    return time.process_time() - begin


def cold(call):
    import gpu
    return gpu.cold(call) * 1e-3


def tensors(text, device):
    """Random normal numbers, small slopes, places below 1000, causal masks."""
    out = []
    for item in text.split():
        name, rest = item.split("=")
        kind, _, dims = rest.partition(":")
        shape = [int(d) for d in dims.split(",") if d]
        if kind == "i32":
            t = torch.randint(0, 1000, shape, dtype=torch.int32, device=device)
        elif kind == "bool":
            t = torch.ones(shape, dtype=torch.bool, device=device).triu(1)
        elif name == "mask":
            t = torch.full(shape, float("-inf"), device=device).triu(1)
        elif name == "slope":
            t = torch.rand(shape, device=device) / 16
        else:
            t = torch.randn(shape, device=device)
            if name in ("w", "u", "g", "gain"):  # weights: of products that stay near one
                t = t * (shape[0] ** -0.5 if len(shape) > 1 else 1)
            t = t.to(TYPES[kind])
        out.append(t)
    return out


def family(lines, ours, device, names, seconds):
    calls, kernels = {}, {}
    for file, of, form, inputs, results, _ in lines:
        arguments = tensors(inputs, device)
        outputs = [torch.empty([int(d) for d in r.split(":")[1].split(",") if d],
                               dtype=TYPES[r.split(":")[0]], device=device) for r in results.split()]
        body = FORMS[of].get(form)
        for system in random.sample(("plain", "contract"), 2):
            try:
                call = ours.form(system, file, form, arguments, outputs)
                call()
                calls[form, system], kernels[form, system] = call, "-"
            except Exception as e:
                complain(f"{form} {system}", e)
        wanted = None
        try:
            call, count, wanted = torch_form(of + "_" + form, body, arguments, device)
            calls[form, "torch.compile"], kernels[form, "torch.compile"] = call, count
        except Exception as e:
            complain(f"{form} torch.compile", e)
        try:
            if names:
                call, count = xla_form(body, arguments, names)
                calls[form, "XLA"], kernels[form, "XLA"] = call, count
        except Exception as e:
            complain(f"{form} XLA", e)
        compare(form, outputs, wanted, arguments)
    for key, t in in_turns(calls, seconds, device == "cuda").items():
        print(lines[0][1], *key, f"{t:.9f}", kernels[key], sep="\t", flush=True)


def compare(form, outputs, wanted, arguments):
    """The two texts of a form are the same function: results are those of PyTorch."""
    if wanted is None:
        return
    for ours, theirs in zip(outputs, wanted if isinstance(wanted, tuple) else (wanted,)):
        theirs = theirs.reshape(ours.shape).double()
        off = ((ours.double() - theirs).norm() / theirs.norm()).item()
        low = any(t.dtype == torch.bfloat16 for t in arguments)
        if not off < (3e-2 if low else 1e-4):
            print(f"{form}: differs from PyTorch by {off:.2g}", file=sys.stderr)


def main(folder, target, seconds):
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    device = "cuda" if target.startswith("cuda") else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    names = None
    if device == "cpu":
        try:
            names = jax_names()
        except ImportError:
            print("JAX is not installed", file=sys.stderr)
    lines = [line.rstrip("\n").split("\t") for line in sys.stdin]
    ours = Ours(folder, device == "cuda")
    for of in dict.fromkeys(line[1] for line in lines):
        family([line for line in lines if line[1] == of], ours, device, names, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
