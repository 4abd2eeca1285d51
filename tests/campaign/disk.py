"""
The disk fails: it is full, read-only, gone, replaced, or returns errors, now and then or for a while.

A worker records and uploads through the SDK while its disk fails and works again, in every way that this machine lets
us try. What the calls returned is compared with what a real server has received.

- A call returns an id or raises `SpoolFullError` or `SpoolError` with what to do; a full disk is told as a full disk.
- What was acknowledged arrives, and nothing that was refused does. Of what was acknowledged before somebody deleted
  the folder or put another file in the spool's place, only what had been uploaded by then is expected.
- Once the disk works, so does the worker, by itself: it records, and everything is uploaded.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from alignai.spool.cli import main
from tests.campaign.bad_disk import Faults, cannot_mount, cannot_shim, fill, make_read_only, small_disk
from tests.campaign.orders import Worker, in_memory
from tests.clients import PROJECT
from tests.servers.connect import ConnectServer
from tests.spool.look import payloads, wal
from tests.uploads import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.campaign.point import Run, Trial

NAME = "spool.db"
MIB = 1 << 20
NOBODY = 65534


def run(run: Run) -> None:
    """Go through all the ways in which a disk fails, again and again, with other figures each time."""
    ways = list(FAILURES.items())
    for number, trial in enumerate(run.trials()):
        way, (fails, cannot) = ways[number % len(ways)] if run.only is None else ways[run.only % len(ways)]
        if why := cannot():
            run.count(**{f"{way} not tried, {why}": 1})
            continue
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder, ConnectServer() as server:
            life = Life(trial, Path(folder), server)
            fails(life)
            life.judge(way)
        run.count(**{way: 1}, acknowledged=len(life.done), refused=len(life.refused))
        run.count(failed_calls=life.failed_calls, refused_and_sent=life.refused_and_sent)


class Life:
    """A worker, its disk, and what it was told."""

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
        """All that the SDK wants to know."""
        ours = {"PROJECT_ID": PROJECT, "API_KEY": KEY, "HOST": self.server.url, "SPOOL_PATH": str(spool)}
        return {**os.environ, **{f"ALIGNAI_{name}": value for name, value in ours.items()}}

    @contextmanager
    def worker(self, spool: Path, environment: dict[str, str] | None = None, **config: Any) -> Iterator[Worker]:
        """One that records into this spool."""
        config = {"synchronous": self.rng.choice(["normal", "full"]), **config}
        with (self.folder / "log").open("ab") as log:
            env = {**self.environment(spool), **(environment or {})}
            with Worker.started("disk_worker", env=env, stderr=log) as worker:
                self.check("it opens", worker.does(self.trial, "open", **config) == {})
                yield worker

    def check(self, what: str, holds: bool) -> None:
        self.trial.check(what, holds=holds)

    def record(self, worker: Worker, count: int, size: int = 500) -> int:
        """Record so many events; how many were acknowledged."""
        said = worker.does(self.trial, "record", count=count, size=size)
        self.done += said["done"]
        self.refused += said["refused"]
        for kind, message in said["refused"]:
            self.check(f"an error says what to do: {kind}: {message}", " - " in message and NAME in message)
        return len(said["done"])

    def works(self, worker: Worker) -> None:
        """See that all is well again: what is recorded is taken, and uploaded."""
        self.check("once the disk works, events are recorded", self.record(worker, 20) == 20)
        self.uploads(worker)

    def uploads(self, worker: Worker) -> None:
        """See that everything is uploaded."""
        said = worker.does(self.trial, "flush", seconds=30)
        self.check(f"everything is uploaded: {said}", said == {"remaining": 0, "rejected": 0})

    def ends(self, worker: Worker) -> None:
        """See that it works, then close."""
        self.works(worker)
        worker.does(self.trial, "close")

    def judge(self, way: str) -> None:
        """Compare what was promised with what was received."""
        received = set(self.server.ids())
        lost = set(self.done) - received - self.given_up
        for aside in (self.folder / "disk").glob("*.corrupt-*"):
            if aside.suffix[-4:] not in ("-wal", "nal") and lost:
                self.check("what is set aside is logged", aside.name in self.in_log())
                lost -= self.salvaged(aside)
        self.check(f"{way}: {len(lost)} of {len(self.done)} acknowledged events are lost", not lost)
        made_up = received - set(self.done)
        # What a failing sync has written may come to light when the log is read again.
        self.check(f"{way}: {len(made_up)} events were refused and sent all the same", way == "errors" or not made_up)
        self.refused_and_sent = len(made_up)

    def salvaged(self, aside: Path) -> set[str]:
        """What can be read out of a file that was set aside."""
        new = self.folder / f"new-{aside.name}"
        if main(["salvage", str(aside), str(new), "--json", "--project-id", PROJECT]) == 2:
            return set()
        return {json.loads(each)["id"] for each in payloads(new) if each}

    def holds_back(self, *, yes: bool) -> None:
        """Let the server take nothing, so that the spool fills up; or everything again."""

        def refuse(_: object) -> None:
            raise ConnectError(Code.UNAVAILABLE, "not now")

        self.server.respond = refuse if yes else None

    def in_log(self) -> str:
        """What the worker has logged."""
        return (self.folder / "log").read_text()


# -- the ways in which it fails ----------------------------------------------------------------------------------------


def full(life: Life) -> None:
    """A real disk is filled up, by the spool itself or by somebody else, and has room again."""
    with small_disk(life.folder / "disk", life.rng.randrange(2, 8) * MIB) as disk, life.worker(disk / NAME) as worker:
        life.holds_back(yes=life.rng.random() < 0.5)
        life.record(worker, life.rng.randrange(100))
        filler = fill(disk, life.rng.choice([0, 0, 4096, 40_960, 400_000]))
        life.record(worker, 3000, life.rng.choice([200, 5000]))
        _expect_refusals(life, {"SpoolFullError"})
        filler.unlink()
        life.holds_back(yes=False)
        life.ends(worker)


def limited(life: Life) -> None:
    """No file may grow, which is how a quota looks, and then they may."""
    (life.folder / "disk").mkdir()
    with life.worker(life.folder / "disk" / NAME) as worker:
        life.record(worker, life.rng.randrange(1, 100))
        sizes = [path.stat().st_size for path in (life.folder / "disk").iterdir()]
        worker.does(life.trial, "limit", size=max(sizes) + life.rng.choice([0, 100, 5000, 50_000]))
        life.record(worker, 500, 5000)
        _expect_refusals(life, {"SpoolFullError", "SpoolError"})  # SQLite knows ENOSPC as full, and EFBIG as an error
        worker.does(life.trial, "limit", size=None)
        life.ends(worker)


def _expect_refusals(life: Life, expected: set[str]) -> None:
    kinds = {kind for kind, _ in life.refused}
    life.check(f"a full disk is refused as one: {kinds} {life.refused[:1]}", bool(kinds) and kinds <= expected)


def read_only(life: Life) -> None:
    """A disk is read-only before the worker starts: it says so, and starts once that has been mended."""
    with small_disk(life.folder / "disk", 8 * MIB) as disk:
        if life.rng.random() < 0.5:
            with life.worker(disk / NAME) as worker:
                life.ends(worker)
        make_read_only(disk, yes=True)
        _refuses_to_open(life, disk / NAME)
        make_read_only(disk, yes=False)
        with life.worker(disk / NAME) as worker:
            life.ends(worker)


def forbidden(life: Life) -> None:
    """Folder or file may not be used by whom the worker runs as."""
    disk = life.folder / "disk"
    disk.mkdir()
    life.folder.chmod(0o755)
    with life.worker(disk / NAME) as worker:
        life.ends(worker)
    life.rng.choice([disk, disk / NAME]).chmod(0o400)
    _refuses_to_open(life, disk / NAME, user=NOBODY if os.geteuid() == 0 else None)


def _refuses_to_open(life: Life, spool: Path, user: int | None = None) -> None:
    environment = {
        **os.environ,
        "ALIGNAI_PROJECT_ID": PROJECT,
        "ALIGNAI_API_KEY": KEY,
        "ALIGNAI_SPOOL_PATH": str(spool),
    }
    with Worker.started("disk_worker", env=environment) as worker:
        if user is not None:
            worker.does(life.trial, "become", user=user)
        said = worker.does(life.trial, "open")
    life.check(f"what cannot be written is refused: {said}", said.get("error") == "SpoolError")
    life.check(f"the error says what to do: {said}", " - " in said["message"] and "check" in said["message"])


def errors(life: Life) -> None:
    """Calls of the system fail, some or all of them, for a while."""
    (life.folder / "disk").mkdir()
    faults = Faults(life.folder)
    with life.worker(life.folder / "disk" / NAME, faults.environment) as worker:
        for _ in range(life.rng.randrange(1, 5)):
            life.holds_back(yes=life.rng.random() < 0.3)
            life.record(worker, life.rng.randrange(50))
            faults.begin(
                life.rng.choice([errno.EIO, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS]),
                life.rng.choice([10, 100, 500, 1000]),
                **{kind: life.rng.random() < 0.6 for kind in ("writes", "syncs", "reads")},
            )
            life.record(worker, life.rng.randrange(300), life.rng.choice([200, 5000]))
            life.failed_calls += faults.end()
            life.holds_back(yes=False)
            life.works(worker)
        life.ends(worker)


def gone(life: Life) -> None:
    """The folder, the file, or one beside it is deleted, or another put in its place, under a running worker."""
    disk = life.folder / "disk"
    disk.mkdir()
    other = disk / "other.db"
    with life.worker(other, sender=False) as worker:
        life.record(worker, 30)
        worker.does(life.trial, "close")
    theirs = set(life.done)
    with life.worker(disk / NAME) as worker:
        for _ in range(life.rng.randrange(1, 4)):
            life.works(worker)
            life.holds_back(yes=life.rng.random() < 0.5)
            before = set(life.done)
            life.record(worker, life.rng.randrange(60))
            life.given_up |= set(life.done) - before - set(life.server.ids())
            life.rng.choice([_delete_folder, _delete_file, _delete_all, _put_text, _put_other])(disk)
            life.record(worker, life.rng.randrange(200))
            life.holds_back(yes=False)
        life.ends(worker)
    life.given_up |= theirs
    life.check("the loss is logged", "was deleted or replaced" in life.in_log() or "was damaged" in life.in_log())


def _delete_folder(disk: Path) -> None:
    shutil.rmtree(disk)


def _delete_file(disk: Path) -> None:
    (disk / NAME).unlink()


def _delete_all(disk: Path) -> None:
    for each in disk.glob(f"{NAME}*"):
        each.unlink()


def _put_text(disk: Path) -> None:
    (disk / "text").write_text("This is no database.\n" * 100)
    (disk / "text").replace(disk / NAME)


def _put_other(disk: Path) -> None:
    if not (disk / "other.db").exists():  # it went with the folder
        _delete_file(disk)
        return
    wal(disk / NAME).unlink()
    shutil.copy(disk / "other.db", disk / "copy.db")
    (disk / "copy.db").replace(disk / NAME)


def nothing() -> str:
    """It can be tried everywhere."""
    return ""


FAILURES: dict[str, tuple[Callable[[Life], None], Callable[[], str]]] = {
    "full": (full, cannot_mount),
    "limited": (limited, nothing),
    "read-only": (read_only, cannot_mount),
    "forbidden": (forbidden, nothing),
    "errors": (errors, cannot_shim),
    "gone": (gone, nothing),
}
"""What it is called, and why it cannot be tried here, if so."""
