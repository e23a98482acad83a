# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Functions with their arguments bound, through the package in python/: libtccfuse of build/."""
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
os.environ.setdefault("TCF_LIBRARY", os.path.join(ROOT, "build", "libtccfuse.so"))
sys.path.insert(0, os.path.join(ROOT, "python"))

import tccfuse  # noqa: E402


def available():
    return os.path.exists(os.environ["TCF_LIBRARY"])


class Function:
    """A function of a program in a session of its own."""

    def __init__(self, path, name, threads, cache_dir=""):
        self.function = tccfuse.compile(path, name, threads=threads, cache_dir=cache_dir,
                                        schedule=os.environ.get("TCF_SCHEDULE"))

    def prepare(self, arrays):
        """Compiles for these arguments, or takes the object from the cache."""
        self.function.prepare(*arrays)

    def bind(self, arrays, outputs):
        """A call without arguments that computes the outputs in place."""
        run = self.function.bind(*arrays, out=tuple(outputs))
        run.outputs = outputs
        return run


def compile(path, name, arrays, threads, cache_dir=""):
    return Function(path, name, threads, cache_dir)
