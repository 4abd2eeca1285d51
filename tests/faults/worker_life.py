"""The life of a worker whose disk fails. Its acknowledged events are compared with those that a server received."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from alignai.spool import SpoolError
from alignai.spool.salvage.rebuild import salvage
from tests.faults.orders import Worker
from tests.faults.scenario import says_what_to_do
from tests.support.clients import PROJECT
from tests.support.spool_file import payloads
from tests.support.uploads import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.scenario import Trial
    from tests.support.servers.connect import ConnectServer

NAME = "spool.db"


class Life:
    """A worker, its disk, and the results of its calls."""

    def __init__(self, trial: Trial, folder: Path, server: ConnectServer) -> None:
        self.trial = trial
        self.rng = trial.rng
        self.folder = folder
        self.server = server
        self.done: list[str] = []
        self.refused: list[list[str]] = []
        self.given_up: set[str] = set()
        self.failed_calls = 0
        self.refused_and_sent = 0

    def environment(self, spool: Path) -> dict[str, str]:
        """Return the environment that configures the SDK."""
        settings = {"PROJECT_ID": PROJECT, "API_KEY": KEY, "HOST": self.server.url, "SPOOL_PATH": str(spool)}
        return {**os.environ, **{f"ALIGNAI_{name}": value for name, value in settings.items()}}

    @contextmanager
    def worker(
        self, spool: Path, environment: dict[str, str] | None = None, before: tuple[str, ...] = (), **config: Any
    ) -> Iterator[Worker]:
        """Start a worker that records into *spool*."""
        config = {"synchronous": self.rng.choice(["normal", "full"]), **config}
        with (self.folder / "log").open("ab") as log:
            env = {**self.environment(spool), **(environment or {})}
            with Worker.started("sdk_worker", before, env=env, stderr=log) as worker:
                self.check("it opens", worker.does(self.trial, "open", **config) == {})
                yield worker

    def check(self, what: str, holds: bool) -> None:
        self.trial.check(what, holds=holds)

    def record(self, worker: Worker, count: int, size: int = 500) -> int:
        """Record *count* events and return the number of acknowledged ones."""
        return self.recorded(worker.does(self.trial, "record", count=count, size=size))

    def recorded(self, said: dict[str, Any]) -> int:
        """Store the results of the calls and return the number of acknowledged events."""
        self.done += said["done"]
        self.refused += said["refused"]
        for kind, message in said["refused"]:
            self.check(f"an error says what to do: {kind}: {message}", says_what_to_do(message) and NAME in message)
        return len(said["done"])

    def works(self, worker: Worker) -> None:
        """Check that events are recorded and uploaded again."""
        self.check("once the disk works, events are recorded", self.record(worker, 20) == 20)
        self.uploads(worker)

    def uploads(self, worker: Worker) -> None:
        """Check that everything is uploaded."""
        said = worker.does(self.trial, "flush", seconds=30)
        self.check(f"everything is uploaded: {said}", said == {"remaining": 0, "rejected": 0})

    def ends(self, worker: Worker) -> None:
        """Check that the worker works, then close it."""
        self.works(worker)
        worker.does(self.trial, "close")

    def judge(self, way: str) -> None:
        """Compare the acknowledged events with the received ones."""
        received = set(self.server.ids())
        lost = set(self.done) - received - self.given_up
        for kept in (self.folder / "disk").glob("*.corrupt-*"):
            if kept.suffix[-4:] not in ("-wal", "nal") and lost:
                self.check("a quarantined file is logged", kept.name in self.in_log())
                lost -= self.salvaged(kept)
        self.check(f"{way}: {len(lost)} of {len(self.done)} acknowledged events are lost", not lost)
        made_up = received - set(self.done)
        # A commit whose sync failed may be found when the WAL is read again.
        self.check(f"{way}: {len(made_up)} events were refused and sent all the same", way == "errors" or not made_up)
        self.refused_and_sent = len(made_up)

    def salvaged(self, kept: Path) -> set[str]:
        """Return the ids of the events that can be salvaged from a quarantined file."""
        new = self.folder / f"new-{kept.name}"
        try:
            salvage(kept, new, PROJECT)
        except SpoolError:
            return set()
        return {json.loads(each)["id"] for each in payloads(new) if each}

    def holds_back(self, *, yes: bool) -> None:
        """Let the server refuse everything, so that the spool fills up, or accept everything again."""

        def refuse(_: object) -> None:
            raise ConnectError(Code.UNAVAILABLE, "not now")

        self.server.respond = refuse if yes else None

    def in_log(self) -> str:
        """Return the log of the worker."""
        return (self.folder / "log").read_text()
