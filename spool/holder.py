"""How the process that uploads is, as far as another one can tell."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .interruption import AllowingRefusal, is_refusal
from .lease import is_held

if TYPE_CHECKING:
    from .records import LeaseHolder

STATES = {
    "running": "running",
    "stopped": "stopped: nothing is uploaded until it continues or ends",
    "left behind": "gone, but a process that it started holds the lease: nothing is uploaded until that ends",
    "dead": "dead: the next worker takes over",
    "unknown": "it cannot be found out whether it runs",
}


def state_of(holder: LeaseHolder, spool_path: Path) -> str:
    """
    Return one of `STATES`.

    The lock is asked whether the process lives: it may have died without a word, and its number be another's by now.
    """
    held = is_held(spool_path)
    if not held:
        return "unknown" if held is None else "dead"
    if holder.host != socket.gethostname() or sys.platform == "win32":
        return "running"
    if _is_gone(holder.pid):
        return "left behind"
    return "stopped" if _is_stopped(holder.pid) else "running"


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
    """Whether a signal or a debugger has stopped the process, where the system tells (Linux)."""
    text = ""
    with AllowingRefusal():
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(") ")[2][:1] in {"T", "t"}
