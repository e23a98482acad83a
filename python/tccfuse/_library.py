# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""libtccfuse: where it is, and what of tcc_fuse.h is called."""
from __future__ import annotations

import ctypes
import os
from ctypes import (CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_int, c_int64, c_size_t,
                    c_uint, c_uint64, c_void_p)

from .errors import LibraryError

VERSION = "0.1.0"  # of this package; the library's first two numbers are the same
MAX_RANK = 16

# tcf_dtype: names in the order of the enum.
DTYPES = ("f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool", "u64", "u32",
          "u16")
DTYPE_SIZES = (8, 4, 2, 2, 8, 4, 2, 1, 1, 1, 8, 4, 2)

# Flags of tcf_options by the keyword that sets them.
FLAGS = {"deterministic": 1, "fast_math": 2, "unchecked": 4, "flush_denormals": 8,
         "autotune": 32, "tf32": 64, "exact_casts": 128, "unordered_sums": 1048576}
# Rules of streamed kernels (docs/contracts.md) by the flag that switches each off.
RULES = {"scales": 256, "late_factors": 512, "exponents": 1024, "frames": 2048,
         "moment_shift": 4096, "excess_precision": 8192, "constant_factors": 16384,
         "free_shifts": 32768, "stands_for_infinity": 65536, "caps": 131072, "terms": 262144,
         "order": 524288}
STAGES = ("graph", "fused", "plan", "tile", "llvm", "asm")
FORMATS = ("text", "json", "html", "svg")


class DiagnosticStruct(Structure):
    _fields_ = [("severity", c_int), ("code", c_int), ("file", c_char_p), ("line", c_int),
                ("column", c_int), ("message", c_char_p), ("text", c_char_p)]


DIAGNOSTIC_CALLBACK = CFUNCTYPE(None, c_void_p, POINTER(DiagnosticStruct))


class Options(Structure):
    _fields_ = [("size", c_size_t), ("target", c_char_p), ("threads", c_int), ("flags", c_uint),
                ("cache_dir", c_char_p), ("cache_bytes", c_uint64),
                ("diagnostic", DIAGNOSTIC_CALLBACK), ("diagnostic_user", c_void_p),
                ("parallel_for", c_void_p), ("parallel_user", c_void_p), ("schedule", c_char_p),
                ("trial", c_void_p), ("trial_user", c_void_p), ("memory_budget", c_char_p),
                ("recompute_slack", c_double)]


class Size(Structure):
    _fields_ = [("name", c_char_p), ("value", c_int64)]


class ValueInfo(Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int), ("rank", c_int),
                ("axes", c_char_p * MAX_RANK), ("sizes", c_char_p * MAX_RANK)]


class EmitOptions(Structure):
    _fields_ = [("size", c_size_t), ("function", c_char_p), ("stage", c_int),
                ("passes", c_char_p), ("sizes", POINTER(Size)), ("nsizes", c_size_t),
                ("after_pass", c_void_p), ("user", c_void_p)]


class Output(Structure):
    _fields_ = [("path", c_char_p), ("name", c_char_p), ("tensor", c_void_p),
                ("data", c_void_p), ("size", c_size_t)]


# name: result, arguments. Opaque pointers and buffers are c_void_p; texts to be freed too.
_P = c_void_p
_SIZES = [POINTER(Size), c_size_t]
_DECLARATIONS = {
    "tcf_version": (c_char_p, []),
    "tcf_session_new": (c_int, [POINTER(Options), _P]),
    "tcf_session_free": (None, [_P]),
    "tcf_session_message": (c_char_p, [_P]),
    "tcf_tensor_new": (c_int, [_P, c_int, c_int, _P, _P]),
    "tcf_tensor_borrow": (c_int, [_P, c_int, c_int, _P, _P, _P, _P]),
    "tcf_tensor_free": (None, [_P]),
    "tcf_tensor_fill_random": (None, [_P, c_uint64]),
    "tcf_tensor_dims": (POINTER(c_int64), [_P]),
    "tcf_tensor_from_dlpack": (c_int, [_P, _P, _P]),
    "tcf_program_load_file": (c_int, [_P, c_char_p, _P]),
    "tcf_program_load": (c_int, [_P, c_char_p, c_char_p, c_size_t, _P]),
    "tcf_program_free": (None, [_P]),
    "tcf_program_count": (c_size_t, [_P]),
    "tcf_program_at": (_P, [_P, c_size_t]),
    "tcf_program_function": (_P, [_P, c_char_p]),
    "tcf_program_check": (c_int, [_P]),
    "tcf_function_name": (c_char_p, [_P]),
    "tcf_function_params": (c_size_t, [_P]),
    "tcf_function_results": (c_size_t, [_P]),
    "tcf_function_param": (c_int, [_P, c_size_t, POINTER(ValueInfo)]),
    "tcf_function_result": (c_int, [_P, c_size_t, POINTER(ValueInfo)]),
    "tcf_function_symbols": (c_size_t, [_P]),
    "tcf_function_symbol": (c_char_p, [_P, c_size_t]),
    "tcf_function_param_dims": (c_int, [_P, c_size_t] + _SIZES + [_P]),
    "tcf_function_result_dims": (c_int, [_P, c_size_t] + _SIZES + [_P]),
    "tcf_function_keep_symbolic": (c_int, [_P, c_char_p, c_int]),
    "tcf_function_export_as": (c_int, [_P, c_char_p]),
    "tcf_call": (c_int, [_P, _P, c_size_t, _P, c_size_t]),
    "tcf_call_on_stream": (c_int, [_P, _P, c_size_t, _P, c_size_t, _P]),
    "tcf_synchronize": (c_int, [_P]),
    "tcf_prepare": (c_int, [_P, _P, c_size_t]),
    "tcf_program_emit": (c_int, [_P, POINTER(EmitOptions), _P]),
    "tcf_program_explain": (c_int, [_P, c_char_p] + _SIZES + [c_int, _P]),
    "tcf_function_object": (c_int, [_P] + _SIZES + [_P, POINTER(c_size_t)]),
    "tcf_function_cubin": (c_int, [_P] + _SIZES + [_P, POINTER(c_size_t)]),
    "tcf_functions_library": (c_int, [_P, c_size_t] + _SIZES + [c_char_p, _P]),
    "tcf_functions_library_header": (c_int, [_P, c_size_t] + _SIZES + [_P]),
    "tcf_functions_header": (c_int, [_P, c_size_t] + _SIZES + [_P]),
    "tcf_save": (c_int, [_P, POINTER(Output), c_size_t]),
    "tcf_text_free": (None, [_P]),
}


class Library:
    """The functions of tcc_fuse.h without their `tcf_`. Calls release the GIL, but for those that
    only make, ask or free a small object: `held` has these, for the path of a call."""

    def __init__(self, path: str):
        try:
            free, held = ctypes.CDLL(path), ctypes.PyDLL(path)
        except OSError as e:
            raise LibraryError(f"{path} cannot be loaded: {e}") from None
        self.path = path
        try:
            for name, (result, arguments) in _DECLARATIONS.items():
                function = getattr(free, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name[4:], function)
            for name in ("tcf_tensor_borrow", "tcf_tensor_free"):
                function = getattr(held, name)
                function.restype, function.argtypes = _DECLARATIONS[name]
                setattr(self, "held_" + name[4:], function)
        except AttributeError as e:
            raise LibraryError(f"{path} is no libtccfuse, or one of another version: {e}") from None
        version = self.version().decode()
        if version.split(".")[:2] != VERSION.split(".")[:2]:
            raise LibraryError(f"{path} is tcc-fuse {version}, but this package needs "
                               f"{VERSION.rpartition('.')[0]}")


def _find() -> str:
    named = os.environ.get("TCF_LIBRARY")
    if named:
        if not os.path.exists(named):
            raise LibraryError(f"TCF_LIBRARY is {named}, which does not exist")
        return named
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libtccfuse.so")
    if os.path.exists(beside):
        return beside
    name = "libtccfuse.so." + VERSION.rpartition(".")[0]
    try:
        ctypes.CDLL(name)
    except OSError as e:
        raise LibraryError(
            f"no libtccfuse: TCF_LIBRARY is not set, there is no {beside}, and the system's loader "
            f"says: {e}. `./dev build` makes build/libtccfuse.so; `pip install ./python` after it "
            f"takes it along, or set TCF_LIBRARY to its path") from None
    return name


_library: "Library | None" = None


def library() -> Library:
    """The library, loaded when it is first needed."""
    global _library
    if _library is None:
        _library = Library(_find())
    return _library
