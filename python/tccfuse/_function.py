# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Functions: what they take and return, and the path of a call."""
from __future__ import annotations

import inspect
from collections import namedtuple
from ctypes import byref, c_int64, c_void_p
from typing import Any, Callable, NamedTuple, Optional

from ._library import DTYPES, MAX_RANK, ValueInfo
from ._session import Dims, Explanation, Program, Session, decode, sizes
from ._tensors import (JAX, TORCH, Slot, Want, find_taker, new_array, new_torch, stream_of,
                       takers, to_jax)
from .errors import TensorError, UseError

_KEPT_SHAPES = 256  # of results, by those of arguments


class Value(NamedTuple):
    """A parameter or result."""

    name: str
    dtype: str  # "f32"
    axes: "tuple[str, ...]"  # names, in storage order
    sizes: "tuple[str, ...]"  # "64", "N", "2*N + 1"

    def __str__(self) -> str:
        axes = (a if a == s else f"{a} = {s}" for a, s in zip(self.axes, self.sizes))
        return self.dtype + (f"[{', '.join(axes)}]" if self.axes else "")


def _value(session: Session, ask: Any, function: int, i: int) -> Value:
    info = ValueInfo()
    session.check(ask(function, i, byref(info)))
    return Value(decode(info.name), DTYPES[info.dtype],
                 tuple(decode(a) for a in info.axes[:info.rank]),
                 tuple(decode(s) for s in info.sizes[:info.rank]))


class _Frame:
    """Handles of the tensors of one call. Frames are kept for the next."""

    __slots__ = ("args", "results", "arg_slots", "result_slots")

    def __init__(self, nargs: int, nresults: int):
        self.args, self.results = (c_void_p * max(1, nargs))(), (c_void_p * max(1, nresults))()
        self.arg_slots = [Slot(self.args, i) for i in range(nargs)]
        self.result_slots = [Slot(self.results, i) for i in range(nresults)]

    def end(self, all: bool) -> None:
        """Frees its tensors; those that stay too, if all."""
        for slots in self.arg_slots, self.result_slots:
            for slot in slots:
                if all or slot.key is None:
                    slot.end()

    def __del__(self) -> None:
        self.end(True)


class Function:
    """A compiled function: call it with arrays, by position or by the names of its parameters.

        y = f(x, gain=g)
        f(x, g, out=y)

    Arguments are NumPy arrays of any strides, PyTorch, JAX and other tensors through DLPack, buffers,
    and Python numbers where there are no axes; none is copied on the way. Results are made: PyTorch
    tensors when an argument is one, JAX arrays likewise, else NumPy arrays (memoryviews without
    NumPy); or they go to what `out` gives, a tensor or a tuple of them. Several results are a named
    tuple. The first call for new sizes compiles."""

    def __init__(self, program: Program, handle: int):  # with the session's lock
        lib = self._lib = program.session._lib
        self.program, self.session, self._handle = program, program.session, handle
        self.__name__ = self.__qualname__ = decode(lib.function_name(handle))
        self.params = tuple(_value(program.session, lib.function_param, handle, i)
                            for i in range(lib.function_params(handle)))
        self.results = tuple(_value(program.session, lib.function_result, handle, i)
                             for i in range(lib.function_results(handle)))
        self.symbols = tuple(decode(lib.function_symbol(handle, i))
                             for i in range(lib.function_symbols(handle)))
        self.dims: "dict[str, int]" = {}
        self._call, self._free = lib.call, lib.held_tensor_free
        self._nargs, self._nresults = len(self.params), len(self.results)
        self._wants = [self._want(p, False) for p in self.params]
        self._result_wants = [self._want(r, True) for r in self.results]
        self._result_codes = [w.code for w in self._result_wants]
        self._several = namedtuple(self.__name__ + "_results", [r.name for r in self.results],
                                   rename=True)
        self._frames: "list[_Frame]" = []
        self._shapes: "dict[tuple, list]" = {}

    def _want(self, value: Value, output: bool) -> Want:
        return Want(DTYPES.index(value.dtype), len(value.axes), self.session, output)

    # ---- what it is

    def __repr__(self) -> str:
        params = ", ".join(f"{p.name}: {p}" for p in self.params)
        results = ", ".join(map(str, self.results))
        if self._nresults != 1:
            results = f"({results})"
        return f"<tccfuse.Function {self.__name__}({params}) -> {results}>"

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter
        names = [kind(p.name, kind.POSITIONAL_OR_KEYWORD, annotation=str(p)) for p in self.params]
        return inspect.Signature([*names, kind("out", kind.KEYWORD_ONLY, default=None)],
                                 return_annotation=", ".join(map(str, self.results)))

    def explain(self, dims: Optional[Dims] = None) -> Explanation:
        """What was fused, what was not, why, and what it costs: text in a terminal, HTML in a
        notebook, `.render("json")`."""
        return self.program.explain(function=self.__name__, dims={**self.dims, **(dims or {})})

    def ir(self, stage: str = "tile", dims: Optional[Dims] = None, *,
           passes: Optional[str] = None) -> str:
        """The function as text at a stage: "graph", "fused", "plan", "tile", "llvm" or "asm"."""
        return self.program.ir(stage, function=self.__name__, passes=passes,
                               dims={**self.dims, **(dims or {})})

    # ---- before calls

    def keep_symbolic(self, *symbols: str, keep: bool = True) -> None:
        """Sizes that differ from call to call: one variant for all values of the symbol."""
        with self.session.lock:
            for symbol in symbols:
                self.session.check(self._lib.function_keep_symbolic(self._handle, symbol.encode(),
                                                                    keep))

    def prepare(self, *args: Any, dims: Optional[Dims] = None, **named: Any) -> None:
        """Compiles for these arguments, or for these sizes, without running. With `autotune` it runs,
        for sizes on random numbers."""
        frame, keep = _Frame(self._nargs, 0), []  # type: _Frame, list
        with self.session.lock:
            try:
                if dims is None:
                    self._take(frame, self._bind(args, named), keep)
                else:
                    self._make_arguments(frame, dims)
                self.session.check(self._lib.prepare(self._handle, frame.args, self._nargs))
            finally:
                frame.end(True)
        if dims is not None:
            self.dims = dict(dims)

    def _make_arguments(self, frame: _Frame, dims: Dims) -> None:
        lib, session = self._lib, self.session
        array, count = sizes(dims)
        shape = (c_int64 * MAX_RANK)()
        for i, want in enumerate(self._wants):
            session.check(lib.function_param_dims(self._handle, i, array, count, shape))
            session.check(lib.tensor_new(session.handle, want.code, want.rank, shape,
                                         frame.arg_slots[i].at))
            if session.autotune:
                lib.tensor_fill_random(frame.args[i], i + 1)

    def bind(self, *args: Any, out: Any, **named: Any) -> Callable[[], Any]:
        """A call without arguments: it reads and writes the memory that these tensors have now, and
        returns `out`. Nothing is looked at again, so none of them may be resized meanwhile."""
        args, frame, keep = self._bind(args, named), _Frame(self._nargs, self._nresults), []
        self._take(frame, args, keep)
        self._take_results(frame, self._given(out), keep)
        stream = stream_of(keep)

        def run() -> Any:
            self._run(frame, stream)
            return out
        run.kept = args, keep  # type: ignore[attr-defined]
        return run

    def _take(self, frame: _Frame, args: tuple, keep: list) -> None:
        for i, value in enumerate(args):
            try:
                (takers.get(type(value)) or find_taker(value))[0](value, frame.arg_slots[i],
                                                                  self._wants[i], keep)
            except TensorError as e:
                raise _named("argument", self.params[i], e) from e.__cause__

    def _take_results(self, frame: _Frame, results: "tuple | list", keep: list) -> None:
        outputs = 0
        for value, slot, want in zip(results, frame.result_slots, self._result_wants):
            try:
                (takers.get(type(value)) or find_taker(value))[0](value, slot, want, keep)
            except TensorError as e:
                raise _named("result", self.results[outputs], e) from e.__cause__
            outputs += 1

    def _run(self, frame: _Frame, stream: Optional[int]) -> None:
        session = self.session
        with session.lock:
            if stream is None:
                status = self._call(self._handle, frame.args, self._nargs, frame.results,
                                    self._nresults)
            else:
                status = self._lib.call_on_stream(self._handle, frame.args, self._nargs,
                                                  frame.results, self._nresults, stream)
            if status or session._received:
                session.check(status)

    # ---- calls

    def __call__(self, *args: Any, out: Any = None, **named: Any) -> Any:
        if named or len(args) != self._nargs:
            args = self._bind(args, named)
        frames = self._frames
        try:
            frame = frames.pop()
        except IndexError:
            frame = _Frame(self._nargs, self._nresults)
        arguments = 0
        kind, like = 0, None
        shapes: list = []
        keep: list = []
        try:
            for value, slot, want in zip(args, frame.arg_slots, self._wants):
                try:
                    taker, is_of = takers.get(type(value)) or find_taker(value)
                    shapes.append(taker(value, slot, want, keep))
                except TensorError as e:
                    raise _named("argument", self.params[arguments], e) from e.__cause__
                arguments += 1
                if is_of > kind:
                    kind, like = is_of, value
            if out is None:
                key = tuple(shapes)
                result_shapes = self._shapes.get(key) or self._find_shapes(key, frame)
                if kind == TORCH:
                    results = [new_torch(s, c, like)
                               for s, c in zip(result_shapes, self._result_codes)]
                else:
                    results = [new_array(s, c) for s, c in zip(result_shapes, self._result_codes)]
            else:
                results = self._given(out)
            self._take_results(frame, results, keep)
            self._run(frame, stream_of(keep) if keep else None)
        finally:
            if keep:
                frame.end(False)
            frames.append(frame)
        if out is not None:
            return out
        if kind == JAX:
            results = [to_jax(r) for r in results]
        return results[0] if self._nresults == 1 else self._several(*results)

    def _bind(self, args: tuple, named: "dict[str, Any]") -> tuple:
        """Arguments in the order of the parameters."""
        if len(args) > self._nargs:
            many = "" if self._nargs == 1 else "s"
            raise UseError(f"{self.__name__} takes {self._nargs} argument{many}, not {len(args)}")
        bound = list(args)
        for p in self.params[len(args):]:
            if p.name not in named:
                raise UseError(f"{self.__name__} needs the argument {p.name}: {p}")
            bound.append(named.pop(p.name))
        for name in named:
            taken = any(p.name == name for p in self.params)
            raise UseError(f"the argument {name} of {self.__name__} is given twice" if taken else
                           f"{self.__name__} has no parameter {name}; it has "
                           f"{', '.join(p.name for p in self.params)}")
        return tuple(bound)

    def _given(self, out: Any) -> "tuple | list":
        results = out if isinstance(out, (tuple, list)) else (out,)
        if len(results) != self._nresults:
            many = "" if self._nresults == 1 else "s"
            raise UseError(f"{self.__name__} has {self._nresults} result{many}, not {len(results)}: "
                           "out is a tensor, or a tuple with one for each result")
        return results

    def _find_shapes(self, key: tuple, frame: _Frame) -> list:
        """The shapes of results for arguments of these shapes."""
        known: "dict[str, int]" = {}
        for value, shape in zip(self.params, key):
            known.update((s, n) for s, n in zip(value.sizes, shape) if s in self.symbols)
        with self.session.lock:
            shapes = self._shapes_by_symbols(known)
            if shapes is None:  # sizes that only the library solves, or arguments that do not fit
                shapes = self._shapes_by_call(frame)
        if len(self._shapes) >= _KEPT_SHAPES:
            self._shapes.clear()
        self._shapes[key] = shapes
        return shapes

    def _shapes_by_symbols(self, known: "dict[str, int]") -> "list | None":
        array, count = sizes(known)
        dims, shapes = (c_int64 * MAX_RANK)(), []
        for i, value in enumerate(self.results):
            if self._lib.function_result_dims(self._handle, i, array, count, dims):
                self.session.forget()
                return None
            shapes.append(tuple(dims[:len(value.axes)]))
        return shapes

    def _shapes_by_call(self, frame: _Frame) -> list:
        made = (c_void_p * max(1, self._nresults))()
        self.session.check(self._call(self._handle, frame.args, self._nargs, made, self._nresults))
        shapes = []
        for handle, value in zip(made, self.results):
            shapes.append(tuple(self._lib.tensor_dims(handle)[:len(value.axes)]))
            self._free(handle)
        return shapes


def _named(what: str, value: Value, error: TensorError) -> TensorError:
    return TensorError(f"{what} {value.name} {error}")
