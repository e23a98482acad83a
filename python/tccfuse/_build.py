# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ahead of time: objects, libraries and texts of functions."""
from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_size_t, c_void_p
from typing import Any, Iterable, Optional, Union

from ._library import Output
from ._session import Dims, Path, Program, Session, decode, encode, sizes, take_text
from .errors import UseError

_TEXTS = {".s": "asm", ".ptx": "asm", ".ll": "llvm"}
_ENDINGS = (".o", ".a", ".so", ".cubin", *_TEXTS)


def build(source: Union[Path, Program], output: Path,
          function: Union[str, Iterable[str], None] = None, *, header: Optional[Path] = None,
          dims: Optional[Dims] = None, symbol: Optional[str] = None,
          session: Optional[Session] = None, **options: Any) -> str:
    """Builds functions ahead of time, as `tcc-fuse build` does; None: the only one that there is.

    output   ends in .so or .a (a library that needs nothing of tcc-fuse, of up to 7 functions), .o,
             .s, .ll, .ptx or .cubin
    header   where the declarations for C go (.so, .a, .o)
    dims     sizes that are constants in it
    symbol   what the function is called there
    options  those of Session: target="sm_90a" is "cuda:sm_90a" here

    Returns a line about what the code is for (libraries), else "".
    """
    if not isinstance(source, Program):
        source = (session or Session(**options)).load(source)
    lib, program = source.session._lib, source
    names = [function] if function is None or isinstance(function, str) else list(function)
    functions = [program.function(n) for n in names]
    path, summary = os.fspath(output), ""
    ending = os.path.splitext(path)[1]
    if ending not in _ENDINGS:
        raise UseError(f"{path}: the output ends in {', '.join(_ENDINGS)}")
    if len(functions) != 1 and (symbol or ending not in (".so", ".a")):
        raise UseError(f"{path} and symbol= are of one function, not {len(functions)}")
    if header is not None and ending not in (".so", ".a", ".o"):
        raise UseError(f"{path} has no header")
    array, count = sizes(dims)
    handles = (c_void_p * len(functions))(*[f._handle for f in functions])
    files: "list[tuple[str, bytes]]" = []
    text, size = c_void_p(), c_size_t()
    check = program.session.check
    with program.session.lock:
        if symbol:
            check(lib.function_export_as(handles[0], symbol.encode()))
        if header is not None:
            ask = lib.functions_header if ending == ".o" else lib.functions_library_header
            check(ask(handles, len(functions), array, count, byref(text)))
            files.append((os.fspath(header), take_text(text)))
        if ending in (".so", ".a"):
            check(lib.functions_library(handles, len(functions), array, count, encode(path),
                                        byref(text)))
            summary = decode(take_text(text))
        elif ending in _TEXTS:
            code = program.ir(_TEXTS[ending], function=functions[0].__name__, dims=dims)
            files.append((path, code.encode()))
        else:
            ask = lib.function_object if ending == ".o" else lib.function_cubin
            check(ask(handles[0], array, count, byref(text), byref(size)))
            files.append((path, take_text(text, size.value)))
        _save(program.session, files)
    return summary


def _save(session: Session, files: "list[tuple[str, bytes]]") -> None:
    """All of them whole, or none."""
    outputs = (Output * max(1, len(files)))()
    for i, (path, data) in enumerate(files):
        outputs[i] = Output(path=encode(path), data=ctypes.cast(data, c_void_p), size=len(data))
    session.check(session._lib.save(session.handle, outputs, len(files)))
