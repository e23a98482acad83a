# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Layer norm from examples/norms.tdsl on NumPy arrays: `pip install ./python`, then
`python3 examples/python/layernorm.py`."""
import os

import numpy as np

import tccfuse

norms = tccfuse.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "norms.tdsl"))
layernorm = norms["add_layernorm"]
print(layernorm)

rng = np.random.default_rng(0)
x, residual = rng.standard_normal((2, 64, 256), dtype=np.float32)
gain, bias = np.full(256, 2, np.float32), np.ones(256, np.float32)
y = layernorm(x, residual, gain=gain, bias=bias)

# The same in NumPy.
s = x + residual
expected = (s - s.mean(1, keepdims=True)) / np.sqrt(s.var(1, keepdims=True) + 1e-5) * 2 + 1
print("largest difference from NumPy:", f"{np.abs(y - expected).max():.1g}")

# Into memory that there is, from a view: nothing is copied.
half = np.empty((32, 256), np.float32)
layernorm(x[::2], residual[::2], gain, bias, out=half)
assert np.array_equal(half, y[::2])

try:
    layernorm(x, residual, gain[:100], bias)
except tccfuse.UseError as e:
    print("refused:", e)

print(layernorm.explain({"N": 64, "D": 256}))
