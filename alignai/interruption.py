"""
What a signal handler raises while the calling thread uploads, told from what the network and the caller's types raise.

A library may have wrapped it, and the network's errors are TimeoutErrors as well.
"""

from __future__ import annotations

from alignai.spool import AllowingRefusal, is_interruption, is_refusal

__all__ = ["AllowingRefusal", "interruption_in", "is_interruption", "is_refusal"]


def interruption_in(error: BaseException, before: BaseException | None) -> BaseException | None:
    """
    Return what a signal handler has raised, if *error* is that or was made of it.

    Args:
        error: What came out of a call.
        before: What was being handled when the call was made, as `sys.exception` says.
    """
    found = None
    candidates: list[BaseException] = [error]
    seen = [before, None]
    while candidates:
        candidate = candidates.pop()
        if is_interruption(candidate):
            found = candidate  # the innermost: urllib3 gives the traceback to the error that it wraps this in
        seen.append(candidate)
        candidates += [each for each in (candidate.__cause__, candidate.__context__) if each and each not in seen]
    return found
