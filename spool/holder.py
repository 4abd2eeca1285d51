"""The state of the process that uploads, as far as another process can see it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .interruption import AllowingRefusal, is_refusal
from .storage.paths import lease_of

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

STATES = {
    "running": "running",
    "stopped": "stopped: nothing is uploaded until it continues or ends",
    "left behind": "gone, but a process that it started holds the lease: nothing is uploaded until that ends",
    "dead": "dead: the next worker takes over",
    "unknown": "it cannot be found out whether it runs",
}


def state_of(pid: int, host: str, spool_path: Path | str) -> str:
    """
    Return which of `STATES` the process is in that holds the lease, or held it last.

    Whether the process lives is asked of the lock. It may have been killed, and another process have its number by now.

    Args:
        pid: The number of the process, as the spool has it.
        host: The machine that the process runs on.
        spool_path: The spool.
    """
    held = is_held(spool_path)
    if not held:
        return "unknown" if held is None else "dead"
    if sys.platform == "win32" or host != _hostname():
        return "running"
    if _is_gone(pid):
        return "left behind"
    return "stopped" if _is_stopped(pid) else "running"


def _hostname() -> str:
    import socket  # noqa: PLC0415 - not needed unless a process uploads

    return socket.gethostname()


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OverflowError:
        return False
    except OSError as error:
        if not is_refusal(error):
            raise
        return isinstance(error, ProcessLookupError)
    return False


def _is_stopped(pid: int) -> bool:
    """Return whether a signal or a debugger has stopped the process. False if the system does not say (Linux does)."""
    text = ""
    with AllowingRefusal(), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        text = file.read()
    return text.rpartition(") ")[2][:1] in {"T", "t"}


def is_held(spool_path: Path | str) -> bool | None:
    """
    Return whether any process holds the lease, or None if that cannot be found out. Nothing is created or delayed.

    A process number would not do: the process may be gone and another one have its number, or be in a container.
    """
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(lease_of(spool_path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if not is_refusal(error):
            raise
        return False if isinstance(error, FileNotFoundError) else None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if not is_refusal(error):
            raise
        return True if isinstance(error, BlockingIOError) else None
    finally:
        os.close(descriptor)
    return False
