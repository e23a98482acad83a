# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes cases/GROUP.tdsl and cases/GROUP.npz: programs with inputs and the results NumPy gives.

Only needed to add cases; the tests read the committed files and need no Python:

    python tests/numpy/make_cases.py         (NumPy 2, SciPy not needed)

Keys of an archive: "FUNCTION#K.PARAM" for inputs, "FUNCTION#K.out" or ".out0", ".out1" ... for the
results, and "FUNCTION#K.tolerance", [absolute, relative]. References are computed in float64 and
rounded once to the type of the result.
"""
import math
import os

import numpy as np

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
SIZES = [0, 1, 5, 16, 17, 33, 130]
NAMES = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "i64": np.int64,
         "i32": np.int32, "i16": np.int16, "i8": np.int8, "u8": np.uint8, "bool": np.bool_}
random = np.random.default_rng(2024)


def bf16(x):
    """Rounds float32 to bfloat16, nearest even, as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def normal(*shape, dtype="f32"):
    """With the precision of f16 even where the type is wider: the archives get smaller."""
    return random.standard_normal(shape).astype(np.float16).astype(NAMES[dtype])


def integers(*shape, dtype="i32", low=-50, high=50):
    if dtype == "u8":
        low = 0
    return random.integers(low, high, shape).astype(NAMES[dtype])


def data(dtype, *shape):
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return normal(*shape, dtype=dtype) if dtype[0] == "f" else integers(*shape, dtype=dtype)


class Group:
    def __init__(self, name):
        self.name, self.text, self.arrays, self.counts = name, [], {}, {}

    def add(self, signature, body, reference, runs, tolerance=(1e-6, 1e-5)):
        """runs: list of dictionaries of inputs. reference(**inputs as given) -> array or tuple."""
        function = signature.split("(")[0]
        self.text.append(f"fn {signature} {{\n" + "".join(f"  {line}\n" for line in
                                                           body.strip().split("\n")) + "}\n")
        results = signature.split("->")[1].strip()
        types = [part.split("[")[0].strip(" ()") for part in
                 results.replace(", ", ",").split("],")] if results[0] == "(" else \
                [results.split("[")[0]]
        for k, inputs in enumerate(runs):
            with np.errstate(all="ignore"):
                out = reference(**inputs)
            outs = out if isinstance(out, tuple) else (out,)
            for name, array in inputs.items():
                self.arrays[f"{function}#{k}.{name}"] = np.asarray(array)
            for i, (array, t) in enumerate(zip(outs, types, strict=True)):
                key = f"{function}#{k}.out" + (str(i) if len(outs) > 1 else "")
                with np.errstate(all="ignore"):
                    self.arrays[key] = np.asarray(array).astype(NAMES[t])
            self.arrays[f"{function}#{k}.tolerance"] = np.array(tolerance, np.float64)

    def write(self):
        with open(os.path.join(FOLDER, self.name + ".tdsl"), "w") as out:
            out.write(f"// Written by make_cases.py; the inputs and results are in {self.name}.npz.\n\n")
            out.write("\n".join(self.text))
        np.savez_compressed(os.path.join(FOLDER, self.name + ".npz"), **self.arrays)


def wide(x):
    return np.asarray(x, np.float64)


ERF = np.vectorize(math.erf, otypes=[np.float64])


def elementwise():
    g = Group("elementwise")
    functions = {
        "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "sin": np.sin, "cos": np.cos,
        "tan": np.tan, "atan": np.arctan, "tanh": np.tanh, "erf": ERF, "floor": np.floor,
        "ceil": np.ceil, "round": np.rint, "trunc": np.trunc, "abs": np.abs, "sign": np.sign,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0),
        "silu": lambda x: x / (1 + np.exp(-x)), "gelu": lambda x: x * (1 + ERF(x / 2**0.5)) / 2,
        "gelu_tanh": lambda x: x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    }
    positive = {"log": np.log, "log2": np.log2, "log1p": np.log1p, "sqrt": np.sqrt,
                "rsqrt": lambda x: 1 / np.sqrt(x)}
    for t in ("f32", "f64"):
        tolerance = (1e-6, 2e-6) if t == "f32" else (1e-14, 1e-14)
        for name, f in {**functions, **positive}.items():
            scale = 1 if name in ("tan",) else 3
            make = (lambda *s: np.abs(normal(*s, dtype=t)) + NAMES[t](1e-3)) \
                if name in positive else (lambda *s: normal(*s, dtype=t) * NAMES[t](scale))
            g.add(f"{name}_{t}(x: {t}[N]) -> {t}[N]", f"return {name}(x)",
                  lambda x, f=f: f(wide(x)), [{"x": make(n)} for n in (SIZES if t == "f32" else (1, 9, 33))],
                  tolerance)
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 88.8, -88.8, 104, -104,
                        3e38, -3e38, 1e-30, 1e30, 0.5, -0.5], np.float32)
    for name in ("exp", "expm1", "tanh", "erf", "sigmoid", "relu", "floor", "ceil", "round",
                 "abs", "sign", "log", "log1p", "sqrt", "atan", "is_nan", "is_inf"):
        f = {**functions, **positive, "is_nan": np.isnan, "is_inf": np.isinf}[name]
        t = "bool" if name.startswith("is_") else "f32"
        g.add(f"{name}_special(x: f32[N]) -> {t}[N]", f"return {name}(x)",
              lambda x, f=f: f(wide(x)), [{"x": special}], (1e-37, 1e-5))
    pairs = {"add": ("a + b", np.add), "sub": ("a - b", np.subtract), "mul": ("a * b", np.multiply),
             "min": ("min(a, b)", np.minimum), "max": ("max(a, b)", np.maximum)}
    for t in ("f64", "f32", "i64", "i32", "i16", "i8", "u8"):
        for name, (text, f) in pairs.items():
            g.add(f"{name}_{t}(a: {t}[N, D], b: {t}[N, D]) -> {t}[N, D]", f"return {text}",
                  lambda a, b, f=f: f(a, b),
                  [{"a": data(t, *s), "b": data(t, *s)} for s in ((3, 7), (0, 4), (1, 1), (5, 33))],
                  (1e-7, 1e-6))
    for t in ("i64", "i32", "i16", "i8", "u8"):
        runs = []
        for n in (1, 33, 70):
            b = data(t, n)
            b[b == 0] = 3
            runs.append({"a": data(t, n), "b": b})
        g.add(f"div_{t}(a: {t}[N], b: {t}[N]) -> {t}[N]", "return a / b",
              lambda a, b: np.trunc(a.astype(np.float64) / b), runs)
        g.add(f"rem_{t}(a: {t}[N], b: {t}[N]) -> {t}[N]", "return a % b",
              lambda a, b: np.fmod(a, b), runs)
        low, high = np.iinfo(NAMES[t]).min, np.iinfo(NAMES[t]).max
        edge = np.array([low, low + 1, high, high - 1, 0, 1, 2, 100], NAMES[t])
        g.add(f"wrap_{t}(a: {t}[N], b: {t}[N]) -> ({t}[N], {t}[N], {t}[N])",
              "return (a + b, a - b, a * b)", lambda a, b: (a + b, a - b, a * b),
              [{"a": edge, "b": edge[::-1].copy()}])
        g.add(f"compare_{t}(a: {t}[N], b: {t}[N]) -> (bool[N], bool[N], bool[N], bool[N])",
              "return (a < b, a <= b, a == b, a != b)",
              lambda a, b: (a < b, a <= b, a == b, a != b),
              [{"a": np.concatenate([edge, edge]), "b": np.concatenate([edge[::-1], edge])}])
    g.add("compare_f32(a: f32[N], b: f32[N]) -> (bool[N], bool[N], bool[N], bool[N])",
          "return (a < b, a >= b, a == b, a != b)",
          lambda a, b: (a < b, a >= b, a == b, a != b),
          [{"a": special, "b": special[::-1].copy()}, {"a": special, "b": special}])
    g.add("pow_f32(a: f32[N], b: f32[N]) -> f32[N]", "return pow(a, b)",
          lambda a, b: wide(a) ** wide(b),
          [{"a": np.abs(normal(n)) + np.float32(0.01), "b": normal(n) * 3} for n in SIZES],
          (1e-6, 1e-5))
    g.add("powers(x: f32[N]) -> (f32[N], f32[N], f32[N])", "return (x ** 2, x ** 3, x ** -1)",
          lambda x: (wide(x) ** 2, wide(x) ** 3, 1 / wide(x)), [{"x": normal(n)} for n in SIZES])
    g.add("float_rem(a: f32[N], b: f32[N]) -> f32[N]", "return a % b",
          lambda a, b: np.fmod(wide(a), wide(b)), [{"a": normal(33) * 5, "b": normal(33)}],
          (1e-5, 1e-5))
    g.add("clamp_f32(x: f32[N]) -> f32[N]", "return clamp(x, -0.5, 1.0)",
          lambda x: np.clip(x, -0.5, 1.0), [{"x": normal(n)} for n in SIZES])
    g.add("choose(c: bool[N], a: f32[N, D], b: f32[D]) -> f32[N, D]", "return where(c, a, b)",
          lambda c, a, b: np.where(c[:, None], a, b),
          [{"c": data("bool", n), "a": normal(n, d), "b": normal(d)}
           for n, d in ((1, 1), (3, 17), (20, 5), (0, 3))])
    g.add("logic(a: bool[N], b: bool[N]) -> (bool[N], bool[N], bool[N])",
          "return (a && b, a || b, !a)", lambda a, b: (a & b, a | b, ~a),
          [{"a": data("bool", 70), "b": data("bool", 70)}])
    g.add("outer(x: f32[N], y: f32[D], z: f32) -> f32[N, D]", "return x * y + z",
          lambda x, y, z: wide(x)[:, None] * wide(y) + wide(z),
          [{"x": normal(n), "y": normal(d), "z": normal()} for n, d in
           ((1, 1), (7, 33), (33, 7), (0, 5), (5, 0), (64, 64))])
    g.add("transposed(x: f32[N, D], y: f32[D, N]) -> f32[D, N]",
          "let z: f32[D, N] = x * 2 + y\nreturn z", lambda x, y: wide(x).T * 2 + y,
          [{"x": normal(n, d), "y": normal(d, n)} for n, d in
           ((1, 1), (7, 33), (33, 7), (16, 16), (100, 37), (0, 3))])
    g.write()


def casts():
    g = Group("casts")
    for source in NAMES:
        for target in NAMES:
            if source == target:
                continue
            # In range for every target: what happens beyond is the interpreter's business.
            low = 0 if "u8" in (source, target) else -100
            x = random.integers(low, 100, 67)
            x = x / 4 if source[0] == "f" else x
            x = np.asarray(x).astype(NAMES[source])
            g.add(f"{source}_to_{target}(x: {source}[N]) -> {target}[N]", f"return {target}(x)",
                  lambda x, target=target: np.trunc(x.astype(np.float64))
                  if target[0] in "iu" else x, [{"x": x}], (0, 1e-3 if target == "f16" else 0))
    x = np.concatenate([normal(50), [0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3.39e38, 65504,
                                     1.00390625, 1.01171875]]).astype(np.float32)
    g.add("through_bf16(x: f32[N]) -> f32[N]", "return f32(bf16(x))", bf16,
          [{"x": x[np.isfinite(x)]}], (1e-37, 0))
    g.add("through_f16(x: f32[N]) -> f32[N]", "return f32(f16(x))",
          lambda x: x.astype(np.float16).astype(np.float32), [{"x": x}], (1e-7, 0))
    edge = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 2147483520, 1.9, -1.9], np.float32)
    g.add("saturating(x: f32[N]) -> i32[N]", "return i32(x)",
          lambda x: np.array([0, 2**31 - 1, -2**31, 2**31 - 1, -2**31, 2147483520, 1, -1]),
          [{"x": edge}])
    g.write()


def reductions():
    g = Group("reductions")
    shapes = [(1, 1), (3, 17), (17, 3), (16, 64), (5, 130), (130, 5), (2, 600), (0, 4)]
    for axis, result, number in (("D", "N", 1), ("N", "D", 0)):
        for name, f in {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min,
                        "prod": np.prod}.items():
            usable = [s for s in shapes if s[number] > 0 or name in ("sum", "prod")]
            g.add(f"{name}_{axis}(x: f32[N, D]) -> f32[{result}]", f"return {name}(x, {axis})",
                  lambda x, f=f, number=number: f(wide(x), axis=number),
                  [{"x": normal(*s) * np.float32(0.5 if name != "prod" else 1)} for s in usable],
                  (1e-4, 1e-5))
        for name, f in {"argmax": np.argmax, "argmin": np.argmin}.items():
            g.add(f"{name}_{axis}(x: i32[N, D]) -> i32[{result}]", f"return {name}(x, {axis})",
                  lambda x, f=f, number=number: f(x, axis=number),
                  [{"x": integers(*s, low=-5, high=5)} for s in shapes if s[number] > 0])
        for name, f in {"any": np.any, "all": np.all}.items():
            g.add(f"{name}_{axis}(x: f32[N, D]) -> bool[{result}]",
                  f"return {name}(x > {'1.8' if name == 'any' else '-1.8'}, {axis})",
                  lambda x, f=f, name=name, number=number:
                  f(x > (1.8 if name == "any" else -1.8), axis=number),
                  [{"x": normal(*s)} for s in shapes])

        def lse(x, number=number):
            m = wide(x).max(number, keepdims=True)
            return np.squeeze(m, number) + np.log(np.exp(x - m).sum(number))

        def softmax(x, number=number):
            e = np.exp(x - wide(x).max(number, keepdims=True))
            return e / e.sum(number, keepdims=True)
        usable = [s for s in shapes if s[number] > 0]
        g.add(f"logsumexp_{axis}(x: f32[N, D]) -> f32[{result}]", f"return logsumexp(x, {axis})",
              lse, [{"x": normal(*s) * 5} for s in usable])
        g.add(f"softmax_{axis}(x: f32[N, D]) -> f32[N, D]", f"return softmax(x, {axis})", softmax,
              [{"x": normal(*s) * 5} for s in usable])
        g.add(f"cumsum_{axis}(x: f32[N, D]) -> f32[N, D]", f"return cumsum(x, {axis})",
              lambda x, number=number: np.cumsum(wide(x), axis=number),
              [{"x": normal(*s)} for s in shapes], (1e-4, 1e-5))
    for t in ("i64", "i32", "i16", "i8", "u8"):
        g.add(f"extremes_{t}(x: {t}[N, D]) -> ({t}[N], {t}[N])", "return (max(x, D), min(x, D))",
              lambda x: (x.max(1), x.min(1)), [{"x": data(t, 5, 70)}, {"x": data(t, 3, 1)}])
    g.add("sum_i64(x: i64[N, D]) -> i64[N]", "return sum(x, D)", lambda x: x.sum(1),
          [{"x": data("i64", 5, 70)}, {"x": data("i64", 4, 0)}])
    g.add("sum_both(x: f32[A, B, C]) -> f32[B]", "return sum(x, A, C)",
          lambda x: wide(x).sum((0, 2)), [{"x": normal(3, 4, 5)}, {"x": normal(17, 1, 33)}],
          (1e-4, 1e-5))
    g.add("sum_all(x: f32[A, B]) -> f32", "return sum(x, A, B)", lambda x: wide(x).sum(),
          [{"x": normal(30, 40)}, {"x": normal(1, 5000)}, {"x": normal(0, 3)}], (1e-3, 1e-5))
    g.add("middle(x: f32[A, B, C]) -> (f32[A, C], f32[A, C])", "return (sum(x, B), max(x, B))",
          lambda x: (wide(x).sum(1), x.max(1)), [{"x": normal(3, 33, 17)}, {"x": normal(2, 7, 64)}],
          (1e-4, 1e-5))

    def norm(x, axis, eps=1e-5):
        x = wide(x)
        mean = x.mean(axis, keepdims=True)
        return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis, keepdims=True) + eps)
    for axis, number in (("D", 1), ("N", 0)):
        g.add(f"norm_{axis}(x: f32[N, D], w: f32[{axis}]) -> f32[N, D]",
              f"let m = mean(x, {axis})\nlet v = mean((x - m) ** 2, {axis})\n"
              "return (x - m) * rsqrt(v + 1e-5) * w",
              lambda x, w, number=number: norm(x, number) * (w if number else w[:, None]),
              [{"x": normal(*s), "w": normal(s[number])} for s in
               ((3, 17), (17, 3), (64, 64), (5, 130), (130, 33))])
    g.add("entropy(z: f32[N, V], t: i32[N]) -> f32[N]",
          "return logsumexp(z, V) - sum(where(index(V) == t, z, 0), V)",
          lambda z, t: np.log(np.exp(wide(z)).sum(1)) - wide(z)[np.arange(len(t)), t],
          [{"z": normal(n, v), "t": integers(n, low=0, high=v)} for n, v in
           ((1, 2), (5, 33), (17, 1000))])
    g.write()


def products():
    g = Group("products")
    sizes = [(1, 1, 1), (3, 5, 7), (16, 16, 16), (17, 33, 65), (6, 64, 128), (50, 3, 20),
             (1, 70, 37), (37, 1, 70), (0, 4, 4), (4, 0, 4), (4, 4, 0), (66, 50, 33),
             (13, 97, 130)]

    def runs(t, left="mk", right="kn"):
        result = []
        for m, n, k in sizes:
            d = {"m": m, "n": n, "k": k}
            result.append({"a": data(t, *[d[c] for c in left]), "b": data(t, *[d[c] for c in right])})
        return result
    f = lambda text: lambda a, b: np.einsum(text, wide(a), wide(b))
    for t in ("f32", "f64", "f16"):
        out = "f64" if t == "f64" else "f32"
        g.add(f"product_{t}(a: {t}[M, K], b: {t}[K, N]) -> {out}[M, N]", "return dot(a, b, K)",
              f("mk,kn->mn"), runs(t), (1e-4, 1e-5) if t != "f64" else (1e-12, 1e-12))
    g.add("product_bf16(a: f32[M, K], b: f32[K, N]) -> f32[M, N]",
          "return dot(bf16(a), bf16(b), K)",
          lambda a, b: np.einsum("mk,kn->mn", wide(bf16(a)), wide(bf16(b))), runs("f32"),
          (1e-4, 1e-5))
    for t in ("i32", "i8", "u8", "i64"):
        out = "i64" if t == "i64" else "i32"
        g.add(f"product_{t}(a: {t}[M, K], b: {t}[K, N]) -> {out}[M, N]", "return dot(a, b, K)",
              lambda a, b: a.astype(np.int64) @ b.astype(np.int64), runs(t)[:6])
    g.add("b_transposed(a: f32[M, K], b: f32[N, K]) -> f32[M, N]", "return dot(a, b, K)",
          f("mk,nk->mn"), runs("f32", "mk", "nk"), (1e-4, 1e-5))
    g.add("a_transposed(a: f32[K, M], b: f32[K, N]) -> f32[M, N]", "return dot(a, b, K)",
          f("km,kn->mn"), runs("f32", "km", "kn"), (1e-4, 1e-5))
    g.add("as_sum(a: f32[M, K], b: f32[K, N]) -> f32[M, N]", "return sum(a * b, K)",
          f("mk,kn->mn"), runs("f32"), (1e-4, 1e-5))
    g.add("epilogue(a: f32[M, K], b: f32[K, N], c: f32[N]) -> f32[M, N]",
          "return relu(dot(a, b, K) + c) * 0.5",
          lambda a, b, c: np.maximum(wide(a) @ wide(b) + c, 0) / 2,
          [{**r, "c": normal(r["b"].shape[1])} for r in runs("f32")], (1e-4, 1e-5))
    g.add("prologue(a: f32[M, K], b: f32[K, N], c: f32[K]) -> f32[M, N]",
          "return dot(a * c, b, K)", lambda a, b, c: (wide(a) * c) @ wide(b),
          [{**r, "c": normal(r["b"].shape[0])} for r in runs("f32")], (1e-4, 1e-5))
    batch = [{"a": normal(b, m, k), "b": normal(b, k, n)} for b, m, n, k in
             ((1, 1, 1, 1), (3, 5, 7, 9), (2, 33, 17, 40), (5, 16, 64, 32))]
    g.add("batched(a: f32[B, M, K], b: f32[B, K, N]) -> f32[B, M, N]", "return dot(a, b, K)",
          f("bmk,bkn->bmn"), batch, (1e-4, 1e-5))
    g.add("two_axes(a: f32[M, K, L], b: f32[L, K, N]) -> f32[M, N]", "return dot(a, b, K, L)",
          f("mkl,lkn->mn"), [{"a": normal(5, 6, 7), "b": normal(7, 6, 9)},
                             {"a": normal(16, 3, 20), "b": normal(20, 3, 33)}], (1e-4, 1e-5))
    g.add("vector(a: f32[M, K], b: f32[K]) -> f32[M]", "return dot(a, b, K)", f("mk,k->m"),
          [{"a": normal(m, k), "b": normal(k)} for m, k in ((1, 1), (7, 33), (20, 300), (3, 0))],
          (1e-4, 1e-5))
    g.add("inner(a: f32[K], b: f32[K]) -> f32", "return dot(a, b, K)", f("k,k->"),
          [{"a": normal(k), "b": normal(k)} for k in (0, 1, 17, 3000)], (1e-3, 1e-5))

    def attention(q, k, v):
        s = np.einsum("hsd,htd->hst", wide(q), wide(k)) / q.shape[2] ** 0.5
        p = np.exp(s - s.max(-1, keepdims=True))
        return np.einsum("hst,hte->hse", p / p.sum(-1, keepdims=True), wide(v))
    g.add("attention(q: f32[H, S, D], k: f32[H, T, D], v: f32[H, T, E]) -> f32[H, S, E]",
          "let p = softmax(dot(q, k, D) * rsqrt(D), T)\nreturn dot(p, v, T)", attention,
          [{"q": normal(h, s, d), "k": normal(h, t, d), "v": normal(h, t, e)} for h, s, t, d, e in
           ((1, 1, 1, 1, 1), (2, 5, 7, 16, 9), (3, 33, 17, 32, 32))])
    g.write()


def views():
    g = Group("views")
    g.add("rename(x: f32[N]) -> f32[N, M]", "return x + x[N -> M] * 2",
          lambda x: wide(x)[:, None] + wide(x) * 2, [{"x": normal(n)} for n in (0, 1, 17, 40)])
    g.add("split(x: f32[N, D]) -> f32[N, H, K]\n    where D % 4 == 0".replace("\n    ", " "),
          "return x[D -> (H, K = 4)]", lambda x: x.reshape(x.shape[0], -1, 4),
          [{"x": normal(n, d)} for n, d in ((1, 4), (3, 20), (5, 0))])
    g.add("merge(x: f32[A, B, C]) -> f32[A, D]", "return x[(B, C) -> D]",
          lambda x: x.reshape(x.shape[0], -1), [{"x": normal(*s)} for s in ((1, 1, 1), (3, 5, 7), (4, 33, 2))])
    g.add("merge_swapped(x: f32[A, B, C]) -> f32[A, D]", "return x[(C, B) -> D]",
          lambda x: x.transpose(0, 2, 1).reshape(x.shape[0], -1), [{"x": normal(3, 5, 7)}])
    g.add("select(x: f32[N, D = 9]) -> f32[N]", "return x[D = 3]", lambda x: x[:, 3],
          [{"x": normal(n, 9)} for n in (1, 17, 0)])
    g.add("slice(x: f32[N, D = 40]) -> f32[N, E]", "return x[D = 5:33 -> E]",
          lambda x: x[:, 5:33], [{"x": normal(n, 40)} for n in (1, 17, 0)])
    g.add("shifted(x: f32[N = 100]) -> f32[E]", "return x[N = 1:100 -> E] - x[N = 0:99 -> E]",
          lambda x: np.diff(wide(x)), [{"x": normal(100)}])
    g.add("gather(w: f32[V, D], t: i32[B, S]) -> f32[B, S, D]", "return w[V = t]",
          lambda w, t: w[t], [{"w": normal(v, d), "t": integers(b, s, low=0, high=v)}
                              for v, d, b, s in ((1, 1, 1, 1), (50, 33, 3, 5), (7, 4, 0, 2))])
    g.add("gather_last(x: f32[N, V], t: i32[N]) -> f32[N]",
          "return sum(where(index(V) == t, x, 0), V)",
          lambda x, t: x[np.arange(len(t)), t],
          [{"x": normal(9, 20), "t": integers(9, low=0, high=20)}])
    g.add("window(x: f32[N, Y = 20]) -> f32[N, P]", "return sum(x[Y -> P * 2 + (R = 3)], R)",
          lambda x: np.stack([wide(x)[:, p:p + 3].sum(1) for p in range(0, 18, 2)], 1),
          [{"x": normal(n, 20)} for n in (1, 7)])
    g.add("join(a: f32[N, P], b: f32[N, Q]) -> f32[N, D]", "return concat(a, b, (P, Q) -> D)",
          lambda a, b: np.concatenate([a, b], 1),
          [{"a": normal(n, p), "b": normal(n, q)} for n, p, q in ((1, 1, 1), (5, 17, 3), (3, 0, 4))])
    g.add("padded(x: f32[N, D]) -> f32[N, E]", "return pad(x, D -> E, 2, 3, 0.5)",
          lambda x: np.pad(x, ((0, 0), (2, 3)), constant_values=0.5),
          [{"x": normal(n, d)} for n, d in ((1, 1), (4, 17), (3, 0))])
    g.add("scatter(a: f32[V, D], t: i32[N], u: f32[N, D]) -> f32[V, D]",
          "return scatter_add(a, V = t, u)",
          lambda a, t, u: np.array([wide(a)[v] + wide(u)[t == v].sum(0) for v in range(len(a))]),
          [{"a": normal(v, d), "t": integers(n, low=0, high=v), "u": normal(n, d)}
           for v, d, n in ((1, 1, 1), (5, 17, 30), (40, 3, 9))])
    g.add("coordinates(x: i32[N, D]) -> i32[N, D]", "return x + index(N) * 100 + index(D)",
          lambda x: x + np.arange(x.shape[0])[:, None] * 100 + np.arange(x.shape[1]),
          [{"x": integers(3, 33)}, {"x": integers(1, 1)}])
    g.add("causal(x: f32[S, T]) -> f32[S, T]", "return where(index(T) <= index(S), x, -inf)",
          lambda x: np.where(np.tril(np.ones(x.shape, bool)), x, -np.inf), [{"x": normal(9, 20)}])
    g.write()


SCANS = {"cumsum": np.add, "cumprod": np.multiply, "cummax": np.maximum, "cummin": np.minimum}


def scan_identity(name, dtype):
    if name in ("cumsum", "cumprod"):
        return 0 if name == "cumsum" else 1
    if dtype[0] == "f":
        return -np.inf if name == "cummax" else np.inf
    limits = np.iinfo(NAMES[dtype])
    return limits.min if name == "cummax" else limits.max


def scan(name, dtype, x, axis, reverse=False, exclusive=False):
    x = np.flip(x, axis) if reverse else x
    out = SCANS[name].accumulate(wide(x) if dtype[0] == "f" else x, axis=axis, dtype=None
                                 if dtype[0] == "f" else NAMES[dtype])
    if exclusive and out.shape[axis]:
        first = np.full_like(np.take(out, [0], axis), scan_identity(name, dtype))
        out = np.concatenate([first, np.delete(out, -1, axis)], axis)
    return np.flip(out, axis) if reverse else out


def scans():
    g = Group("scans")
    shapes = [(1, 1), (3, 17), (17, 3), (5, 130), (130, 5), (0, 4), (4, 0)]

    def inputs(name, dtype):
        # Products of f32 near 1, so that they neither vanish nor grow out of range.
        return [{"x": 1 + data(dtype, *s) / np.float32(16) if (name, dtype) == ("cumprod", "f32")
                 else data(dtype, *s)} for s in shapes]
    for name in SCANS:
        for dtype in ("f32", "i32", "u8"):
            for axis, number in (("D", 1), ("N", 0)):
                g.add(f"{name}_{dtype}_{axis}(x: {dtype}[N, D]) -> {dtype}[N, D]",
                      f"return {name}(x, {axis})",
                      lambda x, name=name, dtype=dtype, number=number: scan(name, dtype, x, number),
                      inputs(name, dtype), (1e-4, 1e-5))
        for axis, number in (("D", 1), ("N", 0)):
            g.add(f"{name}_options_{axis}(x: f32[N, D]) -> (f32[N, D], f32[N, D], f32[N, D])",
                  f"return ({name}(x, {axis}, exclusive = true), {name}(x, {axis}, reverse = true),\n"
                  f"        {name}(x, {axis}, reverse = true, exclusive = true))",
                  lambda x, name=name, number=number:
                  (scan(name, "f32", x, number, exclusive=True),
                   scan(name, "f32", x, number, reverse=True),
                   scan(name, "f32", x, number, reverse=True, exclusive=True)),
                  [r for r in inputs(name, "f32") if r["x"].size < 100], (1e-4, 1e-5))
    g.write()


ERFC = np.vectorize(math.erfc, otypes=[np.float64])


def functions():
    """What came after the others: inverse and hyperbolic functions, erfc, log10, atan2."""
    g = Group("functions")
    unary = {"asin": (np.arcsin, 1), "acos": (np.arccos, 1), "sinh": (np.sinh, 4),
             "cosh": (np.cosh, 4), "erfc": (ERFC, 4), "log10": (np.log10, 0)}
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.0, 89.4,
                        -89.4, 90, 9.5, -9.5, 1e-30, 1e30], np.float32)
    for t in ("f32", "f64"):
        tolerance = (1e-7, 2e-6) if t == "f32" else (1e-15, 1e-14)
        for name, (f, scale) in unary.items():
            def make(n, scale=scale, t=t):
                x = random.uniform(-scale, scale, n) if scale else np.exp(random.normal(0, 4, n))
                return x.astype(NAMES[t])
            g.add(f"{name}_{t}(x: {t}[N]) -> {t}[N]", f"return {name}(x)",
                  lambda x, f=f: f(wide(x)), [{"x": make(n)} for n in (1, 16, 33, 130)], tolerance)
        g.add(f"special_{t}(x: {t}[N]) -> ({t}[N], {t}[N], {t}[N], {t}[N], {t}[N], {t}[N])",
              "return (asin(x), acos(x), sinh(x), cosh(x), erfc(x), log10(x))",
              lambda x: tuple(f(wide(x)) for f, _ in unary.values()), [{"x": special.astype(NAMES[t])}],
              (1e-37, 1e-5))
        points = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-30, -3], NAMES[t])
        y, x = (a.ravel() for a in np.meshgrid(points, points))
        g.add(f"atan2_{t}(y: {t}[N], x: {t}[N]) -> {t}[N]", "return atan2(y, x)",
              lambda y, x: np.arctan2(wide(y), wide(x)),
              [{"y": y, "x": x}, {"y": normal(130, dtype=t), "x": normal(130, dtype=t)}], tolerance)
    g.add("storage_f16(x: f16[N]) -> (f32[N], f32[N])", "return (erfc(x), sinh(x))",
          lambda x: (ERFC(wide(x)), np.sinh(wide(x))), [{"x": normal(33, dtype="f16")}],
          (1e-7, 2e-6))
    g.write()


def whole(t, *shape):
    """Any bits."""
    bits = NAMES[t](0).itemsize * 8
    return random.integers(0, 2**bits - 1, shape, dtype=np.uint64, endpoint=True).astype(NAMES[t])


def unsigned():
    # Not among NAMES from the start: the groups before would draw other numbers.
    NAMES.update({"u16": np.uint16, "u32": np.uint32, "u64": np.uint64})
    g = Group("unsigned")
    for t in ("u64", "u32", "u16"):
        zero_safe = lambda a, b, f: np.where(b == 0, 0, f(a, np.where(b == 0, 1, b)))
        for name, text, f in (
                ("add", "a + b", np.add), ("sub", "a - b", np.subtract), ("mul", "a * b", np.multiply),
                ("div", "a / b", lambda a, b: zero_safe(a, b, np.floor_divide)),
                ("rem", "a % b", lambda a, b: zero_safe(a, b, np.remainder)),
                ("min", "min(a, b)", np.minimum), ("max", "max(a, b)", np.maximum)):
            runs = [{"a": whole(t, n), "b": whole(t, n) >> NAMES[t](random.integers(0, 12))}
                    for n in (1, 33, 70)]
            runs[1]["b"][::5] = 0
            g.add(f"{name}_{t}(a: {t}[N], b: {t}[N]) -> {t}[N]", f"return {text}",
                  lambda a, b, f=f: f(a, b), runs, (0, 0))
        g.add(f"compare_{t}(a: {t}[N], b: {t}[N]) -> (bool[N], bool[N], bool[N])",
              "return (a < b, a >= b, a == b)", lambda a, b: (a < b, a >= b, a == b),
              [{"a": whole(t, 70), "b": whole(t, 70)}], (0, 0))
        g.add(f"bits_{t}(a: {t}[N]) -> ({t}[N], {t}[N], {t}[N])",
              "return (shift_right(a, 5), shift_left(a, 3), bit_not(a))",
              lambda a, t=t: (a >> NAMES[t](5), a << NAMES[t](3), ~a), [{"a": whole(t, 70)}], (0, 0))
        g.add(f"reduce_{t}(x: {t}[N, D]) -> ({t}[N], {t}[N], {t}[N], i32[N])",
              "return (sum(x, D), max(x, D), min(x, D), argmax(x, D))",
              lambda x: (x.sum(1, dtype=x.dtype), x.max(1), x.min(1), x.argmax(1)),
              [{"x": whole(t, *s)} for s in ((3, 17), (5, 130), (1, 1))], (0, 0))
        out = "u64" if t == "u64" else "u32"
        g.add(f"dot_{t}(a: {t}[N, K], b: {t}[K, M]) -> {out}[N, M]", "return dot(a, b, K)",
              lambda a, b, out=out: a.astype(NAMES[out]) @ b.astype(NAMES[out]),
              [{"a": whole(t, n, k), "b": whole(t, k, m)} for n, k, m in ((3, 5, 7), (17, 33, 20))],
              (0, 0))
        for other in ("f32", "f64", "i64", "i32", "i8", "u8", "bool"):
            g.add(f"cast_{t}_{other}(x: {t}[N]) -> {other}[N]", f"return {other}(x)",
                  lambda x, other=other: x.astype(NAMES[other]), [{"x": whole(t, 70)}], (0, 0))
        for other in ("i64", "i32", "i8", "u8", "bool"):
            values = random.integers(0, 2, 70).astype(bool) if other == "bool" else \
                random.integers(-128 if other[0] == "i" else 0, 127, 70).astype(NAMES[other])
            g.add(f"cast_{other}_{t}(x: {other}[N]) -> {t}[N]", f"return {t}(x)",
                  lambda x, t=t: x.astype(NAMES[t]), [{"x": values}], (0, 0))
        top = float(2 ** (NAMES[t](0).itemsize * 8))
        edges = np.array([0.5, -0.5, -1, 1.9, np.nan, np.inf, -np.inf, top, top * 2, top / 2, 300.7])
        g.add(f"saturate_{t}(x: f64[N]) -> {t}[N]", f"return {t}(x)",
              lambda x, t=t, top=top: np.array(
                  [0 if np.isnan(v) or v <= 0 else int(top) - 1 if v >= top else int(v) for v in x],
                  dtype=NAMES[t]), [{"x": edges}], (0, 0))
    g.write()


def recurrence(a, b, axis, reverse=False, exclusive=False):
    """y = a * y + b along the axis, in f64 or in the integers as they are."""
    a, b = np.broadcast_arrays(a, b)
    if b.dtype.kind == "f":
        a, b = a.astype(np.float64), b.astype(np.float64)
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    out, y = np.zeros_like(b), np.zeros_like(b[0]) if len(b) else None
    for t in range(len(b) - 1, -1, -1) if reverse else range(len(b)):
        before, y = y, a[t] * y + b[t]
        out[t] = before if exclusive else y
    return np.moveaxis(out, 0, axis)


def recurrences():
    g = Group("recurrences")
    shapes = [(1, 1), (3, 17), (17, 3), (3, 270), (270, 2), (0, 4), (4, 0)]

    def factors(dtype, *s):
        # Of floats at most 1, so that results do not grow out of range.
        return np.tanh(data(dtype, *s)) if dtype[0] == "f" else data(dtype, *s)
    for dtype in ("f32", "f64", "i32", "u8"):
        for axis, number in (("D", 1), ("N", 0)):
            g.add(f"recurrence_{dtype}_{axis}(a: {dtype}[N, D], b: {dtype}[N, D]) -> {dtype}[N, D]",
                  f"return affine_scan(a, b, {axis})",
                  lambda a, b, number=number: recurrence(a, b, number),
                  [{"a": factors(dtype, *s), "b": data(dtype, *s)} for s in shapes], (1e-4, 1e-5))
    for axis, number in (("D", 1), ("N", 0)):
        g.add(f"options_{axis}(a: f32[N, D], b: f32[N, D]) -> (f32[N, D], f32[N, D], f32[N, D])",
              f"return (affine_scan(a, b, {axis}, exclusive = true), affine_scan(a, b, {axis}, reverse = true),\n"
              f"        affine_scan(a, b, {axis}, reverse = true, exclusive = true))",
              lambda a, b, number=number: (recurrence(a, b, number, exclusive=True),
                                           recurrence(a, b, number, reverse=True),
                                           recurrence(a, b, number, reverse=True, exclusive=True)),
              [{"a": factors("f32", *s), "b": data("f32", *s)} for s in shapes[:3]], (1e-4, 1e-5))
    g.add("average(x: f32[N, D], decay: f32[N]) -> f32[N, D]",
          "return affine_scan(decay, (1 - decay) * x, D)",
          lambda x, decay: recurrence(decay[:, None], (1 - decay.astype(np.float64))[:, None] * x, 1),
          [{"x": data("f32", *s), "decay": factors("f32", s[0])} for s in shapes], (1e-4, 1e-5))
    g.add("forced(a: f32[N, D], b: f32[N]) -> f32[N, D]", "return affine_scan(a, b, D)",
          lambda a, b: recurrence(a, b[:, None], 1),
          [{"a": factors("f32", *s), "b": data("f32", s[0])} for s in shapes], (1e-4, 1e-5))
    g.write()


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for group in (elementwise, casts, reductions, products, views, scans, functions, unsigned,
                  recurrences):
        group()
