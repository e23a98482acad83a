# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The C library through ctypes, as far as the benchmarks need it: libtccfuse of build/."""
import ctypes
import os

import numpy as np

LIBRARY = os.environ.get("TCF_LIBRARY") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "build", "libtccfuse.so")
DTYPES = {"float64": 0, "float32": 1, "float16": 2, "int64": 4, "int32": 5, "int16": 6, "int8": 7,
          "uint8": 8, "bool": 9}
_library = None


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("target", ctypes.c_char_p), ("threads", ctypes.c_int),
                ("flags", ctypes.c_uint), ("cache_dir", ctypes.c_char_p),
                ("cache_bytes", ctypes.c_uint64), ("diagnostic", ctypes.c_void_p),
                ("diagnostic_user", ctypes.c_void_p), ("parallel_for", ctypes.c_void_p),
                ("parallel_user", ctypes.c_void_p), ("schedule", ctypes.c_char_p)]


def available():
    return os.path.exists(LIBRARY)


def library():
    global _library
    if _library is None:
        _library = ctypes.CDLL(LIBRARY)
        _library.tcf_session_message.restype = ctypes.c_char_p
        _library.tcf_program_function.restype = ctypes.c_void_p
    return _library


class Function:
    """A function of a program in a session of its own."""

    def __init__(self, path, name, threads, cache_dir=""):
        self.session, self.program = ctypes.c_void_p(), ctypes.c_void_p()
        schedule = os.environ.get("TCF_SCHEDULE")
        options = Options(size=ctypes.sizeof(Options), threads=threads,
                          cache_dir=cache_dir.encode(),
                          schedule=schedule.encode() if schedule else None)
        if library().tcf_session_new(ctypes.byref(options), ctypes.byref(self.session)):
            raise RuntimeError("no session")
        self.check(library().tcf_program_load_file(self.session, path.encode(),
                                                   ctypes.byref(self.program)))
        self.function = ctypes.c_void_p(
            library().tcf_program_function(self.program, name.encode()))

    def check(self, status):
        if status:
            raise RuntimeError(library().tcf_session_message(self.session).decode())

    def tensor(self, array):
        t, n = ctypes.c_void_p(), array.ndim
        dims = (ctypes.c_int64 * n)(*array.shape)
        strides = (ctypes.c_int64 * n)(*array.strides)
        self.check(library().tcf_tensor_borrow(self.session, DTYPES[array.dtype.name], n, dims,
                                               strides, ctypes.c_void_p(array.ctypes.data),
                                               ctypes.byref(t)))
        return t

    def prepare(self, arrays):
        """Compiles for these arguments, or takes the object from the cache."""
        args = (ctypes.c_void_p * len(arrays))(*[self.tensor(a).value for a in arrays])
        self.check(library().tcf_prepare(self.function, args, ctypes.c_size_t(len(arrays))))

    def bind(self, arrays, outputs):
        """A call without arguments that computes the outputs in place."""
        call = library().tcf_call
        args = (ctypes.c_void_p * len(arrays))(*[self.tensor(a).value for a in arrays])
        results = (ctypes.c_void_p * len(outputs))(*[self.tensor(a).value for a in outputs])
        nargs, nresults = ctypes.c_size_t(len(arrays)), ctypes.c_size_t(len(outputs))

        def run():
            status = call(self.function, args, nargs, results, nresults)
            if status:
                self.check(status)
        run.outputs, run.keep = outputs, (arrays, self)
        return run


def compile(path, name, arrays, threads, cache_dir=""):
    assert all(isinstance(a, np.ndarray) for a in arrays)
    return Function(path, name, threads, cache_dir)
