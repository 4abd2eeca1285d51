"""
Salvage: a process that salvages a damaged spool is killed during it, again and again, and nothing is harmed.

The damaged file stays unchanged. The new spool is complete or does not exist. The next salvage recovers the same
events.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from alignai.cli.app import main as spool_command
from alignai.spool import Spool
from alignai.spool.salvage.rebuild import salvage
from tests.faults.kill.crash_points import SALVAGING, install
from tests.support.spool_file import ask
from tests.support.waiting import BUSY_TIMEOUT_SECONDS

if TYPE_CHECKING:
    import random

    from tests.faults.scenario import Run, Trial

ROOT = Path(__file__).parents[3]
PROJECT = "salvaged"
MUCH = 1 << 30
DEATHS = 4
"""The number of killed salvages in one trial."""


def one_trial(run: Run, trial: Trial, folder: Path) -> list[str]:
    """Kill some salvages of one damaged spool, let one complete, and return the crash points."""
    case = Case.made(trial, folder, flips=trial.rng.randrange(5))
    ends = [case.death(trial.rng.choice([*SALVAGING, None])) for _ in range(DEATHS)]
    case.life()
    died = [point for _, point in ends if point]
    run.count(kills=sum(killed for killed, _ in ends), salvages=DEATHS + 1, crash_points=len(died))
    return died


def one_death(trial: Trial, point: str, folder: Path) -> str | None:
    """Let one salvage die at *point*, let one complete, and return the crash point."""
    case = Case.made(trial, folder, flips=0)
    _, died = case.death(point)
    case.life()
    return died


@dataclass(frozen=True)
class Case:
    """A damaged spool and the events that can be salvaged from it."""

    trial: Trial
    damaged: Path
    new: Path
    before: dict[str, bytes]
    expected: list[object]

    @classmethod
    def made(cls, trial: Trial, folder: Path, flips: int) -> Self:
        """Make a spool and flip *flips* bits of it."""
        damaged, whole = folder / "damaged" / "spool.db", folder / "expected.db"
        _make(damaged, trial.rng, flips)
        salvage(damaged, whole)
        return cls(trial, damaged, folder / "new" / "spool.db", _contents(damaged.parent), _contents_of(whole))

    def death(self, point: str | None) -> tuple[bool, str | None]:
        """
        Let a salvage die at *point* or at a random instant, and check that it harms nothing.

        Returns:
            True if it was killed before it was done, and the crash point at which it died.
        """
        note = self.damaged.parent.parent / "died"
        killed = dies(self.trial, point, note, self.damaged, self.new)
        died = point if note.exists() else None
        note.unlink(missing_ok=True)
        self._check(f"{point}: the damaged file is unchanged", holds=_contents(self.damaged.parent) == self.before)
        if self.new.exists():
            self._check(f"{point}: the new spool is whole", holds=_contents_of(self.new) == self.expected)
            for name in _names(self.new):
                self.new.with_name(name).unlink(missing_ok=True)
        return killed, died

    def life(self) -> None:
        """Salvage once more."""
        salvage(self.damaged, self.new)
        self._check("a complete salvage recovers everything", holds=_contents_of(self.new) == self.expected)
        self._check("the damaged file is unchanged", holds=_contents(self.damaged.parent) == self.before)
        left = sorted({each.name for each in self.new.parent.iterdir()} - _names(self.new))
        self._check(f"no scratch file is left: {left}", holds=not left)
        _goes_on(self.trial, self.new)

    def _check(self, what: str, *, holds: bool) -> None:
        self.trial.check(what, holds=holds)


def dies(trial: Trial, point: str | None, note: Path, damaged: Path, new: Path) -> bool:
    """Let a process salvage and die at *point* or at a random instant. Return True if it was killed."""
    script = "from tests.faults.kill.salvage import main; main()"
    command = [sys.executable, "-c", script, point or "", str(note), str(damaged), str(new)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            # A salvage of so little takes a tenth of a second.
            _, logged = process.communicate(
                timeout=BUSY_TIMEOUT_SECONDS if point else 10 ** trial.rng.uniform(-4, -0.7)
            )
        except subprocess.TimeoutExpired:
            process.kill()
            _, logged = process.communicate()
    trial.check(f"{point}: {logged}", holds="Traceback" not in logged)
    return process.returncode == -signal.SIGKILL


def main() -> None:
    """Salvage and die at the crash point of the command line."""
    point, note, damaged, new = sys.argv[1:]
    if point:
        install(point, 1, lambda words: os.close(os.open(note, os.O_CREAT, 0o600)))
    os.write(1, b"up\n")
    spool_command(["salvage", damaged, new])


def _make(path: Path, rng: random.Random, flips: int) -> None:
    """Make a spool with events in every state, and more of them than salvage writes at once."""
    spool = Spool(path, project_id=PROJECT, max_bytes=64 << 20)
    for number in range(300):
        spool.append(b"%06d" % number + rng.randbytes(rng.choice([10, 1000, 60_000])))
    for settle in (spool.mark_sent, lambda batch: spool.mark_rejected(batch, "its words", "refused")):
        batch = spool.next_batch(rng.randrange(1, 40), MUCH)
        assert batch
        settle(batch)
    spool.next_batch(rng.randrange(1, 40), MUCH)
    if rng.random() < 0.5:
        spool.maintain()
    spool._database.close()  # as a process that dies leaves it, with its WAL
    content = bytearray(path.read_bytes())
    for _ in range(flips):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")}


def _contents_of(path: Path) -> list[object]:
    """Return the contents of a salvaged spool without its times."""
    return [
        ask(path, "SELECT seq, crc, payload FROM events ORDER BY seq"),
        ask(path, "SELECT seq, crc, payload, reason FROM rejected ORDER BY seq"),
        ask(path, "SELECT first, last, events, request_id, state FROM batches ORDER BY first"),
        ask(path, "SELECT project_id, sent, rejected, dropped FROM spool"),
    ]


def _names(path: Path) -> set[str]:
    return {path.name + suffix for suffix in ("", "-wal", "-shm")}


def _goes_on(trial: Trial, path: Path) -> None:
    """Check that the new spool works as any other."""
    ((project,),) = ask(path, "SELECT project_id FROM spool")
    spool = Spool(path, project_id=project)
    trial.check(f"the new spool is sound: {spool.check()}", holds=spool.check() == [])
    spool.requeue()
    while batch := spool.next_batch(50, MUCH):
        spool.mark_sent(batch)
    trial.check("the new spool can be sent", holds=spool.stats().unsent == 0)
    spool.close()
