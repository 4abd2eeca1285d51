"""A worker for the campaign: does with a real `AlignAI` what it is told, line by line, and says what came of it."""

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
    """What the worker can be told to do; the name of each method is the word for it."""

    def __init__(self, sdk: AlignAI) -> None:
        self._sdk = sdk

    def record(self, first: int, count: int) -> list[str]:
        """Record so many messages; their ids, which are their numbers."""
        ids = [
            self._sdk.create_message("s1", number, "user", content(number), event_id=str(number))
            for number in range(first, first + count)
        ]
        return [event_id for event_id in ids if event_id]

    def flush(self, seconds: float) -> tuple[int, float]:
        """Flush; what remains, and how long it took."""
        began = time.perf_counter()
        return self._sdk.flush(seconds).remaining, time.perf_counter() - began

    def close(self, seconds: float) -> float:
        """Close; how long it took."""
        began = time.perf_counter()
        self._sdk.close(seconds)
        return time.perf_counter() - began

    def stats(self) -> dict[str, Any]:
        """The spool's figures."""
        found = self._sdk.stats()
        return {name: getattr(found, name) for name in ("pending", "in_flight", "sent", "rejected", "dropped")}

    def resources(self) -> dict[str, int]:
        """What the process holds of the system's resources."""
        gc.collect()
        return {
            "descriptors": len(list(OPEN.iterdir())) if OPEN.is_dir() else 0,
            "threads": threading.active_count(),
            "memory": resident(),
            "peak_memory": peak(),
        }


def resident() -> int:
    """Bytes of memory in use now where the system says so, else the most ever."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak() -> int:
    """The most bytes of memory that were ever in use, where the system says so (not what `fork` was made from)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def content(number: int) -> str:
    """What the message of that number says: mostly short, now and then long."""
    rng = random.Random(number)
    words = rng.choices(["héllo", "wörld", "你好", "🙂", "ok", '"', "\\", "\n"], k=rng.choice([3, 10, 40, 40, 2000]))
    return f"{number} " + " ".join(words)


def main() -> None:
    """Read what to do, a JSON list a line, and answer each in JSON, until there is no more."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    recorder = Recorder(AlignAI(config=Config(**json.loads(sys.argv[1]))))
    for line in sys.stdin:
        word, *arguments = json.loads(line)
        print(json.dumps(getattr(recorder, word)(*arguments)), flush=True)


class Told:
    """The other end: a worker that is told what to do."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def tell(self, word: str, *arguments: object) -> Any:
        """Have it done, and hear what came of it."""
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.write(json.dumps([word, *arguments]) + "\n")
        self.popen.stdin.flush()
        answer = self.popen.stdout.readline()
        assert answer, f"the worker has died of {word}"
        return json.loads(answer)

    def end(self) -> int:
        """Let it come to its end; its exit code."""
        self.popen.communicate(timeout=60)
        return self.popen.returncode


@contextmanager
def recording(
    url: str, spool_path: Path, log: IO[str], *, script: str = SCRIPT, env: dict[str, str] | None = None, **config: Any
) -> Iterator[Told]:
    """A worker on that spool, whose log goes to the file *log*."""
    with worker(script, url, spool_path, json.dumps(config), stderr=log, env=env or {}) as popen:
        try:
            yield Told(popen)
        finally:
            popen.kill()
