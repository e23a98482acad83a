# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""tcc-fuse: tensor programs, fused, compiled and called on arrays.

    import numpy, tccfuse

    softmax = tccfuse.compile('''
    fn softmax(z: f32[N, T]) -> f32[N, T] {
      let e = exp(z - max(z, T))
      return e / sum(e, T)
    }''')
    y = softmax(numpy.ones((2, 3), numpy.float32))
"""
from __future__ import annotations

from typing import Any, Iterable, Optional

from ._build import build
from ._function import Function, Value
from ._library import VERSION as __version__
from ._session import Dims, Explanation, Path, Program, Session
from .errors import (DataError, Diagnostic, Error, FileError, InternalError, LibraryError,
                     OutOfMemoryError, ProgramError, ProgramWarning, TensorError, UnavailableError,
                     UseError)

__all__ = ["compile", "load", "build", "Session", "Program", "Function", "Value", "Explanation",
           "Diagnostic", "Error", "ProgramError", "UseError", "TensorError", "DataError",
           "FileError", "OutOfMemoryError", "UnavailableError", "InternalError", "LibraryError",
           "ProgramWarning"]


def load(source: Path, *, name: Optional[str] = None, session: Optional[Session] = None,
         **options: Any) -> Program:
    """Reads a program: a path, or its text (a string with a line end or a brace). name stands for
    the path of a text in messages. options are those of Session; or give one that there is."""
    if session is not None and options:
        raise TypeError(f"{', '.join(options)}: options are those of the session that is given")
    return (session or Session(**options)).load(source, name=name)


def compile(source: Path, function: Optional[str] = None, *, dims: Optional[Dims] = None,
            symbolic: Iterable[str] = (), name: Optional[str] = None,
            session: Optional[Session] = None, **options: Any) -> Function:
    """A function of a program, ready to be called; None: the only one that there is.

    dims      sizes {"N": 64, ...} to compile for at once; else the first call for new sizes compiles
    symbolic  sizes that differ from call to call: one variant of the code for all their values
    options   those of Session: target="cuda", threads=2, fast_math=True, ...
    """
    found = load(source, name=name, session=session, **options).function(function)
    found.keep_symbolic(*([symbolic] if isinstance(symbolic, str) else symbolic))
    if dims is not None:
        found.prepare(dims=dims)
    return found
