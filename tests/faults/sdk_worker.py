"""
A worker that records through the SDK on request and reports the result of each call.

Orders come on standard input as one JSON object per line. Each is answered with one.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import uuid
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai import AlignAI, Config
from alignai.spool import SpoolError, load_filelock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Worker:
    """
    The client that carries out the orders.

    Attributes:
        name: The beginning of the ids of its events.
    """

    def __init__(self) -> None:
        self.sdk: AlignAI | None = None
        self.number = 0
        self.name = uuid.uuid4().hex[:12]  # process ids repeat, in containers

    def open(self, **config: Any) -> dict[str, Any]:
        """Create the client."""
        self.sdk = AlignAI(config=Config(flush_interval_ms=20, **config))
        return {}

    def record(self, count: int, size: int, stray: int = 0, *, copies: bool = False) -> dict[str, Any]:
        """
        Record *count* messages. Return the ids of the acknowledged ones and the errors of the others.

        Args:
            count: The number of messages.
            size: The characters of each.
            stray: The number of messages after which the spool's file is opened and closed, 0 for never.
            copies: If true, another thread copies the spool's folder all the time.
        """
        with _copying() if copies else nullcontext():
            return self._record(count, size, stray)

    def _record(self, count: int, size: int, stray: int) -> dict[str, Any]:
        assert self.sdk
        done: list[str] = []
        refused: list[list[str]] = []
        for _ in range(count):
            self.number += 1
            event_id = f"{self.name}-{self.number}"
            try:
                self.sdk.create_message("s", self.number, "user", "x" * size, event_id=event_id)
            except SpoolError as error:
                refused.append([type(error).__name__, str(error)])
            else:
                done.append(event_id)
            if stray and not self.number % stray:
                Path(os.environ["ALIGNAI_SPOOL_PATH"]).open("rb").close()
        return {"done": done, "refused": refused}

    def limit(self, size: int | None) -> dict[str, Any]:
        """Let no file grow beyond *size* bytes. It stands for a full disk if none can be mounted."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size or resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return {}

    def become(self, user: int) -> dict[str, Any]:
        """Go on as a user without rights, not even to read Python's modules."""
        load_filelock()
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        return {}

    def flush(self, seconds: float) -> dict[str, Any]:
        """Upload all pending events."""
        assert self.sdk
        try:
            result = self.sdk.flush(seconds)
        except SpoolError as error:
            return {"error": type(error).__name__, "message": str(error)}
        return {"remaining": result.remaining, "rejected": result.rejected}

    def close(self) -> dict[str, Any]:
        """Close the client."""
        assert self.sdk
        self.sdk.close(10)
        return {}


@contextmanager
def _copying() -> Iterator[None]:
    """Copy the spool's folder on a thread all the time. Each copy opens and closes every file in it."""
    over = threading.Event()

    def copy() -> None:
        while not over.is_set():
            with tempfile.TemporaryDirectory() as folder, suppress(OSError, shutil.Error):
                shutil.copytree(Path(os.environ["ALIGNAI_SPOOL_PATH"]).parent, Path(folder) / "copy")

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Carry out orders until there are no more."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    worker = Worker()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(worker, order.pop("order"))(**order)
        except SpoolError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except Exception:  # noqa: BLE001 - any other exception is a finding
            answer = {"crash": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
