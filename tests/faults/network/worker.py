"""A worker that runs commands on a real `AlignAI`, line by line, and prints the results."""

from __future__ import annotations

import gc
import json
import logging
import random
import resource
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from alignai import AlignAI, Config
from tests.support.clients import worker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

OPEN = Path("/proc/self/fd")
SCRIPT = "from tests.faults.network.worker import main; main()"


class Recorder:
    """The commands of the worker. Each command has the name of its method."""

    def __init__(self, sdk: AlignAI) -> None:
        self._sdk = sdk

    def record(self, first: int, count: int) -> list[str]:
        """Record *count* messages and return their ids, which are their numbers."""
        ids = [
            self._sdk.create_message("s1", number, "user", content(number), event_id=str(number))
            for number in range(first, first + count)
        ]
        return [event_id for event_id in ids if event_id]

    def flush(self, seconds: float) -> tuple[int, float]:
        """Flush and return the number of remaining events and the seconds that it took."""
        began = time.perf_counter()
        return self._sdk.flush(seconds).remaining, time.perf_counter() - began

    def close(self, seconds: float) -> float:
        """Close and return the seconds that it took."""
        began = time.perf_counter()
        self._sdk.close(seconds)
        return time.perf_counter() - began

    def stats(self) -> dict[str, Any]:
        """Return the figures of the spool."""
        found = self._sdk.stats()
        return {name: getattr(found, name) for name in ("pending", "in_flight", "sent", "rejected", "dropped")}

    def resources(self) -> dict[str, int]:
        """Return the resources that the process holds."""
        gc.collect()
        return {
            "descriptors": len(list(OPEN.iterdir())) if OPEN.is_dir() else 0,
            "threads": threading.active_count(),
            "memory": resident(),
            "peak_memory": peak(),
        }


def resident() -> int:
    """Return the bytes of memory in use, or the maximum so far if the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak() -> int:
    """Return the maximum bytes of memory in use. On Linux this excludes the memory of the forking parent."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def content(number: int) -> str:
    """Return the content of message *number*: mostly short, sometimes long."""
    rng = random.Random(number)
    words = rng.choices(["héllo", "wörld", "你好", "🙂", "ok", '"', "\\", "\n"], k=rng.choice([3, 10, 40, 40, 2000]))
    return f"{number} " + " ".join(words)


def main() -> None:
    """Read commands, one JSON list per line, and answer each in JSON until the input ends."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    recorder = Recorder(AlignAI(config=Config(**json.loads(sys.argv[1]))))
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(recorder, command)(*arguments)), flush=True)


class RemoteWorker:
    """The other end: a worker process to call."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def call(self, command: str, *arguments: object) -> Any:
        """Run a command and return its result."""
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.popen.stdin.flush()
        answer = self.popen.stdout.readline()
        assert answer, f"the worker died during {command}"
        return json.loads(answer)

    def end(self) -> int:
        """Let it end and return its exit code."""
        self.popen.communicate(timeout=60)
        return self.popen.returncode


@contextmanager
def recording(
    url: str, spool_path: Path, log: IO[str], *, script: str = SCRIPT, env: dict[str, str] | None = None, **config: Any
) -> Iterator[RemoteWorker]:
    """Run a worker on that spool. Its log goes to the file *log*."""
    with worker(script, url, spool_path, json.dumps(config), stderr=log, env=env or {}) as popen:
        try:
            yield RemoteWorker(popen)
        finally:
            popen.kill()
