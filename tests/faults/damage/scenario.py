"""
Files are damaged. With any damage a worker starts or raises a clear error, and nothing is lost silently.

Spools with events of every kind are made, and left by `kill -9` or closed. Copies of them are damaged at random. A
worker opens each copy, appends and sends, and `salvage` reads another copy. The oracle finds the intact pages of a file
by comparing it with the undamaged one, and finds events in them by looking for their bytes.

- The worker neither hangs nor dies. It raises only the spool's own errors, which name the file.
- A file that it refuses to open is left unchanged. A file that it opens is sound and keeps appended events. Nothing is
  sent that was never recorded.
- An unsent event is sent by the worker or by the salvaged spool, or it is counted as rejected or dropped, or a notice
  reports the damage if there is any trace of it.
- `salvage` changes no byte of its source, makes a sound spool, and recovers every event whose pages are intact. Its
  exit code is 0 only if nothing is missing.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.damage.damages import DAMAGES, contents, copied
from tests.faults.damage.oracle import Base
from tests.faults.damage.worker import NEW, payload
from tests.faults.orders import Worker
from tests.faults.scenario import says_what_to_do
from tests.support.memory import in_memory
from tests.support.spool_file import wal

if TYPE_CHECKING:
    from tests.faults.scenario import Run, Trial

FILES_A_TRIAL = 25
NEW_EVENTS = {payload(event_id, 200).decode() for event_id in NEW}
NAME = "spool.db"


def run(run: Run) -> None:
    """Damage copies of a few spools and check each of them."""
    with ExitStack() as stack:
        worker = stack.enter_context(Worker.started("damage.worker"))
        for trial in run.trials():
            with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
                bases = [made(trial, Path(folder) / f"base{number}", number) for number in range(2)]
                for number, kind in enumerate(kinds(trial)):
                    one, other = trial.rng.sample(bases, 2)
                    Victim(trial, worker, kind, (one, other), Path(folder) / str(number)).judge(run)


def kinds(trial: Trial) -> list[str]:
    """Return each kind of damage once, and more of the kinds with more variants."""
    weights = [weight for _, weight in DAMAGES.values()]
    return [*DAMAGES, *trial.rng.choices(list(DAMAGES), weights, k=FILES_A_TRIAL - len(DAMAGES))]


def made(trial: Trial, folder: Path, number: int) -> Base:
    """Make a spool that is closed, or left as a killed process leaves it."""
    folder.mkdir()
    with Worker.started("damage.worker") as maker:
        facts = maker.does(
            trial, "make", path=str(folder / NAME), seed=f"{trial.seed}/{number}", closed=trial.rng.random() < 0.4
        )
        maker.dies()
    return Base(folder / NAME, **facts)


class Victim:
    """One damaged copy of a spool, as a worker and as `salvage` find it."""

    def __init__(self, trial: Trial, worker: Worker, kind: str, bases: tuple[Base, Base], folder: Path) -> None:
        self.trial = trial
        self.worker = worker
        self.kind = kind
        base, other = bases
        self.base = base
        self.known = base.known | other.known
        folder.mkdir()
        self.path = copied(base.path, folder / "visited")
        DAMAGES[kind][0](self.path, other.path, trial.rng)
        self.files = contents(self.path.parent)
        self.salvaged = copied(self.path, folder / "salvaged")

    def check(self, what: str, *, holds: bool) -> None:
        self.trial.check(f"{what} ({self.kind})", holds=holds)

    def judge(self, run: Run) -> None:
        _, outcome = self.salvage(self.salvaged)
        run.count(files=1, **{self.kind: 1, f"salvage_{outcome}": 1})
        run.count(**{f"worker_{self.visit()}": 1})

    # -- salvage -------------------------------------------------------------------------------------------------------

    def salvage(self, damaged: Path, already: frozenset[str] = frozenset()) -> tuple[set[str], str]:
        """Return the recovered events. Check that they are complete and that the source is unchanged."""
        before = contents(damaged.parent)
        files = {NAME: before.get(damaged.name, b""), wal(Path(NAME)).name: before.get(wal(damaged).name, b"")}
        new = damaged.parent.parent / f"new-{damaged.name}"
        said = self.worker.does(self.trial, "salvage", damaged=str(damaged), new=str(new))
        self.check("the source of a salvage is unchanged", holds=contents(damaged.parent) == before)
        intact = self.base.intact(files)
        if "sent" not in said:
            self.check(
                f"a refusal says what to do: {said}", holds=says_what_to_do(said["message"]) and said["code"] == 2
            )
            self.check(
                f"nothing is refused that can be read: {said}, {len(intact)} events",
                holds=not intact or "has format" in said["message"],
            )
            return set(), "refused"
        self.check(f"the salvaged spool is sound: {said['check']}", holds=said["check"] == [])
        self.check("nothing is made up", holds=set(said["sent"]) <= self.known | NEW_EVENTS)
        taken = {each[7:39] for each in said["sent"]}
        missing = intact - taken - already - set(said["rejected_ids"])
        self.check(f"every intact event is recovered, {len(missing)} are missing: {summary(said)}", holds=not missing)
        whole = set(self.base.unsent) <= taken | already and set(self.base.rejected) <= set(said["rejected_ids"])
        self.check(f"exit code {said['code']}, complete: {whole}", holds=said["code"] == 1 or whole or self.traceless)
        if self.kind == "undamaged":
            self.check("an undamaged spool is salvaged as it was", holds=taken == set(self.base.unsent))
            self.check("nothing is unreadable if nothing is damaged", holds=said["code"] == 0)
        return taken, "complete" if whole else "in_part"

    @property
    def traceless(self) -> bool:
        """Return True if missing events may have left no trace, since the end of the WAL is gone."""
        return self.kind == "swapped" or not self.base.has_its_last_commit(self.files)

    # -- a worker ------------------------------------------------------------------------------------------------------

    def visit(self) -> str:
        """Let a worker open the copy and return the outcome."""
        said = self.worker.does(self.trial, "visit", path=str(self.path))
        if "error" in said:
            self.check(
                f"an error says what to do: {said}", holds=says_what_to_do(said["message"]) and NAME in said["message"]
            )
            refusals = ("SpoolVersionError", "SpoolMismatchError") if self.kind != "folder" else ("SpoolError",)
            self.check(f"damage refuses no worker: {said}", holds=said["error"] in refusals)
            name = self.path.name
            self.check(
                "a refused file is unchanged", holds=contents(self.path.parent).get(name) == self.files.get(name)
            )
            return "refused"
        self.check(f"all is sent: {summary(said)}", holds=not said["unsent"])
        self.check("nothing is made up", holds=set(said["sent"]) <= self.known | NEW_EVENTS)
        return self._accounted(said)

    def _accounted(self, said: dict[str, Any]) -> str:
        sent = {each[7:39] for each in said["sent"]}
        for kept in self.path.parent.glob("*.corrupt-*"):
            if not kept.name.endswith(("-wal", "-journal")):
                sent |= self.salvage(kept, frozenset(sent))[0]
        self.check(f"appended events are not lost: {summary(said)}", holds=set(NEW) <= sent)
        lost = set(self.base.unsent) - sent
        counted = said["rejected"] + said["dropped"] - len(self.base.rejected)
        reported = bool(said["notices"]) or len(lost) <= counted
        self.check(f"{len(lost)} are not lost silently: {summary(said)}", holds=not lost or reported or self.traceless)
        return "reported" if said["notices"] else "sent_all" if not lost else "counted" if reported else "traceless"


def summary(said: dict[str, Any]) -> dict[str, Any]:
    """Return the answer without the contents of events."""
    return {name: value for name, value in said.items() if name not in ("sent", "rejected_ids")} | {
        "sent": len(said["sent"])
    }
