"""The machine that is measured, without its name or any path."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine(work: Path) -> dict[str, str]:
    """Return processor, kernel and file system. *work* is the folder of the spools."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(work),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    """Return the kind of the file system that holds *folder*, that of the longest mount point above it."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    kinds = {mount: kind for _, mount, kind, *_ in map(str.split, mounts.read_text(encoding="utf-8").splitlines())}
    above = [str(each) for each in (folder.resolve(), *folder.resolve().parents)]
    return next(kinds[each] for each in above if each in kinds)
