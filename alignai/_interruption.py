"""
Distinguishing the exception of a signal handler from errors of the network and of the caller's types.

A library may have wrapped the exception, and errors of the network are TimeoutErrors as well.
"""

from __future__ import annotations

from alignai.spool import AllowingRefusal, is_interruption, is_refusal

__all__ = ["AllowingRefusal", "interruption_in", "is_interruption", "is_refusal"]


def interruption_in(error: BaseException, before: BaseException | None) -> BaseException | None:
    """
    Return the exception of a signal handler, if *error* is it or was raised because of it.

    Args:
        error: The exception that a call raised.
        before: The exception that was being handled at the time of the call, from `sys.exception`.
    """
    found = None
    candidates: list[BaseException] = [error]
    seen = [before, None]
    while candidates:
        candidate = candidates.pop()
        if is_interruption(candidate):
            found = candidate  # the innermost: urllib3 gives the traceback to the error that wraps it
        seen.append(candidate)
        candidates += [each for each in (candidate.__cause__, candidate.__context__) if each and each not in seen]
    return found
