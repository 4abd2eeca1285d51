"""
Salvage: whoever salvages a damaged spool dies in the midst of it, again and again, and nothing is harmed.

The damaged file stays as it is, the new spool is there whole or not at all, and the next salvage brings out the same.
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
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import random

    from tests.faults.scenario import Run, Trial

ROOT = Path(__file__).parents[3]
PROJECT = "salvaged"
MUCH = 1 << 30
DEATHS = 4
"""In a row, in one trial."""


def one_trial(run: Run, trial: Trial, folder: Path) -> list[str]:
    """Have some salvages of one damaged spool die, and let one live; where they died."""
    case = Case.made(trial, folder, flips=trial.rng.randrange(5))
    ends = [case.death(trial.rng.choice([*SALVAGING, None])) for _ in range(DEATHS)]
    case.life()
    died = [point for _, point in ends if point]
    run.count(kills=sum(killed for killed, _ in ends), salvages=DEATHS + 1, crash_points=len(died))
    return died


def one_death(trial: Trial, point: str, folder: Path) -> str | None:
    """Have one salvage die at *point*, and let one live; where it died."""
    case = Case.made(trial, folder, flips=0)
    _, died = case.death(point)
    case.life()
    return died


@dataclass(frozen=True)
class Case:
    """A damaged spool, and what can be salvaged of it."""

    trial: Trial
    damaged: Path
    new: Path
    before: dict[str, bytes]
    expected: list[object]

    @classmethod
    def made(cls, trial: Trial, folder: Path, flips: int) -> Self:
        """Damage a spool: flip so many bits of it."""
        damaged, whole = folder / "damaged" / "spool.db", folder / "expected.db"
        _make(damaged, trial.rng, flips)
        salvage(damaged, whole)
        return cls(trial, damaged, folder / "new" / "spool.db", _contents(damaged.parent), _told(whole))

    def death(self, point: str | None) -> tuple[bool, str | None]:
        """
        Have a salvage die, at *point* or a random instant, and see that it harms nothing.

        Returns:
            Whether it was killed before it was done, and at which point it died.
        """
        says = self.damaged.parent.parent / "says"
        killed = dies(self.trial, point, says, self.damaged, self.new)
        died = point if says.exists() else None
        says.unlink(missing_ok=True)
        self._check(f"{point}: the damaged file is as it was", holds=_contents(self.damaged.parent) == self.before)
        if self.new.exists():
            self._check(f"{point}: the new spool is whole", holds=_told(self.new) == self.expected)
            for name in _names(self.new):
                self.new.with_name(name).unlink(missing_ok=True)
        return killed, died

    def life(self) -> None:
        """Salvage once more."""
        salvage(self.damaged, self.new)
        self._check("in the end all is brought out", holds=_told(self.new) == self.expected)
        self._check("the damaged file is as it was", holds=_contents(self.damaged.parent) == self.before)
        left = sorted({each.name for each in self.new.parent.iterdir()} - _names(self.new))
        self._check(f"nothing is left lying about: {left}", holds=not left)
        _goes_on(self.trial, self.new)

    def _check(self, what: str, *, holds: bool) -> None:
        self.trial.check(what, holds=holds)


def dies(trial: Trial, point: str | None, says: Path, damaged: Path, new: Path) -> bool:
    """Let a process salvage and die, at *point* or at a random instant; whether it did."""
    script = "from tests.faults.kill.salvage import main; main()"
    command = [sys.executable, "-c", script, point or "", str(says), str(damaged), str(new)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            # A salvage of so little takes a tenth of a second.
            _, logged = process.communicate(timeout=PATIENCE if point else 10 ** trial.rng.uniform(-4, -0.7))
        except subprocess.TimeoutExpired:
            process.kill()
            _, logged = process.communicate()
    trial.check(f"{point}: {logged}", holds="Traceback" not in logged)
    return process.returncode == -signal.SIGKILL


def main() -> None:
    """Salvage, and die where the command line says."""
    point, says, damaged, new = sys.argv[1:]
    if point:
        install(point, 1, lambda words: os.close(os.open(says, os.O_CREAT, 0o600)))
    os.write(1, b"up\n")
    spool_command(["salvage", damaged, new])


def _make(path: Path, rng: random.Random, flips: int) -> None:
    """A spool with events in every state, more of them than salvage writes at once."""
    spool = Spool(path, project_id=PROJECT, max_bytes=64 << 20)
    for number in range(300):
        spool.append(b"%06d" % number + rng.randbytes(rng.choice([10, 1000, 60_000])))
    for settle in (spool.mark_sent, lambda batch: spool.mark_rejected(batch, "its words", "refused")):
        batch = spool.next_batch(rng.randrange(1, 40), MUCH)
        assert batch
        settle(batch)
    spool.next_batch(rng.randrange(1, 40), MUCH)
    if rng.random() < 0.5:
        spool.upkeep()
    spool._access.close()  # as a process that dies leaves it, with its log
    content = bytearray(path.read_bytes())
    for _ in range(flips):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")}


def _told(path: Path) -> list[object]:
    """What a salvaged spool says, but for when it was made."""
    return [
        ask(path, "SELECT seq, crc, payload FROM events ORDER BY seq"),
        ask(path, "SELECT seq, crc, payload, reason FROM rejected ORDER BY seq"),
        ask(path, "SELECT first, last, events, request_id, state FROM batches ORDER BY first"),
        ask(path, "SELECT project_id, sent, rejected, dropped FROM spool"),
    ]


def _names(path: Path) -> set[str]:
    return {path.name + suffix for suffix in ("", "-wal", "-shm")}


def _goes_on(trial: Trial, path: Path) -> None:
    """The new spool is one like any other."""
    ((project,),) = ask(path, "SELECT project_id FROM spool")
    spool = Spool(path, project_id=project)
    trial.check(f"the new spool is sound: {spool.check()}", holds=spool.check() == [])
    spool.requeue()
    while batch := spool.next_batch(50, MUCH):
        spool.mark_sent(batch)
    trial.check("the new spool can be sent", holds=spool.stats().unsent == 0)
    spool.close()
