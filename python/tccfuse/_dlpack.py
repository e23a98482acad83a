# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""DLPack (versions 0 and 1): the capsules that other libraries make."""
from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_int32, c_int64, c_uint8, c_uint16, c_uint32
from ctypes import c_uint64, c_void_p
from typing import Any, Optional

from .errors import TensorError

CPU, CUDA, CUDA_HOST = 1, 2, 3
LEGACY_STREAM = 1  # what `stream` of __dlpack__ calls the legacy default stream of CUDA


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32),
                ("ndim", c_int32), ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16),
                ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)),
                ("byte_offset", c_uint64)]


_DELETER = CFUNCTYPE(None, c_void_p)


class Managed(Structure):
    _fields_ = [("tensor", Tensor), ("context", c_void_p), ("deleter", c_void_p)]


class ManagedVersioned(Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32), ("context", c_void_p),
                ("deleter", c_void_p), ("flags", c_uint64), ("tensor", Tensor)]


READ_ONLY = 1  # bit of ManagedVersioned.flags

_api = ctypes.pythonapi


def _declare(name: str, result: Any, *arguments: Any) -> Any:
    # A copy of its own: what pythonapi hands out is shared with every user of the process.
    return ctypes.PYFUNCTYPE(result, *arguments)((name, _api))


_is_valid = _declare("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer = _declare("PyCapsule_GetPointer", c_void_p, ctypes.py_object, ctypes.c_char_p)
_rename = _declare("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_name = _declare("PyCapsule_GetName", ctypes.c_char_p, ctypes.py_object)

Capsule = type(_declare("PyCapsule_New", ctypes.py_object, c_void_p, ctypes.c_char_p, c_void_p)(
    1, None, None))

# Capsules keep the address of their name, which must not go away.
_PLAIN, _VERSIONED = b"dltensor", b"dltensor_versioned"
_USED = {_PLAIN: b"used_dltensor", _VERSIONED: b"used_dltensor_versioned"}
_OFFSET = {_PLAIN: Managed.tensor.offset, _VERSIONED: ManagedVersioned.tensor.offset}

# Types whose __dlpack__ takes max_version.
_versioned: "dict[type, bool]" = {}


class Taken:
    """A foreign tensor for as long as this object lives: `managed` is an unversioned struct without
    a deleter that describes it. The foreign one is given back by its capsule's end; that of a
    capsule which was given itself, and is used up by it, by this object's."""

    __slots__ = ("managed", "read_only", "shape", "device", "_capsule", "_deleter", "_address")

    def __init__(self, capsule: Any, consume: bool):
        self._deleter = None
        if _is_valid(capsule, _VERSIONED):
            name = _VERSIONED
        elif _is_valid(capsule, _PLAIN):
            name = _PLAIN
        else:
            was = _name(capsule) or b"(none)"
            raise TensorError("is a capsule that was used before" if was in _USED.values() else
                              f"is a capsule of {was.decode(errors='replace')}, not of a DLPack tensor")
        address = _pointer(capsule, name)
        deleter, self.read_only = None, False
        if name is _VERSIONED:
            versioned = ManagedVersioned.from_address(address)
            if versioned.major != 1:
                raise TensorError(f"is a DLPack tensor of version {versioned.major}."
                                  f"{versioned.minor}: only 1.x and the unversioned are understood")
            self.read_only = bool(versioned.flags & READ_ONLY)
            deleter = versioned.deleter
        else:
            deleter = Managed.from_address(address).deleter
        self.managed = Managed(Tensor.from_buffer_copy(
            (ctypes.c_char * ctypes.sizeof(Tensor)).from_address(address + _OFFSET[name])))
        tensor = self.managed.tensor
        if not 0 <= tensor.ndim <= 64:
            raise TensorError(f"is a DLPack tensor of {tensor.ndim} axes")
        self.shape = tuple(tensor.shape[:tensor.ndim]) if tensor.ndim else ()
        self.device = tensor.device_type
        self._capsule = capsule
        if consume:
            _rename(capsule, _USED[name])
            self._deleter, self._address = deleter, address

    def __del__(self) -> None:
        deleter, self._deleter = self._deleter, None
        if deleter:
            _DELETER(deleter)(self._address)


def take(value: Any, stream: Optional[int] = None) -> Taken:
    """The tensor of an object with __dlpack__, or of a capsule. stream: that of its device which
    reads it next, as __dlpack__ numbers them."""
    if type(value) is Capsule:
        return Taken(value, True)
    kind = type(value)
    arguments = {} if stream is None else {"stream": stream}
    try:
        if _versioned.get(kind, True):
            try:
                capsule = value.__dlpack__(max_version=(1, 1), **arguments)
                _versioned[kind] = True
                return Taken(capsule, False)
            except TypeError as e:
                if isinstance(e, TensorError) or kind in _versioned:
                    raise
                _versioned[kind] = False
        return Taken(value.__dlpack__(**arguments), False)
    except TensorError:
        raise
    except Exception as e:  # whatever the other library has against it
        raise TensorError(f"cannot be taken through DLPack: {e}") from e
