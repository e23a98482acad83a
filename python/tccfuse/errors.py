# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What goes wrong, as exceptions: one class per status of the C library."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Diagnostic:
    """One thing that the compiler says about a program."""

    severity: str  # "error", "warning", "note"
    code: int  # 210 is E0210; 0: none
    file: Optional[str]
    line: int  # from 1; 0 without a position
    column: int
    message: str  # one line
    text: str  # rendered: position, source line, caret, notes, fixes

    def __str__(self) -> str:
        return self.text


class Error(Exception):
    """Anything that the library refuses. `diagnostics` are those of a wrong program or data."""

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...] = ()):
        super().__init__(message)
        self.diagnostics = diagnostics


class ProgramError(Error, ValueError):
    """The source is wrong; the text has the lines with their carets."""


class UseError(Error, ValueError):
    """An unknown name, an option, or a size or element type that does not fit."""


class TensorError(UseError, TypeError):
    """An argument is no tensor, or one that cannot be taken as it is."""


class DataError(Error, ValueError):
    """Found while running: an index out of range, a host function that failed."""


class FileError(Error):
    """A file or directory is missing, unreadable, unwritable, damaged or not of its format."""


class OutOfMemoryError(Error, MemoryError):
    """No memory, or too little stack to compile on."""


class UnavailableError(Error):
    """A target or feature that this build or machine does not have."""


class InternalError(Error):
    """A bug in tcc-fuse; the message says where."""


class LibraryError(Error, ImportError):
    """libtccfuse is not found, cannot be loaded, or is of another version."""


class ProgramWarning(UserWarning):
    """What the compiler warns about when it reads a program."""


# By the number of the status.
BY_STATUS = {1: ProgramError, 2: UseError, 3: DataError, 4: FileError, 5: FileError,
             6: OutOfMemoryError, 7: UnavailableError, 8: InternalError}
