"""A recording of the writes and syncs of a process, made by strace, which sees every system call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
STRACE = "strace"
_CALLS = (
    "open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,"
    "unlink,unlinkat,rename,renameat,renameat2,link,linkat,mknod,mknodat"
)
_LONGEST = 16 << 20
_SECONDS = 120

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPENED = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")


@dataclass(frozen=True, slots=True)
class Step:
    """
    A system call on a file, as it begins or as it ends.

    Attributes:
        call: The number of the call, the same for its beginning and its end.
        name: "write", "truncate", "sync", "make", "unlink" or "rename".
        path: The file, or the folder that is synced.
        begins: True for the beginning of a call, False for its end, None for both with nothing in between.
        offset: The offset of a write, -1 for the end of the file, or the length of a truncated file.
        data: The written bytes.
        to: The new name.
    """

    call: int
    name: str
    path: str
    begins: bool | None
    offset: int = 0
    data: bytes = b""
    to: str = ""


@cache
def cannot_record() -> str:
    """Return the reason why nothing can be recorded here, or an empty string."""
    if not sys.platform.startswith("linux") or not shutil.which(STRACE):
        return "a recording needs strace (Debian: apt-get install strace)"
    tried = subprocess.run([STRACE, "-y", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace here (no ptrace permission)"


def record(module: str, folder: Path, *arguments: object) -> list[Step]:
    """Run `python -m MODULE FOLDER ARGUMENTS…` and return its operations on the files in *folder*, in order."""
    trace = folder.parent / f"{folder.name}.strace"
    strace = [STRACE, "-f", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={_CALLS}", "-e", "signal=none"]
    command = [*strace, "-o", str(trace), sys.executable, "-m", module, str(folder), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    with trace.open() as lines:
        steps = [step for step in _steps(lines) if step.path == str(folder) or _in(folder, step)]
    trace.unlink()
    return steps


def _in(folder: Path, step: Step) -> bool:
    return Path(step.path).parent == folder


def _steps(lines: Iterator[str]) -> Iterator[Step]:
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if not match:
            continue
        thread, rest = match[1], match["rest"]
        if match["resumed"]:
            call, name, before = begun.pop(thread)
            if _worked(rest):
                yield from _step(call, name, before + rest, begins=False)
        elif rest.endswith("<unfinished ...>"):
            begun[thread] = number, match["name"], rest.removesuffix("<unfinished ...>")
            yield from _step(number, match["name"], begun[thread][2], begins=True)
        elif _worked(rest):
            yield from _step(number, match["name"], rest, begins=None)


def _worked(rest: str) -> bool:
    return not rest.rpartition(" = ")[2].startswith(("-1", "?"))


def _step(call: int, name: str, rest: str, *, begins: bool | None) -> Iterator[Step]:  # noqa: C901 - a table
    texts = [_decoded(text) for text in _TEXT.findall(rest)]
    numbers = [int(number) for number in re.findall(r", (\d+)(?=[,) ]|$)", rest)]
    opened = _OPENED.match(rest)
    path = os.fsdecode(_decoded(opened[1])) if opened else ""
    if opened and opened[2]:
        return  # the file has no name any more
    if name == "pwrite64":
        yield Step(call, "write", path, begins, numbers[1], texts[0])
    elif name == "write":
        yield Step(call, "write", path, begins, -1, texts[0])
    elif name == "ftruncate":
        yield Step(call, "truncate", path, begins, numbers[0])
    elif name in ("fsync", "fdatasync"):
        yield Step(call, "sync", path, begins)
    elif name == "openat" and "O_CREAT" in rest:
        yield Step(call, "make", os.fsdecode(texts[0]), begins)
    elif name in ("mknod", "mknodat"):
        yield Step(call, "make", os.fsdecode(texts[-1]), begins)
    elif name == "fallocate":
        yield Step(call, "truncate", path, begins, numbers[1] + numbers[2])  # the spool does this to empty files only
    elif name == "truncate":
        yield Step(call, "truncate", os.fsdecode(texts[0]), begins, numbers[0])
    elif name in ("unlink", "unlinkat"):
        yield Step(call, "unlink", os.fsdecode(texts[-1]), begins)
    elif name == "rename":
        yield Step(call, "rename", os.fsdecode(texts[0]), begins, to=os.fsdecode(texts[1]))
    elif name != "openat" and path:
        yield Step(call, f"unexpected {name}", path, begins)


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
