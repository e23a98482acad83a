# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests share."""
import importlib
import os
import tempfile
import unittest

# The user's cache is not touched.
_home = tempfile.TemporaryDirectory()
os.environ["XDG_CACHE_HOME"] = _home.name

import tccfuse  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

SOFTMAX = """fn softmax(z: f32[N, T]) -> f32[N, T] {
  let e = exp(z - max(z, T))
  return e / sum(e, T)
}
"""
SUMS = """fn sums(x: f32[N, T], y: f32[N, T]) -> (f32[N], f32[N, T]) {
  let both = x + y
  let total = sum(both, T)
  return (total, both)
}
"""
PICK = """fn pick(table: f32[V, D], ids: i32[N]) -> f32[N, D] {
  return table[V = ids]
}
"""


def module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


numpy, torch, jax = module("numpy"), module("torch"), module("jax")


def needs(name):
    return unittest.skipIf(module(name) is None,
                           f"the Python package is not tested with {name} (it is not installed)")


def compile(source, *names, **options):
    options.setdefault("threads", 1)
    return tccfuse.compile(source, *names, **options)
