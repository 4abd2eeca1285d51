"""Children of `multiprocessing` and `concurrent.futures` that record and just end."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from alignai import AlignAI, Config

sdk: AlignAI | None = None


def record(name: str) -> str | None:
    """Record an event, with the parent's client if it was inherited, and return its id."""
    global sdk  # noqa: PLW0603 - a program's own
    sdk = sdk or AlignAI(config=Config(flush_interval_ms=3_600_000, flush_timeout_seconds=20))
    return sdk.close_session(name)


def tell(name: str) -> None:
    """Record an event, and print its id."""
    sys.stdout.write(f"{record(name)}\n")
    sys.stdout.flush()


def main(method: str, kind: str, *, inherited: bool) -> None:
    """Have two children record, and do without the parent's own exit."""
    if inherited:
        tell("parent")
    context = multiprocessing.get_context(method)
    if kind == "pool":
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            sys.stdout.writelines(f"{each}\n" for each in pool.map(record, ["a", "b"]))
        sys.stdout.flush()
    else:
        for name in ("a", "b"):
            child = context.Process(target=tell, args=(name,))
            child.start()
            child.join()
            assert child.exitcode == 0
