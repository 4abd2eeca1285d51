"""A folder in memory, for tests that write much and do not ask for durability."""

from __future__ import annotations

import os
from pathlib import Path


def in_memory() -> Path | None:
    """Return a folder in memory, whose syncs cost nothing, or None if there is none."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None
