"""Exceptions raised at any line of the spool, as a signal handler may raise them."""

from __future__ import annotations

import ast
import errno
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import alignai.spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_HERE = str(Path(alignai.spool.__file__).parent)


class TimeLimitError(Exception):
    """The exception of a soft time limit."""


class HandlerError(TimeoutError, RuntimeError, ValueError):
    """An error of many kinds, with a number, such as the system raises."""

    def __init__(self, where: str) -> None:
        super().__init__(errno.ENOENT, where)


class Interrupter:
    """
    A context that raises *error* in the calling thread at line number *at*, counted over the lines run in *inside*.

    Attributes:
        lines: The number of lines that have run.
        first: The number at which each line of a file has run first.
        where: The line that was interrupted, empty if there was none.
    """

    def __init__(
        self, at: int, error: type[BaseException] = TimeLimitError, inside: tuple[str, ...] = (_HERE,)
    ) -> None:
        self.lines = 0
        self.first: dict[tuple[str, int], int] = {}
        self.where = ""
        self._at = at
        self._error = error
        self._inside = inside

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        if not frame.f_code.co_filename.startswith(self._inside) or _in_finaliser(frame):
            return None
        if event == "line":
            self.lines += 1
            self.first.setdefault((frame.f_code.co_filename, frame.f_lineno), self.lines)
            if self.lines == self._at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise self._error(self.where)
        return self._trace


def _in_finaliser(frame: FrameType | None) -> bool:
    """Python itself swallows what a finaliser raises."""
    while frame and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def guarded_lines(call: Callable[[], object], inside: tuple[str, ...] = (_HERE,)) -> list[int]:
    """Run *call* and return the number at which each line inside a block that translates errors has run first."""
    with Interrupter(0, inside=inside) as interrupter:
        call()
    return [number for (file, line), number in interrupter.first.items() if line in _guarded(file)]


@cache
def _guarded(file: str) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Try) and node.handlers:
            guarded = True
        else:
            text = " ".join(ast.unparse(item) for item in node.items) if isinstance(node, ast.With) else ""
            guarded = "suppress(" in text or "AllowingRefusal(" in text
        for statement in node.body if guarded else []:  # type: ignore[attr-defined] # both kinds have one
            lines |= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return lines


def interrupt(
    call: Callable[[], object],
    at: int,
    error: type[BaseException] = TimeLimitError,
    inside: tuple[str, ...] = (_HERE,),
) -> str:
    """
    Interrupt *call* at its line number *at* in *inside*, on a thread of its own; check that it raises the exception.

    The thread is new, since Python may keep the exception of a context manager's exit as the context of every later
    exception of the thread.

    Returns:
        The interrupted line, or an empty string if the call has no such line.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_interrupt, call, at, error, inside).result()


def _interrupt(call: Callable[[], object], at: int, error: type[BaseException], inside: tuple[str, ...]) -> str:
    with Interrupter(at, error, inside) as interrupter:
        try:
            call()
        except error:
            return interrupter.where
    assert not interrupter.where, f"{error.__name__} was swallowed at {interrupter.where}"
    return ""
