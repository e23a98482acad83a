# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The cases of the elementwise, normalisation and loss benchmark, for every contender.

A case names a function of cases.tdsl, the axes' sizes of its arguments, and the same computation in
torch and in JAX as their users write it.
"""
from dataclasses import dataclass

import numpy as np


@dataclass
class Case:
    name: str
    function: str
    shapes: list  # of the arguments; a dtype "i32:LIMIT" stands for integers below LIMIT
    torch: object
    jax: object

    def inputs(self, seed=7):
        random = np.random.default_rng(seed)
        arrays = []
        for shape in self.shapes:
            if isinstance(shape[-1], str):
                limit = int(shape[-1].split(":")[1])
                arrays.append(random.integers(0, limit, shape[:-1], dtype=np.int32))
            else:
                arrays.append(random.standard_normal(shape, dtype=np.float32))
        return arrays

    def bytes(self, output):
        return sum(a.nbytes for a in self.inputs()) + output.nbytes


def build():
    import jax
    import jax.numpy as jnp
    import torch
    import torch.nn.functional as F

    def causal_torch(x):
        s, t = x.shape[-2:]
        mask = torch.ones(s, t, dtype=torch.bool).tril()
        return torch.softmax(torch.where(mask, x * 0.125, -torch.inf), -1)

    def causal_jax(x):
        s, t = x.shape[-2:]
        mask = jnp.tril(jnp.ones((s, t), bool))
        return jax.nn.softmax(jnp.where(mask, x * 0.125, -jnp.inf), -1)

    def norm_jax(axis):
        def f(x, g, b):
            mean = x.mean(axis, keepdims=True)
            var = ((x - mean) ** 2).mean(axis, keepdims=True)
            shape = [1] * x.ndim
            shape[axis] = x.shape[axis]
            return (x - mean) * jax.lax.rsqrt(var + 1e-5) * g.reshape(shape) + b.reshape(shape)
        return f

    def norm_middle_torch(x, g, b):
        mean = x.mean(1, keepdim=True)
        var = ((x - mean) ** 2).mean(1, keepdim=True)
        return (x - mean) * torch.rsqrt(var + 1e-5) * g[:, None] + b[:, None]

    gelu = (lambda x, a, b: F.gelu(x * a + b),
            lambda x, a, b: jax.nn.gelu(x * a + b, approximate=False))
    softmax = lambda axis: (lambda x: torch.softmax(x, axis), lambda x: jax.nn.softmax(x, axis))
    layernorm = (lambda x, g, b: F.layer_norm(x, (x.shape[-1],), g, b, 1e-5), norm_jax(1))
    rmsnorm = (lambda x, g: F.rms_norm(x, (x.shape[-1],), g, 1e-6),
               lambda x, g: x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * g)
    residual = (lambda x, r, g: F.rms_norm(x + r, (x.shape[-1],), g, 1e-6),
                lambda x, r, g: rmsnorm[1](x + r, g))
    entropy = (lambda z, t: F.cross_entropy(z, t.long(), reduction="none"),
               lambda z, t: jax.nn.logsumexp(z, -1)
               - jnp.take_along_axis(z, t[:, None], 1)[:, 0])
    gate = (lambda x, y, z: (torch.log1p(torch.exp(-torch.abs(x))) + torch.clamp(x, min=0))
            * torch.erf(y) + torch.tanh(z),
            lambda x, y, z: (jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, 0))
            * jax.scipy.special.erf(y) + jnp.tanh(z))
    swiglu = (lambda x, y: F.silu(x) * y, lambda x, y: jax.nn.silu(x) * y)
    transposed = (lambda x, y: x + torch.tanh(y.t()), lambda x, y: x + jnp.tanh(y.T))

    big = (65536, 1024)  # 256 MiB
    return [
        Case("gelu(x*a+b) 128x1024", "gelu_affine", [(128, 1024), (1024,), (1024,)], *gelu),
        Case("gelu(x*a+b) 65536x1024", "gelu_affine", [big, (1024,), (1024,)], *gelu),
        Case("softplus*erf+tanh 127x1023", "softplus_gate", [(127, 1023)] * 3, *gate),
        Case("softplus*erf+tanh 20011x1023", "softplus_gate", [(20011, 1023)] * 3, *gate),
        Case("swiglu 32768x1024", "swiglu", [(32768, 1024)] * 2, *swiglu),
        Case("x + tanh(y^T) 1000x1000", "add_transposed", [(1000, 1000)] * 2, *transposed),
        Case("x + tanh(y^T) 8192x4099", "add_transposed", [(8192, 4099), (4099, 8192)],
             *transposed),
        Case("softmax last 128x1024", "softmax_last", [(128, 1024)], *softmax(1)),
        Case("softmax last 65536x1024", "softmax_last", [big], *softmax(1)),
        Case("softmax last 8191x777", "softmax_last", [(8191, 777)], *softmax(1)),
        Case("softmax first 128x1024", "softmax_first", [(128, 1024)], *softmax(0)),
        Case("softmax first 65536x1024", "softmax_first", [big], *softmax(0)),
        Case("softmax middle 64x255x97", "softmax_middle", [(64, 255, 97)], *softmax(1)),
        Case("softmax causal 8x12x128x128", "softmax_causal", [(8, 12, 128, 128)],
             causal_torch, causal_jax),
        Case("layernorm 128x1024", "layernorm_last", [(128, 1024), (1024,), (1024,)], *layernorm),
        Case("layernorm 65536x1024", "layernorm_last", [big, (1024,), (1024,)], *layernorm),
        Case("layernorm middle 32x385x197", "layernorm_middle",
             [(32, 385, 197), (385,), (385,)], norm_middle_torch, norm_jax(1)),
        Case("rmsnorm 128x4096", "rmsnorm_last", [(128, 4096), (4096,)], *rmsnorm),
        Case("add + rmsnorm 16384x4096", "rmsnorm_residual",
             [(16384, 4096), (16384, 4096), (4096,)], *residual),
        Case("cross-entropy 1021x50257", "cross_entropy",
             [(1021, 50257), (1021, "i32:50257")], *entropy),
    ]
