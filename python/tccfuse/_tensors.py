# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arguments and results: from Python objects to tensors of the library, without copies.

A *taker* makes the tensor: `take(value, slot, want, keep)` stores it in the slot and returns its
shape. `keep` is a list for what must live as long as the tensor; that of an array
stays in its slot instead, for a next call with the same memory. It raises TensorError whose text goes on after the
name of the argument."""
from __future__ import annotations

import ctypes
import struct
import sys
from ctypes import c_char_p, c_int, c_ssize_t, c_void_p
from typing import Any, Callable, NamedTuple, Optional, Tuple

from . import _dlpack
from ._library import DTYPE_SIZES, DTYPES, library
from .errors import TensorError

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]

BF16 = DTYPES.index("bf16")
U16 = DTYPES.index("u16")
# By dtype: the formats of `struct` and of the buffer protocol.
_FORMATS = ("d", "f", "e", None, "q", "i", "h", "b", "B", "?", "Q", "I", "H")
_NAMES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
          "bool", "uint64", "uint32", "uint16")
Shape = Tuple[int, ...]


class Slot:
    """Place number i among the handles of a call. key: what a tensor that stays was made of."""

    __slots__ = ("at", "key", "_handles", "_i")

    def __init__(self, handles: Any, i: int):
        self.at, self.key = ctypes.byref(handles, i * ctypes.sizeof(c_void_p)), None  # type: Any, Any
        self._handles, self._i = handles, i

    def end(self) -> None:
        handle = self._handles[self._i]
        if handle:
            self._handles[self._i] = self.key = None
            _free(handle)


class Want(NamedTuple):
    """What a parameter is: how Python objects without an element type are read."""

    code: int
    rank: int
    session: Any  # tccfuse.Session
    output: bool


def _refuse_borrow() -> None:
    raise TensorError("is no tensor that the library takes (sizes or strides out of range)")


# ---- NumPy

# NumPy's dtype: code. Arrays of 16 bits are taken for bf16 too, for which NumPy has no type.
codes: "dict[Any, int]" = {}
numpy_types: "list[Any]" = []
if numpy is not None:
    for _code, _type in enumerate(_NAMES):
        _dtype = numpy.dtype("uint16" if _code == BF16 else _type)
        numpy_types.append(_dtype)
        if _code != BF16:
            codes[_dtype] = _code


def _other_code(dtype: Any) -> int:
    """Of dtypes that are seen for the first time."""
    if dtype.name == "bfloat16":  # of ml_dtypes
        codes[dtype] = BF16
        return BF16
    for code, known in enumerate(numpy_types):
        if code != BF16 and dtype == known:  # aliases, long long
            codes[dtype] = code
            return code
    if dtype.newbyteorder("=") in codes:
        raise TensorError(f"has elements in the other byte order ({dtype.str}); "
                          ".astype(x.dtype.newbyteorder('=')) makes a copy that has not")
    raise TensorError(f"has elements of {dtype}, which no element type stands for")


class _ArrayHead(ctypes.Structure):
    """The first fields of NumPy's PyArrayObject, which are part of its binary interface: an order of
    magnitude faster than what is public (ndarray.ctypes)."""

    _fields_ = [("data", c_void_p), ("ndim", c_int), ("dims", c_void_p), ("strides", c_void_p)]


_head_at = _ArrayHead.from_address
_HEAD = object.__basicsize__


def _heads_are_right() -> bool:
    if sys.implementation.name != "cpython" or ctypes.sizeof(c_ssize_t) != 8:
        return False
    array = numpy.zeros((3, 5), numpy.int16)[::-1, 1:]
    head = _head_at(id(array) + _HEAD)
    if head.data != array.ctypes.data or head.ndim != 2 or not head.dims or not head.strides:
        return False
    pair = ctypes.c_int64 * 2
    return (tuple(pair.from_address(head.dims)) == array.shape and
            tuple(pair.from_address(head.strides)) == array.strides)


def _array_code(array: Any, want: Want) -> int:
    code = codes.get(array.dtype)
    if code is None:
        code = _other_code(array.dtype)
    return BF16 if code == U16 and want.code == BF16 else code


def _take_array_fast(array: Any, slot: Slot, want: Want, keep: list) -> Shape:
    if want.output and not array.flags.writeable:
        raise TensorError("is read-only")
    head = _head_at(id(array) + _HEAD)
    shape = array.shape
    key = (head.data, array.dtype, shape, array.strides)
    if key != slot.key:
        code = _array_code(array, want)
        slot.end()
        if _borrow(None, code, head.ndim, head.dims, head.strides, head.data, slot.at):
            _refuse_borrow()
        slot.key = key
    return shape


def _take_array_plain(array: Any, slot: Slot, want: Want, keep: list) -> Shape:
    if want.output and not array.flags.writeable:
        raise TensorError("is read-only")
    many, code = ctypes.c_int64 * array.ndim, _array_code(array, want)
    slot.end()
    if _borrow(None, code, array.ndim, many(*array.shape), many(*array.strides),
               array.ctypes.data, slot.at):
        _refuse_borrow()
    return array.shape


def _take_as_array(value: Any, slot: Slot, want: Want, keep: list) -> Shape:
    """Subclasses of ndarray, and NumPy's scalars."""
    if isinstance(value, numpy.ma.MaskedArray):
        raise TensorError("is a masked array, and masks would be ignored; .filled() has none")
    array = numpy.asarray(value)
    keep.append(array)
    if want.output and array is not value and not isinstance(value, numpy.ndarray):
        raise TensorError(f"is a {type(value).__name__}, which nothing can be written to")
    return _take_array(array, slot, want, keep)


# ---- scalars

def _bits(code: int, value: Any) -> bytes:
    form = _FORMATS[code]
    if form in ("d", "f", "e", None):
        if form is not None:
            return struct.pack(form, value)
        bits, = struct.unpack("I", struct.pack("f", value))
        if value == value:  # round to nearest, ties to even
            bits += 0x7fff + (bits >> 16 & 1)
        return struct.pack("H", bits >> 16)
    if isinstance(value, float):
        raise TensorError(f"is a float, but must be {DTYPES[code]}")
    return struct.pack(form, value)


def _take_scalar(value: Any, slot: Slot, want: Want, keep: list) -> Shape:
    if want.output:
        raise TensorError(f"is a {type(value).__name__}, which nothing can be written to")
    if want.rank:
        raise TensorError(f"must have {want.rank} ax{'es' if want.rank > 1 else 'is'}, but is a "
                          f"{type(value).__name__}")
    try:
        bits = _bits(want.code, value)
    except (struct.error, OverflowError):
        raise TensorError(f"is {value}, which {DTYPES[want.code]} does not hold") from None
    cell = ctypes.c_uint64()
    ctypes.memmove(ctypes.byref(cell), bits, len(bits))
    keep.append(cell)
    slot.end()
    if _borrow(None, want.code, 0, ctypes.byref(cell), None, ctypes.byref(cell), slot.at):
        _refuse_borrow()
    return ()


# ---- the buffer protocol

class _Buffer(ctypes.Structure):
    _fields_ = [("buf", c_void_p), ("obj", c_void_p), ("len", c_ssize_t), ("itemsize", c_ssize_t),
                ("readonly", c_int), ("ndim", c_int), ("format", c_char_p), ("shape", c_void_p),
                ("strides", c_void_p), ("suboffsets", c_void_p), ("internal", c_void_p)]


_RECORDS, _WRITABLE = 0x1c, 1  # PyBUF_RECORDS_RO; PyBUF_WRITABLE
_get_buffer = ctypes.PYFUNCTYPE(c_int, ctypes.py_object, c_void_p, c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi))
_release_buffer = ctypes.PYFUNCTYPE(None, c_void_p)(("PyBuffer_Release", ctypes.pythonapi))
_BUFFER_CODES = {f: i for i, f in enumerate(_FORMATS) if f}
_BUFFER_CODES.update(l=_BUFFER_CODES["q" if ctypes.sizeof(ctypes.c_long) == 8 else "i"],
                     L=_BUFFER_CODES["Q" if ctypes.sizeof(ctypes.c_long) == 8 else "I"])


class _Held:
    """A buffer that is held."""

    def __init__(self, value: Any, flags: int):
        self.view = _Buffer()
        _get_buffer(value, ctypes.byref(self.view), flags)

    def __del__(self) -> None:
        if self.view.obj:
            _release_buffer(ctypes.byref(self.view))


def _take_buffer(value: Any, slot: Slot, want: Want, keep: list) -> Shape:
    try:
        held = _Held(value, _RECORDS | (_WRITABLE if want.output else 0))
    except (BufferError, TypeError, ValueError) as e:
        raise TensorError("is read-only" if want.output and memoryview(value).readonly
                          else f"cannot be taken: {e}") from None
    view = held.view
    form = (view.format or b"B").decode()
    code = _BUFFER_CODES.get(form[1:] if form[:1] in ("@", "=") and len(form) == 2 else form)
    if code is None:
        raise TensorError(f"has elements of format {form!r}, which no element type stands for")
    if code == U16 and want.code == BF16:
        code = BF16
    keep.append(held)
    slot.end()
    if _borrow(None, code, view.ndim, view.shape, view.strides, view.buf, slot.at):
        _refuse_borrow()
    return tuple((ctypes.c_ssize_t * view.ndim).from_address(view.shape)) if view.ndim else ()


# ---- DLPack

class OnStream:
    """Stands in `keep`: an argument is on a CUDA device, and PyTorch's current stream is this."""

    def __init__(self, stream: int):
        self.stream = stream


def stream_of(keep: list) -> Optional[int]:
    for kept in keep:
        if type(kept) is OnStream:
            return kept.stream
    return None


def _current_stream(value: Any) -> Optional[int]:
    """PyTorch's, of the tensor's device; other libraries are ordered with the legacy one."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    return torch.cuda.current_stream(value.device).cuda_stream


def _take_dlpack(value: Any, slot: Slot, want: Want, keep: list) -> Shape:
    stream = None
    if type(value) is not _dlpack.Capsule:
        if want.output and takers[type(value)][1] == JAX:  # which says so by no flag
            raise TensorError("is a JAX array, which is read-only")
        try:
            device = value.__dlpack_device__()[0]
        except Exception as e:  # whatever the other library has against it
            raise TensorError(f"cannot be taken through DLPack: {e}") from e
        if device == _dlpack.CUDA:
            current = _current_stream(value)
            stream = current or _dlpack.LEGACY_STREAM
            if current:
                keep.append(OnStream(current))
    taken = _dlpack.take(value, stream)
    if want.output and taken.read_only:
        raise TensorError("is read-only")
    keep.append(taken)
    slot.end()
    session = want.session
    with session.lock:
        if library().tensor_from_dlpack(session.handle, ctypes.byref(taken.managed), slot.at):
            raise TensorError("cannot be taken: " + session.message())
    return taken.shape


# torch.dtype: (code, bytes of an element).
_torch_codes: "dict[Any, tuple[int, int]]" = {}
_torch_strided: Any = None
_torch_tensor: Any = None


def _set_up_torch(torch: Any) -> None:
    global _torch_strided, _torch_tensor
    for code, name in enumerate(_NAMES):
        if hasattr(torch, name):
            _torch_codes[getattr(torch, name)] = code, DTYPE_SIZES[code]
    _torch_strided, _torch_tensor = torch.strided, torch.Tensor


def _take_torch(value: Any, slot: Slot, want: Want, keep: list) -> Shape:
    """PyTorch's: by its address where it is a plain tensor of the host, for __dlpack__ takes longer
    than many kernels. DLPack has the others, and its reasons against some."""
    if value.is_neg():  # which DLPack drops
        raise TensorError("stands for its negative (.is_neg()); .resolve_neg() makes a copy that "
                          "does not")
    if (type(value) is not _torch_tensor or not value.is_cpu or value.requires_grad or
            value.layout is not _torch_strided or value.dtype not in _torch_codes):
        return _take_dlpack(value, slot, want, keep)
    shape, strides = value.shape, value.stride()
    key = (value.data_ptr(), value.dtype, shape, strides)
    if key != slot.key:
        code, size = _torch_codes[value.dtype]
        many = ctypes.c_int64 * len(shape)
        slot.end()
        if _borrow(None, code, len(shape), many(*shape), many(*[s * size for s in strides]), key[0],
                   slot.at):
            _refuse_borrow()
        slot.key = key
    return shape


# ---- who takes what

NUMPY, TORCH, JAX = 0, 1, 2  # kinds of arguments, by which results are made

# type: (taker, kind). Filled as types are seen.
takers: "dict[type, tuple[Callable[..., Shape], int]]" = {}


def find_taker(value: Any) -> "tuple[Callable[..., Shape], int]":
    kind = type(value)
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        found = (_take_array if kind is numpy.ndarray else _take_as_array), NUMPY
    elif isinstance(value, (bool, int, float)):
        found = _take_scalar, NUMPY
    elif kind is _dlpack.Capsule:
        found = _take_dlpack, NUMPY
    elif hasattr(kind, "__dlpack__") and hasattr(kind, "__dlpack_device__"):
        name = kind.__module__.partition(".")[0]
        torch = sys.modules.get("torch")
        is_torch = torch is not None and isinstance(value, torch.Tensor)
        if is_torch and not _torch_codes:
            _set_up_torch(torch)
        found = ((_take_torch, TORCH) if is_torch else
                 (_take_dlpack, JAX if name in ("jax", "jaxlib") else NUMPY))
    else:
        try:
            memoryview(value).release()
        except TypeError:
            raise TensorError(f"is a {kind.__name__}, not a tensor: a NumPy array, what has "
                              "__dlpack__ (PyTorch, JAX), or a buffer") from None
        found = _take_buffer, NUMPY
    takers[kind] = found
    return found


# ---- results

def new_array(shape: Shape, code: int) -> Any:
    """Memory for a result: a NumPy array; without NumPy a memoryview."""
    if numpy is not None:
        return numpy.empty(shape, numpy_types[code])
    form = _FORMATS[code] or "H"
    count = 1
    for size in shape:
        count *= size
    memory = (ctypes.c_uint64 * max(1, -(-count * DTYPE_SIZES[code] // 8)))()
    flat = memoryview(memory).cast("B")[:count * DTYPE_SIZES[code]]
    if form == "e" and sys.version_info < (3, 12):  # as bits: casts do not know it
        form = "H"
    return flat.cast(form, shape) if count else flat.cast(form)


def new_torch(shape: Shape, code: int, like: Any) -> Any:
    torch = sys.modules["torch"]
    return torch.empty(shape, dtype=getattr(torch, _NAMES[code]), device=like.device)


def to_jax(array: Any) -> Any:
    import jax.numpy  # the argument came from there

    return jax.numpy.from_dlpack(array)


def set_up() -> None:
    global _borrow, _free, _take_array
    _borrow, _free = library().held_tensor_borrow, library().held_tensor_free
    if numpy is not None:
        _take_array = _take_array_fast if _heads_are_right() else _take_array_plain


_borrow: Any = None
_free: Any = None
_take_array: Any = None
