"""
What a signal handler raises, told from what the system or a library raises.

A handler's exception belongs to the caller, whatever kind it is of. Often it is a TimeoutError, and so an OSError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_CO_VARARGS = 0x04
"""As in `inspect`, which takes long to import."""


def is_interruption(error: BaseException) -> bool:
    """
    Return whether a signal handler, or Ctrl-C, has raised *error*.

    Python calls a handler with the frame that it interrupts, which is also the one that it is called from.
    """
    step = error.__traceback__
    while step:
        if _is_handler(step.tb_frame):
            return True
        step = step.tb_next
    return isinstance(error, KeyboardInterrupt)


def _is_handler(frame: FrameType) -> bool:
    code, found = frame.f_code, frame.f_locals
    if code.co_flags & _CO_VARARGS:
        rest = found.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
    else:
        rest = ()
    given = (*(found.get(name) for name in code.co_varnames[: code.co_argcount]), *rest)
    return frame.f_back is not None and any(each is frame.f_back for each in given)


def is_refusal(error: BaseException) -> bool:
    """Return whether *error* is what the system refuses, which has a number."""
    return isinstance(error, OSError) and error.errno is not None and not is_interruption(error)


class AllowingRefusal:
    """Go on if the system refuses something, or only if it does so by an error of one of these *kinds*."""

    def __init__(self, *kinds: type[OSError]) -> None:
        self._kinds = kinds or (OSError,)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        return isinstance(error, self._kinds) and is_refusal(error)
