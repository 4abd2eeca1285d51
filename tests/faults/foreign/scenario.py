"""
External interference: other programs, other code of the worker and other containers use the spool's files.

Several workers record into one spool. Their own code opens and closes its file or copies the whole folder. Other
programs read the spool, back it up and checkpoint its WAL. Other programs delete the WAL, truncate it, or delete files
that only hold locks. The workers may run in containers of their own. Before they start, the file may have been taken
out of WAL mode or given another page size, and it may have a second name for a while.

- Acknowledged events arrive. Unless the WAL was changed, they arrive again only under the same request id.
- If the WAL is deleted, the events that were only in it are lost. Nothing acknowledged after that is lost, and the loss
  is logged. The same holds for a truncated WAL, and no call is refused then.
- A deleted lock file costs nothing but a batch that comes twice under one request id.
- A backup made through SQLite is sound and holds every event that was unsent when it began. A backup made by copying
  the files opens, or its damage is reported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alignai.spool import Spool
from alignai.spool.storage.redo import VERIFY_ROWS
from tests.faults.foreign.programs import (
    BACK_UP,
    DELETE_MODE,
    LOOK,
    PAGE_SIZE,
    VACUUM_INTO,
    by_another_program,
)
from tests.faults.orders import Worker
from tests.faults.worker_life import NAME, Life
from tests.support.clients import PROJECT, repeated_under_another_id
from tests.support.memory import in_memory
from tests.support.servers.connect import ConnectServer
from tests.support.spool_file import payloads, shm, wal

if TYPE_CHECKING:
    from tests.faults.scenario import Run, Trial

ROUNDS = 4
MOST_AT_ONCE = 800
"""Events in one request, of a backlog."""
TITLES = {
    "look": "looks",
    "back_up": "backups",
    "vacuum": "copies by VACUUM",
    "copy": "copies of the files",
    "clean_up": "deleted locks",
}
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def run(run: Run) -> None:
    """Interfere with a spool while workers record into it."""
    for trial in run.trials():
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder, ConnectServer() as server:
            (Path(folder) / "disk").mkdir()
            life = Interference(run, trial, Path(folder), server)
            life.interfere()
            life.judge("interference")
            twice = repeated_under_another_id(server)
            # A deleted WAL takes request ids with it. The ids of the events do not change.
            harmed = life.deleted or life.truncated or life.unnoticed
            life.check(f"{len(twice)} events came again under another request id", bool(harmed) or not twice)
            doubles = len(server.ids()) - len(set(server.ids()))
            life.check(f"{doubles} events came twice", bool(harmed) or doubles <= life.unlocked * MOST_AT_ONCE)
        run.count(acknowledged=len(life.done), repeated_under_another_id=len(twice))
        run.count(lost_with_the_wal=len(life.given_up - set(server.ids())))


@cache
def has_containers() -> bool:
    """Return True if a process can be started that sees no other processes."""
    return shutil.which("unshare") is not None and not subprocess.run([*CONTAINER, "true"], check=False).returncode


class Interference(Life):
    """Workers on one spool, and the programs that interfere with it."""

    def __init__(self, run: Run, trial: Trial, folder: Path, server: ConnectServer) -> None:
        super().__init__(trial, folder, server)
        self.run = run
        self.spool = folder / "disk" / NAME
        self.deleted = False
        self.truncated = False
        self.unlocked = 0
        self.unnoticed = 0

    def interfere(self) -> None:
        """Record and interfere with the files at the same time, a few times, and check the results."""
        if self.rng.random() < 0.5:
            self.change_file()
        with ExitStack() as stack:
            starting = [self.worker(self.spool, before=self.container()) for _ in range(self.rng.randrange(1, 4))]
            workers = [stack.enter_context(each) for each in starting]
            for _ in range(ROUNDS):
                self.holds_back(yes=self.rng.random() < 0.3)
                strays = [self.rng.choice([0, 0, 7, 50]) for _ in workers]
                for worker, stray in zip(workers, strays, strict=True):
                    copies = not stray and self.rng.random() < 0.3
                    self.run.count(copying_workers=copies)
                    worker.begins("record", count=150, size=300, stray=stray, copies=copies)
                    self.unnoticed += VERIFY_ROWS if stray or copies else 0
                for _ in range(self.rng.randrange(1, 4)):
                    act = self.rng.choice([self.look, self.look, self.back_up, self.vacuum, self.copy, self.clean_up])
                    self.run.count(**{TITLES[act.__name__]: 1})
                    act()
                for worker in workers:
                    self.recorded(worker.ends(self.trial, "record"))
                if self.rng.random() < 0.4:
                    self.rng.choice([self.delete_wal, self.truncate_wal])(workers)
            self.holds_back(yes=False)
            for worker in workers:
                self.works(worker)
            for worker in workers:
                worker.does(self.trial, "close")
        self.check("nothing is refused unless the WAL was deleted", self.deleted or not self.refused)
        self.check("the loss of the WAL is logged", not self.deleted or "was deleted or replaced" in self.in_log())
        self.sound(self.spool)

    def container(self) -> tuple[str, ...]:
        """Return a command that starts a worker in a container of its own, or none, at random."""
        if self.rng.random() < 0.5 or not has_containers():
            return ()
        self.run.count(containers=1)
        return CONTAINER

    # -- interference --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        by_another_program(LOOK, self.spool)

    def back_up(self) -> None:
        expected = self.unsent()
        copy = self.new("backup")
        if by_another_program(BACK_UP, self.spool, copy, self.rng.choice([-1, 200])):
            self.holds_all(copy, expected)

    def vacuum(self) -> None:
        expected = self.unsent()
        copy = self.new("vacuumed")
        if by_another_program(VACUUM_INTO, self.spool, copy):
            self.holds_all(copy, expected)

    def copy(self) -> None:
        """Copy one file after the other, as backup programs do that do not know SQLite."""
        copy = self.new("copy")
        pairs = [(each(self.spool), each(copy)) for each in (lambda path: path, wal, shm)]
        self.rng.shuffle(pairs)
        for source, target in pairs:
            subprocess.run(["cp", source, target], check=False, stderr=subprocess.DEVNULL)
        spool = Spool(copy, project_id=PROJECT)
        spool.append(b"it works")
        reported = list(spool.notices())
        found = spool.check()
        spool.close()
        self.check(f"a torn copy is sound, or its damage is reported: {found}", not found or bool(reported))

    def delete_wal(self, workers: list[Worker]) -> None:
        """Delete the WAL. The events that were only in it are lost, and no later ones may be."""
        self.deleted = True
        self.given_up |= set(self.done) - set(self.server.ids())
        wal(self.spool).unlink(missing_ok=True)
        self.run.count(wals_deleted=1)
        for worker in workers:
            self.record(worker, 100)

    def truncate_wal(self, workers: list[Worker]) -> None:
        """Truncate the WAL in its place, as programs do that empty log files."""
        path = wal(self.spool)
        if not path.exists():  # a program has deleted it that SQLite took for the last one
            return
        self.truncated = True
        self.given_up |= set(self.done) - set(self.server.ids())
        os.truncate(path, int(path.stat().st_size * self.rng.choice([0, 0.5, 0.99])))
        self.run.count(wals_truncated=1)
        for worker in workers:
            self.record(worker, 100)

    def clean_up(self) -> None:
        """Delete the files that only hold locks, as programs do that remove old and empty files."""
        self.unlocked += 1
        for name in self.rng.sample((".lease", ".lock"), self.rng.randint(1, 2)):
            self.spool.with_name(NAME + name).unlink(missing_ok=True)

    def change_file(self) -> None:
        """Let other programs change the file between two workers, each of which is killed before a checkpoint."""
        for program, *arguments in ((DELETE_MODE,), (PAGE_SIZE, self.rng.choice([1024, 8192, 65536]))):
            with self.worker(self.spool, sender=False) as worker:
                self.record(worker, self.rng.randrange(1, 100))
            self.refused_by_its_second_name()
            changed = by_another_program(program, self.spool, *arguments)
            self.check("no other process has the file open", changed)
            self.run.count(changed_files=1)

    def refused_by_its_second_name(self) -> None:
        """Check that a worker refuses a file with two names, since each would have a WAL of its own."""
        second = self.new("second")
        second.hardlink_to(self.spool)
        with Worker.started("sdk_worker", env=self.environment(second)) as worker:
            said = worker.does(self.trial, "open")
        self.check(f"a second name is refused: {said}", "second name" in said.get("message", ""))
        second.unlink()

    # -- checks --------------------------------------------------------------------------------------------------------

    def new(self, name: str) -> Path:
        folder = self.folder / f"{name}{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        return folder / NAME

    def unsent(self) -> set[str]:
        """Return the acknowledged events that the server has not received."""
        return set(self.done) - set(self.server.ids()) - self.given_up

    def holds_all(self, copy: Path, expected: set[str]) -> None:
        self.sound(copy)
        stored = {json.loads(payload)["id"] for payload in payloads(copy) if payload}
        missing = expected - stored - set(self.server.ids())
        # Events of a lost WAL are not in the file until the worker notices the loss.
        self.check(f"{len(missing)} events are not in a backup", len(missing) <= self.unnoticed)

    def sound(self, path: Path) -> None:
        spool = Spool(path, project_id=PROJECT)
        found = spool.check()
        spool.close()
        self.check(f"the spool is sound: {found}", not found)
