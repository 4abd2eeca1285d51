"""
The disk fails: it is full, read-only, gone, replaced, or returns errors, now and then or for a while.

A worker records and uploads through the SDK while its disk fails and works again, in every way that this machine
allows. The results of the calls are compared with the events that a real server received.

- A call returns an id or raises `SpoolFullError` or `SpoolError` with advice. A full disk is reported as a full disk.
- Acknowledged events arrive, and refused ones do not. If another program deleted the folder or replaced the file, only
  the events are expected that had been uploaded before.
- Once the disk works, so does the worker without a restart: it records, and everything is uploaded.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.orders import Worker
from tests.faults.scenario import says_what_to_do
from tests.faults.worker_life import NAME, Life
from tests.support.bad_disk import Faults, cannot_mount, cannot_shim, fill, make_read_only, small_disk
from tests.support.memory import in_memory
from tests.support.servers.connect import ConnectServer
from tests.support.spool_file import wal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scenario import Run

MIB = 1 << 20
NOBODY = 65534


def run(run: Run) -> None:
    """Try every kind of failure in turn, with other figures each time."""
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


# -- the ways in which it fails ----------------------------------------------------------------------------------------


def full(life: Life) -> None:
    """Fill a real disk up, by the spool itself or by another program, and make room again."""
    with small_disk(life.folder / "disk", life.rng.randrange(2, 8) * MIB) as disk, life.worker(disk / NAME) as worker:
        takes_nothing = life.rng.random() < 0.5
        life.holds_back(yes=takes_nothing)
        life.record(worker, life.rng.randrange(100))
        filler = fill(disk, life.rng.choice([0, 0, 4096, 40_960, 400_000]))
        life.record(worker, 3000, life.rng.choice([1000, 5000]))
        if takes_nothing or life.refused:  # otherwise sent events may make room for all of them
            _expect_refusals(life, {"SpoolFullError"})
        filler.unlink()
        life.holds_back(yes=False)
        life.ends(worker)


def full_and_uploading(life: Life) -> None:
    """Fill a real disk up while the server is away. The server comes back while the disk is still full."""
    with small_disk(life.folder / "disk", life.rng.randrange(2, 8) * MIB) as disk, life.worker(disk / NAME) as worker:
        life.holds_back(yes=True)
        life.record(worker, life.rng.randrange(1, 100))
        filler = fill(disk, life.rng.choice([0, 4096, 400_000]))
        life.record(worker, 3000, life.rng.choice([1000, 5000]))
        _expect_refusals(life, {"SpoolFullError"})
        life.holds_back(yes=False)
        life.uploads(worker)
        filler.unlink()
        life.ends(worker)


def limited(life: Life) -> None:
    """Let no file grow, as a quota does, and then allow it again."""
    (life.folder / "disk").mkdir()
    with life.worker(life.folder / "disk" / NAME) as worker:
        life.record(worker, life.rng.randrange(1, 100))
        files = (life.folder / "disk").glob(f"{NAME}*")  # the reserve may be longer than the file and the WAL ever get
        sizes = [path.stat().st_size for path in files if path.suffix != ".reserve"]
        worker.does(life.trial, "limit", size=max(sizes) + life.rng.choice([0, 100, 5000, 50_000]))
        life.record(worker, 500, 5000)
        _expect_refusals(life, {"SpoolFullError", "SpoolError"})  # SQLite knows ENOSPC as full, and EFBIG as an error
        worker.does(life.trial, "limit", size=None)
        life.ends(worker)


def _expect_refusals(life: Life, expected: set[str]) -> None:
    kinds = {kind for kind, _ in life.refused}
    life.check(f"a full disk is refused as one: {kinds} {life.refused[:1]}", bool(kinds) and kinds <= expected)


def read_only(life: Life) -> None:
    """Start a worker on a read-only disk, which is an error, and again once the disk is writable."""
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
    """Run a worker as a user without access to the folder or the file."""
    disk = life.folder / "disk"
    disk.mkdir()
    life.folder.chmod(0o755)
    with life.worker(disk / NAME) as worker:
        life.ends(worker)
    life.rng.choice([disk, disk / NAME]).chmod(0o400)
    _refuses_to_open(life, disk / NAME, user=NOBODY if os.geteuid() == 0 else None)


def _refuses_to_open(life: Life, spool: Path, user: int | None = None) -> None:
    with Worker.started("sdk_worker", env=life.environment(spool)) as worker:
        if user is not None:
            worker.does(life.trial, "become", user=user)
        said = worker.does(life.trial, "open")
    life.check(f"a file that cannot be written is refused: {said}", said.get("error") == "SpoolError")
    life.check(
        f"the error says what to do: {said}", says_what_to_do(said["message"]) and "check" in said["message"].lower()
    )


def errors(life: Life) -> None:
    """Let some or all system calls fail for a while."""
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
    """Delete or replace the folder, the file or one beside it under a running worker."""
    disk = life.folder / "disk"
    disk.mkdir()
    other = disk / "other.db"
    with life.worker(other, sender=False) as worker:
        life.record(worker, 30)
        worker.does(life.trial, "close")
    in_other = set(life.done)
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
    life.given_up |= in_other
    life.check("the loss is logged", "was deleted or replaced" in life.in_log() or "was corrupt" in life.in_log())


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
    if not (disk / "other.db").exists():  # it was deleted with the folder
        _delete_file(disk)
        return
    wal(disk / NAME).unlink()
    shutil.copy(disk / "other.db", disk / "copy.db")
    (disk / "copy.db").replace(disk / NAME)


def nothing() -> str:
    """Return no reason: this can be tried everywhere."""
    return ""


FAILURES: dict[str, tuple[Callable[[Life], None], Callable[[], str]]] = {
    "full": (full, cannot_mount),
    "full, uploading": (full_and_uploading, cannot_mount),
    "limited": (limited, nothing),
    "read-only": (read_only, cannot_mount),
    "forbidden": (forbidden, nothing),
    "errors": (errors, cannot_shim),
    "gone": (gone, nothing),
}
"""Each kind of failure by its name, with a function that says why it cannot be tried here, if so."""
