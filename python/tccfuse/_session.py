# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sessions and programs: options, loading, diagnostics, texts."""
from __future__ import annotations

import ctypes
import os
import threading
import warnings
import weakref
from ctypes import byref, c_char_p, c_int, c_void_p
from typing import Any, Iterable, Iterator, Mapping, Optional, Union

from . import _library, _tensors
from ._library import library
from .errors import BY_STATUS, Diagnostic, ProgramWarning, UseError

Dims = Mapping[str, int]
Path = Union[str, "os.PathLike[str]"]
_SEVERITIES = ("error", "warning", "note")


def encode(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else os.fsencode(text)


def decode(text: Optional[bytes]) -> str:
    return (text or b"").decode(errors="replace")


def sizes(dims: Optional[Dims]) -> "tuple[Any, int]":
    """An array of tcf_size and its length."""
    items = list((dims or {}).items())
    array = (_library.Size * max(1, len(items)))()
    for i, (name, value) in enumerate(items):
        array[i] = _library.Size(name.encode(), _int64(name, value))
    return array, len(items)


def _int64(name: str, value: Any) -> int:
    try:
        number = value.__index__()
    except AttributeError:
        raise UseError(f"the size {name} is {value!r}, not an integer") from None
    if not -2**63 <= number < 2**63:
        raise UseError(f"the size {name} is {number}, which is too large")
    return number


def take_text(pointer: c_void_p, size: Optional[int] = None) -> bytes:
    """The bytes of a text that the library made, which is freed."""
    try:
        return ctypes.string_at(pointer) if size is None else ctypes.string_at(pointer, size)
    finally:
        library().text_free(pointer)


class Session:
    """What programs are compiled for, and the threads and memory of their calls. Programs of one
    session take turns; those of different ones run side by side. `compile` makes one for each
    program unless it is given one.

    target      "cpu", "cpu:NAME", "cuda", "cuda:N", "cuda:sm_90a" (code to look at), "interp"
    threads     0: the CPUs this process may use
    cache_dir   of compiled objects; None: the user's, "": none
    cache_bytes its size limit; 0: 512 MiB
    schedule    overrides "key=value,..." of the cost model
    memory_budget, recompute_slack
                of intermediate results (docs/recomputation.md)
    without     rules of streamed kernels that are not used: "scales", "order", ...
    deterministic, fast_math, unchecked, flush_denormals, autotune, tf32, exact_casts, unordered_sums
                as in tcc_fuse.h
    """

    def __init__(self, *, target: str = "cpu", threads: int = 0, cache_dir: Optional[Path] = None,
                 cache_bytes: int = 0, schedule: Optional[str] = None,
                 memory_budget: Optional[str] = None, recompute_slack: float = 0.0,
                 without: Iterable[str] = (), **flags: bool):
        self._lib = library()
        _tensors.set_up()
        self.target, self.autotune = target, bool(flags.get("autotune"))
        self.lock = threading.RLock()  # a session takes one call at a time
        self.dead: "list[int]" = []  # programs that ended while a call was inside
        # The callback must not keep the session: it would never end.
        received = self._received = []  # type: list[Diagnostic]
        self._callback = _library.DIAGNOSTIC_CALLBACK(
            lambda _, d: received.append(_diagnostic(d.contents)))
        options = _library.Options(
            size=ctypes.sizeof(_library.Options), target=target.encode(), threads=threads,
            flags=_flags(flags, without), cache_dir=encode(cache_dir), cache_bytes=cache_bytes,
            diagnostic=self._callback, schedule=encode(schedule),
            memory_budget=encode(memory_budget), recompute_slack=recompute_slack)
        handle = c_void_p()
        status = self._lib.session_new(byref(options), byref(handle))
        if status:
            said = "\n".join(d.message for d in received)
            raise BY_STATUS[status](said or f"no session with these options (target {target!r}, "
                                            f"threads {threads})")
        self.handle: Any = handle.value
        self._end = weakref.finalize(self, self._lib.session_free, self.handle)
        self._end.atexit = False

    def message(self) -> str:
        """Why the last call failed."""
        return decode(self._lib.session_message(self.handle))

    def check(self, status: int) -> None:
        """Raises what a status stands for. Diagnostics that came meanwhile are its text; without an
        error they are warnings."""
        if not status and not self._received:
            return
        received = tuple(self._received)
        self._received.clear()
        if status:
            text = "".join(d.text for d in received).rstrip("\n")
            raise BY_STATUS[status](text or self.message(), received)
        for d in received:
            if d.severity != "note":
                warnings.warn(d.text.rstrip("\n"), ProgramWarning, stacklevel=4)

    def forget(self) -> None:
        """Drops what was said about a failure that is no error."""
        self._received.clear()

    def load(self, source: Path, *, name: Optional[str] = None) -> "Program":
        """Reads a program: a path, or its text (a string with a line end or a brace)."""
        return Program(self, source, name)

    def synchronize(self) -> None:
        """Waits for what was started on the session's device, and raises the errors that it left."""
        with self.lock:
            self.check(self._lib.synchronize(self.handle))

    def _free_dead(self) -> None:
        while self.dead:
            self._lib.program_free(self.dead.pop())


def _diagnostic(d: Any) -> Diagnostic:
    return Diagnostic(_SEVERITIES[d.severity], d.code, os.fsdecode(d.file) if d.file else None, d.line,
                      d.column, decode(d.message), decode(d.text))


def _flags(given: "dict[str, bool]", without: Iterable[str]) -> int:
    bits = 0
    for name, on in given.items():
        if name not in _library.FLAGS:
            raise TypeError(f"there is no option {name!r}; the flags are "
                            f"{', '.join(_library.FLAGS)}")
        bits |= _library.FLAGS[name] if on else 0
    for rule in (without,) if isinstance(without, str) else without:
        if rule not in _library.RULES:
            raise UseError(f"there is no rule {rule!r}; there are {', '.join(_library.RULES)}")
        bits |= _library.RULES[rule]
    return bits


def _end_program(session: Session, handle: int) -> None:
    # From whichever thread the collector runs on, perhaps while another one is inside.
    if session.lock.acquire(blocking=False):
        try:
            session._lib.program_free(handle)
        finally:
            session.lock.release()
    else:
        session.dead.append(handle)


class Program(Mapping[str, Any]):
    """The functions of a source, by name."""

    def __init__(self, session: Session, source: Path, name: Optional[str] = None):
        from ._function import Function

        lib = session._lib
        handle = c_void_p()
        with session.lock:
            session._free_dead()
            if isinstance(source, str) and ("\n" in source or "{" in source):
                text = source.encode()
                status = lib.program_load(session.handle, encode(name or "<string>"), text, len(text),
                                          byref(handle))
            else:
                status = lib.program_load_file(session.handle, encode(os.fspath(source)),
                                               byref(handle))
            session.check(status)
            self.session = session
            self.handle: Any = handle.value
            weakref.finalize(self, _end_program, session, self.handle).atexit = False
            self._functions: "dict[str, Function]" = {}
            for i in range(lib.program_count(self.handle)):
                function = Function(self, lib.program_at(self.handle, i))
                self._functions[function.__name__] = function

    def __getitem__(self, name: str) -> Any:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def function(self, name: Optional[str]) -> Any:
        """By name; None: the only one."""
        names = ", ".join(self) or "none"
        if name is None:
            if len(self) != 1:
                raise UseError(f"which function? The program has {names}")
            return next(iter(self.values()))
        if name not in self:
            with self.session.lock:
                self.session._lib.program_function(self.handle, name.encode())
                raise UseError(self.session.message())
        return self[name]

    def ir(self, stage: str = "tile", *, function: Optional[str] = None,
           dims: Optional[Dims] = None, passes: Optional[str] = None) -> str:
        """The program as text at a stage: "graph", "fused", "plan", "tile", "llvm" or "asm". passes:
        names separated by commas, instead of the pipeline."""
        if stage not in _library.STAGES:
            raise UseError(f"there is no stage {stage!r}; there are {', '.join(_library.STAGES)}")
        array, count = sizes(dims)
        options = _library.EmitOptions(
            size=ctypes.sizeof(_library.EmitOptions), function=encode(function),
            stage=_library.STAGES.index(stage), passes=encode(passes), sizes=array, nsizes=count)
        text = c_void_p()
        with self.session.lock:
            self.session.check(self.session._lib.program_emit(self.handle, byref(options),
                                                              byref(text)))
        return decode(take_text(text))

    def explain(self, *, function: Optional[str] = None,
                dims: Optional[Dims] = None) -> "Explanation":
        """What was fused, what was not, why, and what it costs."""
        return Explanation(self, function, dims)

    def check(self) -> None:
        """Raises ProgramError when a contract (`fuse` block) does not hold on the target."""
        with self.session.lock:
            self.session.check(self.session._lib.program_check(self.handle))


class Explanation:
    """Text in a terminal, HTML in a notebook."""

    def __init__(self, program: Program, function: Optional[str], dims: Optional[Dims]):
        self._program, self._function, self._dims = program, function, dims
        self.text = self.render("text")

    def render(self, format: str) -> str:
        """As "text", "json" or "html"."""
        if format not in _library.FORMATS:
            raise UseError(f"there is no format {format!r}; there are "
                           f"{', '.join(_library.FORMATS[:3])}")
        session, text = self._program.session, c_void_p()
        array, count = sizes(self._dims)
        with session.lock:
            session.check(session._lib.program_explain(
                self._program.handle, encode(self._function), array, count,
                _library.FORMATS.index(format), byref(text)))
        return decode(take_text(text))

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.render("html")
